//! The tables of a copy as they are in SQLite: how each is read, in the order of its key, and how it is written.

use rusqlite::Row;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::checksum::{Content, Unchecked};
use super::direct::{Failure, WalConnection};
use crate::repository::OpenError;
use crate::repository::copied::{ColumnKind, CopiedRow, CopiedRows, CopiedTable, RowsOut, gone};

/// Memberships by what of the group was not read, so that a message does not look at all members.
const BEHIND: [&str; 3] = [
    "DROP TABLE IF EXISTS temp.behind",
    // Without the types SQLite would not use the key.
    "CREATE TEMP TABLE behind (grp INTEGER, read_to INTEGER, member INTEGER, since INTEGER, until INTEGER,
        full_from INTEGER, PRIMARY KEY (grp, read_to, member, since)) WITHOUT ROWID",
    "INSERT INTO temp.behind SELECT grp, read_to, member, since, until, full_from
        FROM membership JOIN user ON user.id = member AND removed_at IS NULL",
];

/// The rows of a table, in the order of its key.
fn select(table: CopiedTable) -> &'static str {
    match table {
        CopiedTable::Account => {
            "SELECT id, name, folded, display_name, country, password_hash, disabled, administrator, owner, removed_at,
                created_at FROM user ORDER BY id"
        }
        CopiedTable::Session => {
            "SELECT id, user, token_hash, address, created_at, last_used_at, label, scope, target FROM session
                ORDER BY id"
        }
        CopiedTable::Invite => "SELECT id, code_hash, label, created_at, expires_at FROM invite ORDER BY id",
        // What is not indexed yet has its correspondents only in the message log.
        CopiedTable::Correspondent => {
            "SELECT recipient, sender, min(first_id) FROM (
                SELECT recipient, sender, first_id FROM correspondent
                UNION ALL
                SELECT m.target, m.sender, m.id FROM message m JOIN user u ON u.id = m.target AND u.owner IS NULL
                WHERE m.id > (SELECT coalesce(max(last), 0) FROM run))
            GROUP BY recipient, sender ORDER BY recipient, sender"
        }
        CopiedTable::Membership => {
            "SELECT grp, member, since, until, full_from FROM membership ORDER BY grp, member, since"
        }
        CopiedTable::Missed => "SELECT grp, member, first_id, last_id FROM missed ORDER BY grp, member, first_id",
        CopiedTable::File => {
            "SELECT id, sender, name, media_type, spelling, bytes, sha256, created_at FROM file ORDER BY id"
        }
        CopiedTable::FilePiece => "SELECT file, place, data FROM file_piece ORDER BY file, place",
        // The checksum is looked at, and does not travel.
        CopiedTable::Message => {
            "SELECT id, sender, target, sent_at, text, file, attached, checksum FROM message ORDER BY id"
        }
        CopiedTable::Receipt => {
            "SELECT r.id, m.target, r.delivered_at FROM receipt r JOIN message m ON m.id = r.id ORDER BY r.id"
        }
        CopiedTable::Unread => {
            "SELECT account, id, target FROM (
                SELECT m.target AS account, m.id, m.target FROM message m
                    JOIN user u ON u.id = m.target AND u.owner IS NULL AND u.removed_at IS NULL
                    LEFT JOIN receipt r ON r.id = m.id
                WHERE r.id IS NULL
                UNION ALL
                SELECT s.member, m.id, m.target FROM message m CROSS JOIN temp.behind s ON s.grp = m.target
                    AND s.read_to < m.id AND s.since < m.id AND m.id <= coalesce(s.until, m.id)
                    AND m.id < coalesce(s.full_from, m.id + 1) AND s.member <> m.sender
                WHERE NOT EXISTS (SELECT 1 FROM missed x WHERE x.grp = s.grp AND x.member = s.member
                        AND m.id BETWEEN x.first_id AND x.last_id)
                    AND NOT EXISTS (SELECT 1 FROM read_ahead x WHERE x.grp = s.grp AND x.member = s.member
                        AND x.id = m.id))
            ORDER BY account, id"
        }
        CopiedTable::SendKey => "SELECT id, sender, key, sent_at FROM send_key ORDER BY id",
        CopiedTable::PushKey => "SELECT key FROM push_key",
        CopiedTable::Push => "SELECT id, session, address, key, secret, with_text FROM push ORDER BY id",
        CopiedTable::LastNumber => {
            "WITH kind (name, rows) AS (VALUES ('account', 'user'), ('file', 'file'), ('invite', 'invite'),
                ('message', 'message'), ('push', 'push'), ('session', 'session'))
            SELECT k.name, max(coalesce((SELECT seq FROM sqlite_sequence s WHERE s.name = k.rows), 0),
                iif(k.name = 'message', (SELECT coalesce(max(last), 0) FROM run), 0)) FROM kind k ORDER BY k.name"
        }
    }
}

/// What writes one row of a table. Read marks are set when it is known what is unread.
pub(super) fn insert(table: CopiedTable) -> &'static str {
    match table {
        CopiedTable::Account => {
            "INSERT INTO user (id, name, folded, display_name, country, password_hash, disabled, administrator, owner,
                removed_at, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        }
        CopiedTable::Session => {
            "INSERT INTO session (id, user, token_hash, address, created_at, last_used_at, label, scope, target)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        }
        CopiedTable::Invite => {
            "INSERT INTO invite (id, code_hash, label, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)"
        }
        CopiedTable::Correspondent => "INSERT INTO correspondent (recipient, sender, first_id) VALUES (?1, ?2, ?3)",
        CopiedTable::Membership => {
            "INSERT INTO membership (grp, member, since, until, full_from, read_to) VALUES (?1, ?2, ?3, ?4, ?5, ?3)"
        }
        CopiedTable::Missed => "INSERT INTO missed (grp, member, first_id, last_id) VALUES (?1, ?2, ?3, ?4)",
        CopiedTable::File => {
            "INSERT INTO file (id, sender, name, media_type, spelling, bytes, sha256, created_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        }
        CopiedTable::FilePiece => "INSERT INTO file_piece (file, place, data) VALUES (?1, ?2, ?3)",
        CopiedTable::Message => {
            "INSERT INTO message (id, sender, target, sent_at, text, file, attached, checksum)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        }
        CopiedTable::Receipt => "INSERT INTO receipt (id, delivered_at) VALUES (?1, ?3)",
        CopiedTable::Unread => "INSERT INTO temp.unread (account, id, target) VALUES (?1, ?2, ?3)",
        CopiedTable::SendKey => "INSERT INTO send_key (id, sender, key, sent_at) VALUES (?1, ?2, ?3, ?4)",
        CopiedTable::PushKey => "INSERT INTO push_key (id, key) VALUES (1, ?1)",
        CopiedTable::Push => {
            "INSERT INTO push (id, session, address, key, secret, with_text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        }
        CopiedTable::LastNumber => "INSERT INTO temp.last_number (name, last) VALUES (?1, ?2)",
    }
}

const SIZE: &str =
    "SELECT (SELECT count(*) FROM user) + (SELECT count(*) FROM session) + (SELECT count(*) FROM message)
    + (SELECT count(*) FROM receipt) + (SELECT count(*) FROM correspondent) + (SELECT count(*) FROM file_piece)";

/// About how many rows there are.
pub(super) async fn size(db: &mut WalConnection) -> Result<u64, Failure> {
    db.row(SIZE, |row| row.get(0)).await.map(|rows: i64| u64::try_from(rows).unwrap_or(0))
}

/// Why a table could not be read.
pub(super) enum RowsNotRead {
    Sqlite(Failure),
    /// A message is not what was stored.
    Damaged(i64),
    /// Nobody takes the rows.
    NotTaken(OpenError),
}

impl From<Failure> for RowsNotRead {
    fn from(failure: Failure) -> RowsNotRead {
        RowsNotRead::Sqlite(failure)
    }
}

impl From<rusqlite::Error> for RowsNotRead {
    fn from(error: rusqlite::Error) -> RowsNotRead {
        RowsNotRead::Sqlite(error.into())
    }
}

/// Reads a table in the order of its key.
pub(super) async fn read(
    db: &mut WalConnection,
    table: CopiedTable,
    unchecked: Unchecked,
    out: RowsOut,
) -> Result<(), RowsNotRead> {
    if table == CopiedTable::Unread {
        for sql in BEHIND {
            db.execute(sql, ()).await?;
        }
    }
    let sql = select(table);
    let mut statement = db.statement(sql).await?;
    let mut found = statement.query(())?;
    let (mut rows, mut count) = (CopiedRows::default(), 0_u64);
    while let Some(row) = found.next()? {
        if table == CopiedTable::Message && !is_whole(row, unchecked)? {
            return Err(RowsNotRead::Damaged(row.get(0)?));
        }
        add(&mut rows, row, table.kinds())?;
        count += 1;
        if rows.is_full() {
            out.send(std::mem::take(&mut rows)).await.map_err(gone).map_err(RowsNotRead::NotTaken)?;
        }
    }
    drop(found);
    drop(statement);
    db.note_statement(sql, count);
    if rows.count() > 0 {
        out.send(rows).await.map_err(gone).map_err(RowsNotRead::NotTaken)?;
    }
    Ok(())
}

fn is_whole(row: &Row<'_>, unchecked: Unchecked) -> rusqlite::Result<bool> {
    let text = row.get_ref(4)?.as_bytes().unwrap_or_default();
    let content = Content { id: row.get(0)?, sender: row.get(1)?, target: row.get(2)?, sent_at: row.get(3)?, text };
    let checksum = row.get_ref(7)?.as_bytes_or_null()?.unwrap_or_default();
    Ok(unchecked.text(&content, checksum).is_some())
}

fn add(rows: &mut CopiedRows, row: &Row<'_>, kinds: &[ColumnKind]) -> rusqlite::Result<()> {
    rows.begin(kinds.len());
    for (column, kind) in kinds.iter().enumerate() {
        match (row.get_ref(column)?, kind) {
            (ValueRef::Null, _) => rows.null(),
            (ValueRef::Integer(number), ColumnKind::Flag) => rows.flag(number != 0),
            (ValueRef::Integer(number), _) => rows.number(number),
            (value, _) => rows.value(value.as_bytes()?),
        }
    }
    Ok(())
}

/// The values of a row as SQLite takes them; `None`: one is not what its column holds.
pub(super) fn values<'a>(row: &CopiedRow<'a>, kinds: &[ColumnKind]) -> Option<Vec<ToSqlOutput<'a>>> {
    let values = row.values().iter().zip(kinds).map(|(value, kind)| {
        let Some(value) = *value else { return Some(ValueRef::Null) };
        Some(match kind {
            ColumnKind::Number => ValueRef::Integer(i64::from_be_bytes(value.try_into().ok()?)),
            ColumnKind::Flag => ValueRef::Integer(i64::from(*value.first()?)),
            ColumnKind::Text => ValueRef::Text(str::from_utf8(value).ok()?.as_bytes()),
            ColumnKind::Bytes => ValueRef::Blob(value),
        })
    });
    values.map(|value| value.map(ToSqlOutput::Borrowed)).collect()
}
