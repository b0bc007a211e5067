//! Why a request is refused: the closed list of reasons, with their words and their codes.

use std::time::Duration;

use super::Number;
use crate::model::{BadAccount, BadLabel, BadPassword, SEND_KEY_BYTES};

/// Why a request was not carried out. A client learns nothing more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such command.
    UnknownCommand,
    /// A browser, or something else that speaks HTTP. Ends the connection where it is the first line.
    Http,
    /// The command wants more words, or the line is not UTF-8.
    Malformed,
    /// `auth`: no such account.
    UnknownUser,
    /// `auth`: not its password.
    WrongPassword,
    /// The token is not that of a living session.
    UnknownToken,
    /// The token was made for something else.
    OutOfScope,
    /// `send`: no such account.
    UnknownRecipient,
    /// `send`: the recipient's inbox is full.
    InboxFull,
    /// `send`: the sender has stored as much as one may.
    StoredFull,
    /// The key of the message is no valid key.
    BadKey,
    /// The key of the message is that of a message to somebody else.
    KeyUsed,
    /// `group create`: an account or a group has the name.
    GroupExists,
    /// `group create`: no group may have such a name.
    BadGroupName,
    /// There is no such group.
    UnknownGroup,
    /// The account is in the group already.
    AlreadyAMember,
    /// The asker, or the account to take out, is not in the group.
    NotAMember,
    /// Only the owner of a group may do that.
    NotTheOwner,
    /// The group has as many members as one may have.
    GroupFull,
    /// The account is in as many groups as one may be.
    TooManyGroups,
    /// `passwd`: the new password is none that an account may have.
    BadNewPassword(BadPassword),
    /// `profile`: nobody may have this name in messages.
    BadDisplayName(BadLabel),
    /// `endsession`: the asker has no such session.
    UnknownSession,
    /// The account has as many tokens for programs as one may have.
    TooManyTokens,
    /// The login was too long ago for that, and no password was shown.
    PasswordWanted,
    /// Only an account that may administer may do that.
    NotAnAdministrator,
    /// `people`: the administrator wants nobody to be told who there is.
    DirectoryOff,
    /// `register`: an account or a group has the name.
    UserExists,
    /// `register`: no account may have such a name, such a password, or be shown in this way.
    BadAccount(BadAccount),
    /// `register`: others could read the password on its way.
    NotPrivate,
    /// `register`: no code of an invite was shown, or it was used, is over, or is none.
    BadInvite,
    /// There is no such file, or it was not sent to the asker.
    NoSuchFile,
    /// The file has more bytes than one may have.
    FileTooLarge {
        /// So many.
        most: u64,
    },
    /// A parameter must be a number and is none.
    NotANumber(Number),
    /// The line is longer than the server takes.
    LineTooLong,
    /// Too much at once; nothing was done.
    Busy,
    /// A long line came too slowly, and others need its memory. Nothing was done.
    TooSlow,
    /// The account has as many connections as it may have. Nothing was done.
    TooManyConnections,
    /// The port speaks TLS, and the peer does not. Ends the connection.
    WantsTls,
    /// The peer speaks TLS, and the port does not. Ends the connection.
    NoTls,
    /// `auth`: too many attempts; nothing was checked.
    Throttled {
        /// When another attempt may pass.
        retry_after: Duration,
    },
    /// The store did not answer: a change may or may not have been made.
    Unavailable,
}

impl Refusal {
    /// chatd's words for refusals that the original server did not have. The words of the original server are in the
    /// dialects.
    pub fn words(self) -> Option<String> {
        Some(match self {
            Refusal::InboxFull => "the recipient's inbox is full".to_owned(),
            Refusal::StoredFull => {
                "you have stored as much as you may, try again when old messages are removed".to_owned()
            }
            Refusal::BadKey => format!("KEY must be one word of 1 to {SEND_KEY_BYTES} visible ASCII characters"),
            Refusal::KeyUsed => "KEY was used for another recipient, take a new one".to_owned(),
            Refusal::NoSuchFile => "File tidak ditemukan".to_owned(),
            Refusal::FileTooLarge { most } => format!("a file may have {most} bytes at the most"),
            Refusal::UserExists => "User Sudah Ada".to_owned(),
            Refusal::BadAccount(why) => why.to_string(),
            Refusal::NotPrivate => "register with TLS, or on the server's own machine".to_owned(),
            Refusal::BadInvite => "show the code of an invite that was not used and is not over".to_owned(),
            Refusal::GroupExists => "Group sudah ada".to_owned(),
            Refusal::BadGroupName => "a group's name follows the rules for user names and has no comma".to_owned(),
            Refusal::UnknownGroup => "Group belum ada".to_owned(),
            Refusal::AlreadyAMember => "User sudah join".to_owned(),
            Refusal::NotAMember => "Bukan member group".to_owned(),
            Refusal::NotTheOwner => "only the owner of the group may do that".to_owned(),
            Refusal::GroupFull => "the group has as many members as it may have".to_owned(),
            Refusal::TooManyGroups => "the account is in as many groups as it may be".to_owned(),
            Refusal::BadNewPassword(why) => format!("NEW: {why}"),
            Refusal::BadDisplayName(why) => format!("NAME: {why}"),
            Refusal::OutOfScope => "this token is not good for that".to_owned(),
            Refusal::UnknownSession => "you have no such session".to_owned(),
            Refusal::TooManyTokens => "you have as many tokens as you may: end one".to_owned(),
            Refusal::PasswordWanted => "you logged in a while ago: show your password again".to_owned(),
            Refusal::NotAnAdministrator => "only an administrator may do that".to_owned(),
            Refusal::DirectoryOff => "the list of people is off on this server".to_owned(),
            Refusal::NotANumber(number) => number.wanted().to_owned(),
            Refusal::LineTooLong => "the line is too long".to_owned(),
            Refusal::Busy => "the server is busy, try again".to_owned(),
            Refusal::TooSlow => "the line came too slowly, send it again".to_owned(),
            Refusal::TooManyConnections => "too many connections of this account, close one".to_owned(),
            Refusal::WantsTls => "this port speaks TLS: connect with TLS".to_owned(),
            Refusal::NoTls => "this port does not speak TLS: connect without TLS, or to the TLS port".to_owned(),
            Refusal::Throttled { retry_after } => {
                format!("too many attempts, try again in {} s", retry_after.as_secs().max(1))
            }
            Refusal::Unavailable => "the message store is unavailable, try again later".to_owned(),
            Refusal::UnknownCommand
            | Refusal::Http
            | Refusal::Malformed
            | Refusal::UnknownUser
            | Refusal::WrongPassword
            | Refusal::UnknownToken
            | Refusal::UnknownRecipient => return None,
        })
    }

    /// One word for it, for those who count.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::UnknownCommand => "unknown_command",
            Refusal::Http => "http",
            Refusal::Malformed => "malformed",
            Refusal::BadKey => "bad_key",
            Refusal::KeyUsed => "key_used",
            Refusal::NoSuchFile => "no_such_file",
            Refusal::FileTooLarge { .. } => "file_too_large",
            Refusal::UserExists => "user_exists",
            Refusal::BadAccount(_) => "bad_account",
            Refusal::NotPrivate => "not_private",
            Refusal::BadInvite => "bad_invite",
            Refusal::GroupExists => "group_exists",
            Refusal::BadGroupName => "bad_group_name",
            Refusal::UnknownGroup => "unknown_group",
            Refusal::AlreadyAMember => "already_a_member",
            Refusal::NotAMember => "not_a_member",
            Refusal::NotTheOwner => "not_the_owner",
            Refusal::GroupFull => "group_full",
            Refusal::TooManyGroups => "too_many_groups",
            Refusal::BadNewPassword(_) => "bad_new_password",
            Refusal::BadDisplayName(_) => "bad_display_name",
            Refusal::UnknownSession => "unknown_session",
            Refusal::TooManyTokens => "too_many_tokens",
            Refusal::PasswordWanted => "password_wanted",
            Refusal::NotAnAdministrator => "not_an_administrator",
            Refusal::DirectoryOff => "directory_off",
            Refusal::NotANumber(_) => "not_a_number",
            Refusal::UnknownUser => "unknown_user",
            Refusal::WrongPassword => "wrong_password",
            Refusal::UnknownToken => "unknown_token",
            Refusal::OutOfScope => "out_of_scope",
            Refusal::UnknownRecipient => "unknown_recipient",
            Refusal::InboxFull => "inbox_full",
            Refusal::StoredFull => "stored_full",
            Refusal::LineTooLong => "line_too_long",
            Refusal::Busy => "busy",
            Refusal::TooSlow => "too_slow",
            Refusal::TooManyConnections => "too_many_connections",
            Refusal::WantsTls => "wants_tls",
            Refusal::NoTls => "no_tls",
            Refusal::Throttled { .. } => "throttled",
            Refusal::Unavailable => "unavailable",
        }
    }
}
