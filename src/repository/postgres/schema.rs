//! The tables and functions: made and brought up to date under an advisory lock, so that of several nodes that start at
//! once one does it.

use std::path::PathBuf;

use sqlx::PgConnection;
use sqlx::migrate::{MigrateError, Migrator};

use crate::repository::OpenError;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Whether a database has no tables of ours yet.
pub(super) async fn is_new(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NULL").fetch_one(db).await
}

/// The schema of a database that has tables of ours.
pub(super) async fn version(db: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(db).await
}

/// The newest schema that this program knows.
pub(super) fn known_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Brings the tables to what this program knows. A newer program's are left as they are, and refused.
pub(super) async fn migrate(db: &mut PgConnection, shown: &str) -> Result<(), OpenError> {
    let path = || PathBuf::from(shown);
    let known = known_version();
    match MIGRATIONS.run(db).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _)) => {
            Err(OpenError::Newer { path: path(), found, known })
        }
        Err(error) => Err(OpenError::Failed { path: path(), why: error.to_string() }),
    }
}
