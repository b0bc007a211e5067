//! The connections that read, as a query uses them. An answer that does not come in time is an error, because a server
//! that stands still, or is behind a broken network, never says that it is gone.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::BoxStream;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgPool, Postgres, SqlStr};
use tokio::time::timeout;

#[derive(Debug)]
pub(super) struct ReadPool {
    pub pool: PgPool,
    /// How long an answer is waited for.
    pub patience: Duration,
}

type InTime<'e, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'e>>;

impl ReadPool {
    fn in_time<'e, T>(patience: Duration, asked: impl Future<Output = sqlx::Result<T>> + Send + 'e) -> InTime<'e, T> {
        Box::pin(async move { timeout(patience, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) })
    }
}

impl Executor<'static> for ReadPool {
    type Database = Postgres;

    /// Has no bound in time: the methods below are those that are used.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        (&self.pool).fetch_many(query)
    }

    fn execute<'e, 'q: 'e, E>(self, query: E) -> InTime<'e, PgQueryResult>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        ReadPool::in_time(self.patience, (&self.pool).execute(query))
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> InTime<'e, Vec<PgRow>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        ReadPool::in_time(self.patience, (&self.pool).fetch_all(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> InTime<'e, Option<PgRow>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        ReadPool::in_time(self.patience, (&self.pool).fetch_optional(query))
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> InTime<'e, PgStatement>
    where
        'static: 'e,
    {
        ReadPool::in_time(self.patience, (&self.pool).prepare_with(sql, parameters))
    }

    fn describe<'e>(self, sql: SqlStr) -> InTime<'e, Describe<Postgres>>
    where
        'static: 'e,
    {
        ReadPool::in_time(self.patience, (&self.pool).describe(sql))
    }
}
