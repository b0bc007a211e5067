//! An empty database on PostgreSQL that gets what another kind of store has, in one transaction: what is interrupted
//! leaves nothing.

use sqlx::{AssertSqlSafe, PgConnection};

use super::copied_source::{begin_alone, connect, failed, not_read, refused};
use super::opening::PATIENCE;
use super::servers::{self, Servers};
use super::{copied_tables, schema};
use crate::repository::OpenError;
use crate::repository::copied::{CopiedReader, CopiedTable, CopiedTarget, HEADER, RowsIn, RowsOut, TRAILER};

const BEGIN: &str = "BEGIN";
const IS_EMPTY: &str = "SELECT NOT (EXISTS (SELECT FROM account) OR EXISTS (SELECT FROM session)
    OR EXISTS (SELECT FROM message) OR EXISTS (SELECT FROM invite) OR EXISTS (SELECT FROM file)
    OR EXISTS (SELECT FROM send_key) OR EXISTS (SELECT FROM push_key))";
/// For rows that have another form here.
const TEMPORARY: &str = "CREATE TEMP TABLE copied_unread (account bigint, id bigint, target bigint) ON COMMIT DROP;
    CREATE TEMP TABLE copied_number (name text, last bigint) ON COMMIT DROP;
    CREATE TEMP TABLE copied_push_key (key bytea) ON COMMIT DROP";
/// So that the statements below are planned for what is there.
const ANALYZE: &str = "CREATE UNIQUE INDEX ON copied_unread (account, id);
    ANALYZE copied_unread; ANALYZE account; ANALYZE session; ANALYZE message; ANALYZE receipt; ANALYZE membership;
    ANALYZE missed; ANALYZE correspondent; ANALYZE send_key; ANALYZE file; ANALYZE file_piece";
/// The numbers of sequences that follow the last ones.
const SEQUENCES: [&str; 5] = ["account", "file", "invite", "push", "session"];

const HEAD: &str = "UPDATE head SET last = n.last FROM copied_number n WHERE n.name = 'message'";
const PUSH_KEY: &str = "INSERT INTO push_key (one, key) SELECT true, key FROM copied_push_key";
/// An account was served up to the last message that it has read: all its mail after that is unread. So the newest mail
/// is looked at until there is one that was read.
const HAND: &str = "INSERT INTO hand (account, upto)
    SELECT a.id, CASE WHEN a.removed_at IS NULL THEN greatest(own.id, of_groups.id, 0) ELSE head.last END
    FROM head CROSS JOIN account a
        LEFT JOIN LATERAL (SELECT m.id FROM message m WHERE m.target = a.id
            AND NOT EXISTS (SELECT FROM copied_unread u WHERE u.account = a.id AND u.id = m.id)
            ORDER BY m.id DESC LIMIT 1) AS own ON true
        LEFT JOIN LATERAL (SELECT max(g.id) AS id FROM membership s CROSS JOIN LATERAL (
                SELECT m.id FROM message m WHERE m.target = s.grp AND m.sender <> s.member AND m.id > s.since
                    AND m.id <= coalesce(s.until, 9223372036854775807)
                    AND m.id < coalesce(s.full_from, 9223372036854775807)
                    AND NOT EXISTS (SELECT FROM missed x
                        WHERE x.grp = s.grp AND x.member = s.member AND m.id BETWEEN x.first_id AND x.last_id)
                    AND NOT EXISTS (SELECT FROM copied_unread u WHERE u.account = a.id AND u.id = m.id)
                ORDER BY m.id DESC LIMIT 1) AS g
            WHERE s.member = a.id) AS of_groups ON true
    WHERE a.owner IS NULL";
/// What is unread before that waits again, as what somebody was given and did not confirm.
const FLIGHT: &str = "INSERT INTO flight (account, lease, node, ids, targets, sizes)
    SELECT w.account, -nextval('flight_lease'), 0, w.ids, w.targets, w.sizes FROM (
        SELECT u.account, array_agg(u.id ORDER BY u.id) AS ids, array_agg(u.target ORDER BY u.id) AS targets,
            array_agg(octet_length(m.text) + coalesce(m.attached, 0) ORDER BY u.id) AS sizes
        FROM copied_unread u JOIN hand h ON h.account = u.account AND u.id <= h.upto
            JOIN message m ON m.target = u.target AND m.id = u.id
        GROUP BY u.account) AS w";
const TAKEN: &str = "UPDATE hand h SET taken = cardinality(f.ids) FROM flight f WHERE f.account = h.account";
/// What has been received is counted from here on; what is stored is all that the message log has.
const MAILBOX: &str = "INSERT INTO mailbox (account, received, bytes, stored, closed)
    SELECT a.id, coalesce(w.messages, 0), coalesce(w.bytes, 0), coalesce(s.bytes, 0), a.removed_at IS NOT NULL
    FROM account a
        LEFT JOIN (SELECT u.account, count(*) AS messages,
                sum(octet_length(m.text) + coalesce(m.attached, 0))::bigint AS bytes
            FROM copied_unread u JOIN message m ON m.target = u.target AND m.id = u.id GROUP BY u.account) AS w
            ON w.account = a.id
        LEFT JOIN (SELECT sender, sum(octet_length(text) + coalesce(attached, 0) + 100)::bigint AS bytes
            FROM message GROUP BY sender) AS s ON s.sender = a.id
    WHERE a.owner IS NULL";
const LAST: &str = "SELECT last FROM copied_number WHERE name = $1";
const ANALYZE_DERIVED: &str = "ANALYZE hand; ANALYZE mailbox; ANALYZE flight";

pub(crate) struct PostgresTarget {
    shown: String,
    db: PgConnection,
}

impl PostgresTarget {
    /// Opens the database at a URL, which must be empty, alone. Where it has no tables yet, they are made.
    pub(crate) async fn begin(url: &str) -> Result<PostgresTarget, OpenError> {
        let servers = Servers::of(url, PATIENCE)?;
        let mut db = connect(&servers).await?;
        schema::migrate(&mut db, &servers.shown).await?;
        let shown = servers.shown;
        begin_alone(&mut db, BEGIN, &shown).await?;
        let is_empty: bool =
            sqlx::query_scalar(IS_EMPTY).fetch_one(&mut db).await.map_err(|error| failed(&shown, error))?;
        if !is_empty {
            let why = "there are accounts or messages in it already, and they are left as they are: name an empty \
                       database (`createdb` makes one)";
            return Err(refused(&shown, why.to_owned()));
        }
        sqlx::raw_sql(TEMPORARY).execute(&mut db).await.map_err(|error| failed(&shown, error))?;
        Ok(PostgresTarget { shown, db })
    }

    async fn write(&mut self, table: CopiedTable, mut rows: RowsIn) -> sqlx::Result<()> {
        let mut copy = self.db.copy_in_raw(copied_tables::copy_in(table)).await?;
        copy.send(HEADER).await?;
        while let Some(rows) = rows.recv().await {
            copy.send(rows.bytes()).await?;
        }
        copy.send(TRAILER).await?;
        copy.finish().await.map(drop)
    }

    async fn write_derived(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql(ANALYZE).execute(&mut self.db).await?;
        for sql in [HEAD, PUSH_KEY, HAND, FLIGHT, TAKEN, MAILBOX] {
            sqlx::query(sql).execute(&mut self.db).await?;
        }
        for table in SEQUENCES {
            let last: i64 = sqlx::query_scalar(LAST).bind(table).fetch_one(&mut self.db).await?;
            // Part of the transaction, as `setval` would not be.
            let restart = format!("ALTER TABLE {table} ALTER COLUMN id RESTART WITH {}", last + 1);
            sqlx::raw_sql(AssertSqlSafe(restart)).execute(&mut self.db).await?;
        }
        sqlx::raw_sql(ANALYZE_DERIVED).execute(&mut self.db).await.map(drop)
    }
}

impl CopiedReader for PostgresTarget {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    async fn size(&mut self) -> Result<u64, OpenError> {
        copied_tables::size(&mut self.db).await.map_err(|error| failed(&self.shown, error))
    }

    async fn read(&mut self, table: CopiedTable, rows: RowsOut) -> Result<(), OpenError> {
        copied_tables::read(&mut self.db, table, rows).await.map_err(|why| not_read(&self.shown, why))
    }
}

impl CopiedTarget for PostgresTarget {
    async fn fill(&mut self, table: CopiedTable, rows: RowsIn) -> Result<(), OpenError> {
        self.write(table, rows)
            .await
            .map_err(|error| failed(&self.shown, format_args!("the {} were not taken: {error}", table.name())))
    }

    async fn derive(&mut self) -> Result<(), OpenError> {
        self.write_derived().await.map_err(|error| failed(&self.shown, error))
    }

    async fn keep(mut self) -> Result<(), OpenError> {
        let committed = sqlx::raw_sql("COMMIT").execute(&mut self.db).await;
        committed.map_err(|error| {
            let why = format_args!("it did not say whether it has the copy; copy again, which tells: {error}");
            failed(&self.shown, why)
        })?;
        servers::close(self.db).await;
        Ok(())
    }
}
