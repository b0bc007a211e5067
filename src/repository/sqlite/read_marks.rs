//! The read marks of the members of groups. A message to a group gets no receipt. Instead the mark moves up. A message
//! that was read before an older one is noted until the mark has passed it.

use super::direct::{Failure, WalConnection};

const READ_TO: &str = "UPDATE membership SET read_to = value ->> 2 FROM json_each(?1)
    WHERE grp = value ->> 0 AND member = value ->> 1 AND read_to < value ->> 2";
const READ_AHEAD: &str = "INSERT OR IGNORE INTO read_ahead (grp, member, id)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)";
const CAUGHT_UP: &str = "DELETE FROM read_ahead WHERE (grp, member, id) IN (
    SELECT a.grp, a.member, a.id FROM json_each(?1) CROSS JOIN read_ahead AS a
    ON a.grp = value ->> 0 AND a.member = value ->> 1 AND a.id <= value ->> 2)";

/// A group, a member, and a message.
pub(super) type ReadMark = (i64, i64, i64);

/// Moves the marks of members up to these messages.
pub(super) async fn move_read_marks(
    db: &mut WalConnection,
    marks: &[ReadMark],
    may_be_ahead: bool,
) -> Result<(), Failure> {
    if marks.is_empty() {
        return Ok(());
    }
    let marks = json(marks);
    db.execute(READ_TO, (&marks,)).await?;
    if may_be_ahead {
        db.execute(CAUGHT_UP, (&marks,)).await?;
    }
    Ok(())
}

/// Notes what members have read before an older message.
pub(super) async fn note_read_ahead(db: &mut WalConnection, read: &[ReadMark]) -> Result<(), Failure> {
    db.execute(READ_AHEAD, (json(read),)).await.map(drop)
}

fn json(rows: &[ReadMark]) -> String {
    serde_json::to_string(rows).expect("numbers are JSON")
}
