//! What a copy of a database in another kind of store consists of: the tables, in the words of no store, and what is in
//! their columns. Each store says how it reads and writes them.

mod pour;
mod rows;
mod sum;

pub use self::pour::CopyStep;
pub(crate) use self::pour::{CopiedReader, CopiedTarget, RowsIn, RowsOut, Told, gone, pour};
pub(crate) use self::rows::{CopiedRow, CopiedRows, HEADER, TRAILER, TupleParser};
pub(crate) use self::sum::TableSum;

use self::ColumnKind::{Bytes, Flag, Number, Text};

/// A table of a copy. In this order they are written, so what a row needs is there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopiedTable {
    /// Accounts and groups.
    Account,
    /// Logins, tokens and hooks.
    Session,
    /// Codes that are still good.
    Invite,
    /// Who ever wrote to whom, and when first.
    Correspondent,
    /// Who is and was in groups.
    Membership,
    /// What members of groups did not get.
    Missed,
    /// Files that were sent.
    File,
    /// What is in them.
    FilePiece,
    /// The message log.
    Message,
    /// When messages to people were read.
    Receipt,
    /// What living accounts have not read, also of groups. Each store keeps this in a form of its own.
    Unread,
    /// Under which keys messages were sent.
    SendKey,
    /// The key that signs what is pushed to browsers.
    PushKey,
    /// The browsers.
    Push,
    /// The last number of each kind that was given out.
    LastNumber,
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Number,
    Text,
    Bytes,
    Flag,
}

impl CopiedTable {
    /// All of them.
    pub const ALL: [CopiedTable; 15] = [
        CopiedTable::Account,
        CopiedTable::Session,
        CopiedTable::Invite,
        CopiedTable::Correspondent,
        CopiedTable::Membership,
        CopiedTable::Missed,
        CopiedTable::File,
        CopiedTable::FilePiece,
        CopiedTable::Message,
        CopiedTable::Receipt,
        CopiedTable::Unread,
        CopiedTable::SendKey,
        CopiedTable::PushKey,
        CopiedTable::Push,
        CopiedTable::LastNumber,
    ];

    /// What it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            CopiedTable::Account => "accounts and groups",
            CopiedTable::Session => "sessions and tokens",
            CopiedTable::Invite => "invites",
            CopiedTable::Correspondent => "correspondents",
            CopiedTable::Membership => "memberships",
            CopiedTable::Missed => "missed messages",
            CopiedTable::File => "files",
            CopiedTable::FilePiece => "pieces of files",
            CopiedTable::Message => "messages",
            CopiedTable::Receipt => "receipts",
            CopiedTable::Unread => "unread messages",
            CopiedTable::SendKey => "keys of sends",
            CopiedTable::PushKey => "the key of pushes",
            CopiedTable::Push => "browsers",
            CopiedTable::LastNumber => "last numbers",
        }
    }

    /// Its columns, in the order of a row.
    pub(crate) fn kinds(self) -> &'static [ColumnKind] {
        match self {
            // id, name, folded, display_name, country, password_hash, disabled, administrator, owner, removed_at,
            // created_at
            CopiedTable::Account => &[Number, Text, Text, Text, Text, Text, Flag, Flag, Number, Number, Number],
            // id, account, token_hash, address, created_at, last_used_at, label, scope, target
            CopiedTable::Session => &[Number, Number, Bytes, Text, Number, Number, Text, Text, Number],
            // id, code_hash, label, created_at, expires_at
            CopiedTable::Invite => &[Number, Bytes, Text, Number, Number],
            // recipient, sender, first_id; account, id, target; id, account, read_at
            CopiedTable::Correspondent | CopiedTable::Unread | CopiedTable::Receipt => &[Number; 3],
            // grp, member, since, until, full_from
            CopiedTable::Membership => &[Number; 5],
            // grp, member, first_id, last_id
            CopiedTable::Missed => &[Number; 4],
            // id, sender, name, media_type, spelling, bytes, sha256, created_at
            CopiedTable::File => &[Number, Number, Text, Text, Number, Number, Bytes, Number],
            // file, place, data
            CopiedTable::FilePiece => &[Number, Number, Bytes],
            // id, sender, target, sent_at, text, file, attached
            CopiedTable::Message => &[Number, Number, Number, Number, Text, Number, Number],
            // id, sender, key, sent_at
            CopiedTable::SendKey => &[Number, Number, Text, Number],
            CopiedTable::PushKey => &[Bytes],
            // id, session, address, key, secret, with_text
            CopiedTable::Push => &[Number, Number, Text, Bytes, Bytes, Flag],
            // name, last
            CopiedTable::LastNumber => &[Text, Number],
        }
    }
}
