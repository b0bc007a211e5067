//! A new database that is made of what another kind of store has. Until all of it is there and was verified it has
//! another name, and it has no journal: what is interrupted is removed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::types::ToSqlOutput;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteAutoVacuum, SqliteJournalMode, SqliteSynchronous};

use super::checksum::{Content, Unchecked};
use super::copied_source::unreadable;
use super::copied_tables::{self, RowsNotRead};
use super::direct::{Failure, WalConnection};
use super::index::{Growth, IndexRun, Tail, TailMessage};
use super::lock::Lock;
use super::paths::failed;
use super::unfinished::{self, Unfinished};
use super::{StoreOptions, backup, files, schema, verify};
use crate::model::{Address, GroupId, MessageId, UserId};
use crate::repository::OpenError;
use crate::repository::copied::{CopiedReader, CopiedRow, CopiedTable, CopiedTarget, RowsIn, RowsOut};

/// What is needed only while the database is made.
const MADE: [&str; 2] = [
    // Without the types SQLite would not use the keys.
    "CREATE TEMP TABLE unread (account INTEGER, id INTEGER, target INTEGER, PRIMARY KEY (account, target, id))
        WITHOUT ROWID",
    "CREATE TEMP TABLE last_number (name TEXT, last INTEGER)",
];
/// What follows from what was unread, and the numbers that were given out. The change feed tells nobody anything.
const DERIVED: [&str; 8] = [
    "INSERT INTO mailbox (user, messages, bytes, oldest)
        SELECT u.account, count(*), sum(octet_length(m.text) + ifnull(m.attached, 0)), min(m.id)
        FROM temp.unread u JOIN message m ON m.id = u.id GROUP BY u.account",
    // A mark is before the first message of the group that waits, or after all.
    "UPDATE membership SET read_to = max(since, coalesce(
        (SELECT min(u.id) - 1 FROM temp.unread u WHERE u.account = member AND u.target = grp
            AND u.id > since AND u.id <= coalesce(until, u.id)),
        (SELECT last FROM temp.last_number WHERE name = 'message')))",
    "CREATE TEMP TABLE to_group (grp INTEGER, id INTEGER, sender INTEGER, PRIMARY KEY (grp, id)) WITHOUT ROWID",
    "INSERT INTO temp.to_group SELECT target, id, sender FROM message
        WHERE target IN (SELECT target FROM temp.unread WHERE target <> account)",
    "INSERT INTO read_ahead (grp, member, id)
        SELECT s.grp, s.member, g.id FROM (SELECT DISTINCT account, target FROM temp.unread WHERE target <> account) w
            CROSS JOIN membership s ON s.grp = w.target AND s.member = w.account
            CROSS JOIN temp.to_group g ON g.grp = s.grp AND g.id > s.read_to AND g.id <= coalesce(s.until, g.id)
                AND g.id < coalesce(s.full_from, g.id + 1) AND g.sender <> s.member
        WHERE NOT EXISTS (SELECT 1 FROM missed x WHERE x.grp = s.grp AND x.member = s.member
                AND g.id BETWEEN x.first_id AND x.last_id)
            AND NOT EXISTS (SELECT 1 FROM temp.unread u
                WHERE u.account = s.member AND u.target = s.grp AND u.id = g.id)",
    "DELETE FROM change",
    "DELETE FROM sqlite_sequence",
    "INSERT INTO sqlite_sequence (name, seq)
        SELECT iif(name = 'account', 'user', name), last FROM temp.last_number WHERE last > 0",
];

/// SQLite keeps so much of the database in memory while it is made, in KiB.
const CACHE: &str = "-65536";

pub(crate) struct SqliteTarget {
    path: PathBuf,
    options: StoreOptions,
    db: WalConnection,
    groups: HashSet<i64>,
    /// Messages that are not indexed yet.
    tail: Vec<TailMessage>,
    tail_bytes: u64,
    tail_size: Tail,
    /// These two come after what uses them.
    unfinished: Unfinished,
    _lock: Lock,
}

impl SqliteTarget {
    /// Begins a database that will be at a path where there is nothing.
    pub(crate) async fn begin(path: &Path, options: &StoreOptions) -> Result<SqliteTarget, OpenError> {
        must_be_free(path)?;
        files::make_directory(path)?;
        let lock = Lock::take(path)?;
        must_be_free(path)?;
        // Refuses where a WAL lies of a database that is gone.
        schema::version(path, options).await?;
        lock.sign_for_now().map_err(|e| failed(path, e))?;
        unfinished::clear(path);
        let unfinished = Unfinished::of(path).map_err(|e| failed(path, e))?;
        let connect = schema::connect_options(&unfinished.path, options)
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .foreign_keys(false)
            .pragma("cache_size", CACHE);
        let mut sqlite = connect.connect().await.map_err(|e| failed(path, e))?;
        schema::migrate(&unfinished.path, &mut sqlite).await?;
        let mut db = WalConnection::new(sqlite).await.map_err(|e| failed(path, e))?;
        for sql in MADE {
            db.execute(sql, ()).await.map_err(|e| failed(path, e))?;
        }
        Ok(SqliteTarget {
            path: path.to_owned(),
            options: options.clone(),
            db,
            groups: HashSet::new(),
            tail: Vec::new(),
            tail_bytes: 0,
            tail_size: Tail::new(options.tail_messages),
            unfinished,
            _lock: lock,
        })
    }

    async fn write(&mut self, table: CopiedTable, mut rows: RowsIn) -> Result<(), Unwritten> {
        let (sql, kinds) = (copied_tables::insert(table), table.kinds());
        self.db.execute("BEGIN", ()).await?;
        while let Some(rows) = rows.recv().await {
            for row in rows.each() {
                let mut values = copied_tables::values(&row, kinds).ok_or(Unwritten::Odd)?;
                match table {
                    CopiedTable::Account => self.note_group(&row),
                    CopiedTable::Message => {
                        let checksum = self.note_message(&row).ok_or(Unwritten::Odd)?;
                        values.push(ToSqlOutput::from(checksum.to_vec()));
                    }
                    _ => {}
                }
                self.db.execute(sql, rusqlite::params_from_iter(values)).await?;
            }
            if self.tail_size.is_due(Growth { messages: self.tail.len() as u64, bytes: self.tail_bytes, copies: 0 }) {
                self.index().await?;
            }
        }
        self.index().await?;
        self.db.execute("COMMIT", ()).await?;
        Ok(())
    }

    fn note_group(&mut self, row: &CopiedRow<'_>) {
        let [id, owner] = [0, 8].map(|column| row.number(column));
        if let (Some(id), Some(_)) = (id, owner) {
            self.groups.insert(id);
        }
    }

    /// Notes a message for the index; gives its checksum.
    fn note_message(&mut self, row: &CopiedRow<'_>) -> Option<[u8; 4]> {
        let [id, sender, target, sent_at] = [0, 1, 2, 3].map(|column| row.number(column));
        let (id, sender, target, sent_at, text) = (id?, sender?, target?, sent_at?, row.bytes(4));
        let to: Address = if self.groups.contains(&target) { GroupId(target).into() } else { UserId(target).into() };
        let attached = row.number(6).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let bytes = text.len() as u64 + attached;
        self.tail.push(TailMessage { id: MessageId(id), sender: UserId(sender), to, bytes, copies: 1 });
        self.tail_bytes += bytes;
        Some(Content { id, sender, target, sent_at, text }.checksum())
    }

    /// Indexes what is not indexed.
    async fn index(&mut self) -> Result<(), Failure> {
        if self.tail.is_empty() {
            return Ok(());
        }
        self.tail_bytes = 0;
        let mut run = IndexRun::new(std::mem::take(&mut self.tail), self.tail_size);
        while run.is_due(Growth::default()) {
            run.slice(&mut self.db).await?;
        }
        run.finish_without_mail(&mut self.db).await
    }
}

/// Why a table could not be written.
enum Unwritten {
    Sqlite(Failure),
    /// A value is not what its column holds.
    Odd,
}

impl From<Failure> for Unwritten {
    fn from(failure: Failure) -> Unwritten {
        Unwritten::Sqlite(failure)
    }
}

fn must_be_free(path: &Path) -> Result<(), OpenError> {
    match path.symlink_metadata() {
        Ok(_) => Err(failed(path, "there is such a file already, and it is left as it is: name a new one")),
        Err(_) => Ok(()),
    }
}

impl CopiedReader for SqliteTarget {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    async fn size(&mut self) -> Result<u64, OpenError> {
        copied_tables::size(&mut self.db).await.map_err(|e| failed(&self.path, e))
    }

    async fn read(&mut self, table: CopiedTable, rows: RowsOut) -> Result<(), OpenError> {
        // Every message has a checksum here.
        let none = Unchecked(MessageId(0));
        copied_tables::read(&mut self.db, table, none, rows).await.map_err(|why| match why {
            RowsNotRead::Damaged(id) => {
                let why = format!("the copy is not kept, because message {id} is not what was written");
                OpenError::Refused { path: self.path.clone(), why }
            }
            why => unreadable(&self.path, why),
        })
    }
}

impl CopiedTarget for SqliteTarget {
    async fn fill(&mut self, table: CopiedTable, rows: RowsIn) -> Result<(), OpenError> {
        self.write(table, rows).await.map_err(|why| match why {
            Unwritten::Sqlite(failure) => failed(&self.path, failure),
            Unwritten::Odd => {
                failed(&self.path, format!("the {} have a value that no text or number is", table.name()))
            }
        })
    }

    async fn derive(&mut self) -> Result<(), OpenError> {
        self.db.execute("BEGIN", ()).await.map_err(|e| failed(&self.path, e))?;
        for sql in DERIVED {
            self.db.execute(sql, ()).await.map_err(|e| failed(&self.path, e))?;
        }
        self.db.execute("COMMIT", ()).await.map(drop).map_err(|e| failed(&self.path, e))
    }

    async fn keep(self) -> Result<(), OpenError> {
        let SqliteTarget { path, options, db, unfinished, _lock, .. } = self;
        db.close().await.map_err(|e| failed(&path, e))?;
        verify::verify(&unfinished.path, &options).await.map_err(|error| OpenError::Refused {
            path: path.clone(),
            why: format!("the copy is not kept, because it is not whole: {error}"),
        })?;
        unfinished.file.sync_all().map_err(|e| failed(&path, e))?;
        backup::put(&unfinished.path, &path)
    }
}
