//! The tables of a copy as they are in PostgreSQL: how each is read, in the order of its key, and how it is written.
//! Both ways are COPY, whose form is that of the rows on their way.

use futures_util::StreamExt;
use sqlx::PgConnection;

use crate::repository::OpenError;
use crate::repository::copied::{CopiedRows, CopiedTable, RowsOut, TupleParser, gone};

/// The rows of a table, in the order of its key.
fn copy_out(table: CopiedTable) -> &'static str {
    match table {
        CopiedTable::Account => {
            "COPY (SELECT id, name, folded, display_name, country, password_hash, disabled, administrator, owner,
                removed_at, created_at FROM account ORDER BY id) TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Session => {
            "COPY (SELECT id, account, token_hash, address, created_at, last_used_at, label, scope, target FROM session
                ORDER BY id) TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Invite => {
            "COPY (SELECT id, code_hash, label, created_at, expires_at FROM invite ORDER BY id)
                TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Correspondent => {
            "COPY (SELECT recipient, sender, first_id FROM correspondent ORDER BY recipient, sender)
                TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Membership => {
            "COPY (SELECT grp, member, since, until, full_from FROM membership ORDER BY grp, member, since)
                TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Missed => {
            "COPY (SELECT grp, member, first_id, last_id FROM missed ORDER BY grp, member, first_id)
                TO STDOUT (FORMAT binary)"
        }
        CopiedTable::File => {
            "COPY (SELECT id, sender, name, media_type, spelling, bytes, sha256, created_at FROM file ORDER BY id)
                TO STDOUT (FORMAT binary)"
        }
        CopiedTable::FilePiece => {
            "COPY (SELECT file, place, data FROM file_piece ORDER BY file, place) TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Message => {
            "COPY (SELECT id, sender, target, sent_at, text, file, attached FROM message ORDER BY id)
                TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Receipt => {
            "COPY (SELECT r.id, r.account, r.read_at FROM receipt r JOIN message m ON m.target = r.account AND m.id = r.id
                ORDER BY r.id) TO STDOUT (FORMAT binary)"
        }
        CopiedTable::Unread => {
            "COPY (SELECT h.account, u.id, u.target FROM hand h JOIN account a ON a.id = h.account AND a.removed_at IS NULL
                CROSS JOIN LATERAL unread_mail(h.account) u ORDER BY h.account, u.id) TO STDOUT (FORMAT binary)"
        }
        CopiedTable::SendKey => {
            "COPY (SELECT id, sender, key, sent_at FROM send_key ORDER BY id) TO STDOUT (FORMAT binary)"
        }
        CopiedTable::PushKey => "COPY (SELECT key FROM push_key) TO STDOUT (FORMAT binary)",
        CopiedTable::Push => {
            "COPY (SELECT id, session, address, key, secret, with_text FROM push ORDER BY id) TO STDOUT (FORMAT binary)"
        }
        // What is not called yet is still to be given out.
        CopiedTable::LastNumber => {
            "COPY (SELECT name, last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM (
                SELECT 'account' AS name, last_value, is_called FROM account_id_seq
                UNION ALL SELECT 'file', last_value, is_called FROM file_id_seq
                UNION ALL SELECT 'invite', last_value, is_called FROM invite_id_seq
                UNION ALL SELECT 'message', last, true FROM head
                UNION ALL SELECT 'push', last_value, is_called FROM push_id_seq
                UNION ALL SELECT 'session', last_value, is_called FROM session_id_seq) AS numbers
            ORDER BY name) TO STDOUT (FORMAT binary)"
        }
    }
}

/// What takes the rows of a table. Some have another form here: they wait until all are there.
pub(super) fn copy_in(table: CopiedTable) -> &'static str {
    match table {
        CopiedTable::Account => {
            "COPY account (id, name, folded, display_name, country, password_hash, disabled, administrator, owner,
                removed_at, created_at) FROM STDIN (FORMAT binary)"
        }
        CopiedTable::Session => {
            "COPY session (id, account, token_hash, address, created_at, last_used_at, label, scope, target)
                FROM STDIN (FORMAT binary)"
        }
        CopiedTable::Invite => "COPY invite (id, code_hash, label, created_at, expires_at) FROM STDIN (FORMAT binary)",
        CopiedTable::Correspondent => "COPY correspondent (recipient, sender, first_id) FROM STDIN (FORMAT binary)",
        CopiedTable::Membership => "COPY membership (grp, member, since, until, full_from) FROM STDIN (FORMAT binary)",
        CopiedTable::Missed => "COPY missed (grp, member, first_id, last_id) FROM STDIN (FORMAT binary)",
        CopiedTable::File => {
            "COPY file (id, sender, name, media_type, spelling, bytes, sha256, created_at) FROM STDIN (FORMAT binary)"
        }
        CopiedTable::FilePiece => "COPY file_piece (file, place, data) FROM STDIN (FORMAT binary)",
        CopiedTable::Message => {
            "COPY message (id, sender, target, sent_at, text, file, attached) FROM STDIN (FORMAT binary)"
        }
        CopiedTable::Receipt => "COPY receipt (id, account, read_at) FROM STDIN (FORMAT binary)",
        CopiedTable::SendKey => "COPY send_key (id, sender, key, sent_at) FROM STDIN (FORMAT binary)",
        CopiedTable::PushKey => "COPY copied_push_key (key) FROM STDIN (FORMAT binary)",
        CopiedTable::Push => "COPY push (id, session, address, key, secret, with_text) FROM STDIN (FORMAT binary)",
        CopiedTable::Unread => "COPY copied_unread (account, id, target) FROM STDIN (FORMAT binary)",
        CopiedTable::LastNumber => "COPY copied_number (name, last) FROM STDIN (FORMAT binary)",
    }
}

const SIZE: &str = "SELECT (SELECT count(*) FROM account) + (SELECT count(*) FROM session)
    + (SELECT count(*) FROM message) + (SELECT count(*) FROM receipt) + (SELECT count(*) FROM correspondent)
    + (SELECT count(*) FROM file_piece)";

/// About how many rows there are.
pub(super) async fn size(db: &mut PgConnection) -> sqlx::Result<u64> {
    let rows: i64 = sqlx::query_scalar(SIZE).fetch_one(db).await?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// Why a table could not be read.
pub(super) enum NotRead {
    Postgres(sqlx::Error),
    /// Nobody takes the rows.
    NotTaken(OpenError),
}

impl From<sqlx::Error> for NotRead {
    fn from(error: sqlx::Error) -> NotRead {
        NotRead::Postgres(error)
    }
}

/// Reads a table in the order of its key.
pub(super) async fn read(db: &mut PgConnection, table: CopiedTable, out: RowsOut) -> Result<(), NotRead> {
    let odd = || NotRead::Postgres(sqlx::Error::Protocol("this is not the binary form of COPY".to_owned()));
    let mut pieces = db.copy_out_raw(copy_out(table)).await?;
    let (mut parser, mut rows) = (TupleParser::default(), CopiedRows::default());
    while let Some(piece) = pieces.next().await {
        if !parser.take(&piece?, &mut rows) {
            return Err(odd());
        }
        if rows.is_full() {
            out.send(std::mem::take(&mut rows)).await.map_err(gone).map_err(NotRead::NotTaken)?;
        }
    }
    if !parser.is_whole() {
        return Err(odd());
    }
    if rows.count() > 0 {
        out.send(rows).await.map_err(gone).map_err(NotRead::NotTaken)?;
    }
    Ok(())
}
