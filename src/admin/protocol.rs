//! The questions and answers on the administrator's socket.

use serde::{Deserialize, Serialize};

use crate::release::Release;

/// The version of the protocol. Both ends send theirs and accept no other.
pub(crate) const VERSION: u32 = 1;
/// The longest question, in bytes, with its line end.
pub(crate) const QUESTION_BYTES: usize = 1 << 20;
/// The longest reply, in bytes: a page of accounts.
pub(crate) const REPLY_BYTES: usize = 256 << 20;

/// A question as it is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// [`VERSION`].
    pub version: u32,
    pub command: AdminCommand,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AdminCommand {
    /// Whether the server is well.
    Health,
    /// The living account whose name differs from this in no more than case.
    Account {
        name: String,
    },
    /// The first living accounts after this one, in the order of their numbers.
    Accounts {
        /// An account's number; 0 for the beginning.
        after: i64,
    },
    AddAccount {
        name: String,
        display_name: String,
        /// Where its owner is from; may be empty.
        country: String,
        /// A PHC string.
        password_hash: String,
        /// May administer over HTTP.
        #[serde(default)]
        administrator: bool,
    },
    /// The PHC string of an account.
    PasswordHash {
        name: String,
    },
    /// Another password, which ends the sessions.
    SetPassword {
        name: String,
        /// A PHC string.
        password_hash: String,
    },
    /// Another display name, another country, or whether it may administer over HTTP.
    SetProfile {
        name: String,
        display_name: Option<String>,
        country: Option<String>,
        #[serde(default)]
        administrator: Option<bool>,
    },
    /// Shut or open, which ends the sessions.
    SetDisabled {
        name: String,
        disabled: bool,
    },
    /// An account goes, with its sessions and its unread mail.
    RemoveAccount {
        name: String,
    },
    /// The first living sessions after this one, oldest first.
    Logins {
        /// A session's number; 0 for the beginning.
        after: i64,
        /// Only those of this account.
        of: Option<String>,
    },
    EndSessions {
        ids: Vec<i64>,
    },
    /// Something of groups.
    Group(GroupQuestion),
    /// Something of codes that make accounts.
    Invite(InviteQuestion),
    /// Some of the room that is free inside the database goes back to the disk.
    GiveBack,
    /// Copies the database into a file. The reply comes when the file is complete.
    Snapshot {
        /// The process that has made the file, empty, beside the database.
        process: u32,
    },
}

/// Questions about groups.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum GroupQuestion {
    /// The first living groups after this one, in the order of their numbers.
    List {
        /// A group's number; 0 for the beginning.
        after: i64,
    },
    Add {
        name: String,
        display_name: String,
        /// The name of an account.
        owner: String,
        /// A PHC string; empty where anybody may join.
        password_hash: String,
    },
    /// The first members after this one, in the order of their numbers.
    Members {
        name: String,
        /// An account's number; 0 for the beginning.
        after: i64,
    },
    Join {
        name: String,
        user: String,
    },
    Leave {
        name: String,
        user: String,
    },
    /// Another display name.
    Rename {
        name: String,
        display_name: String,
    },
    Remove {
        name: String,
    },
}

/// What is asked of codes that make accounts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum InviteQuestion {
    Add {
        /// SHA-256 of the code.
        code: [u8; 32],
        /// For whom it is; may be empty.
        label: String,
        /// How long it works.
        milliseconds: u64,
    },
    /// The first that work after this one, in the order of their numbers.
    List {
        /// A code's number; 0 for the beginning.
        after: i64,
    },
    Remove {
        id: i64,
    },
}

/// What was answered, as it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AdminResponse {
    /// The [`VERSION`] of the server.
    pub version: u32,
    /// Which program answers. The one that asks may be newer. Older programs do not say this.
    #[serde(default)]
    pub server: Option<Release>,
    /// The reply, or a line that says why there is none.
    pub result: Result<AdminReply, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AdminReply {
    Done {
        /// The sessions that were ended, the unread messages that went with an account, or the number of a new invite.
        /// For a removed invite 1, or 0 if there was none. Other commands have no count.
        count: u64,
    },
    /// Whether the name was free.
    Added { is_new: bool },
    /// An account, if there is one.
    Account { account: Option<ListedAccount> },
    /// A page of accounts; none at the end.
    Accounts { accounts: Vec<ListedAccount> },
    /// A PHC string; none where the account went meanwhile.
    PasswordHash { hash: Option<String> },
    /// A page of groups; none at the end.
    Groups { groups: Vec<ListedGroup> },
    /// A page of a group's members; none at the end.
    Members { members: Vec<ListedMember> },
    /// A page of codes that work; none at the end.
    Invites { invites: Vec<ListedInvite> },
    /// A page of sessions; none at the end.
    Logins { logins: Vec<ListedSession> },
    Room {
        /// What was given back to the disk.
        given_bytes: u64,
        free_bytes: u64,
        /// Whether a server can give it back.
        can_be_given: bool,
    },
}

/// An account as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedAccount {
    pub id: i64,
    /// Its name on the wire.
    pub username: String,
    pub display_name: String,
    /// Where its owner is from; may be empty.
    pub country: String,
    /// Nobody may log in.
    pub disabled: bool,
    /// When it was added, in milliseconds since 1970.
    pub created_at: i64,
    /// What it is charged for of limits.stored_bytes.
    #[serde(default)]
    pub stored_bytes: u64,
    /// May administer over HTTP.
    #[serde(default)]
    pub administrator: bool,
}

/// A group as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedGroup {
    pub id: i64,
    /// Its name on the wire.
    pub name: String,
    pub display_name: String,
    /// The number of an account.
    pub owner: i64,
    /// How many are in it.
    pub members: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
}

/// A member as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedMember {
    /// The number of the account.
    pub id: i64,
    pub username: String,
    /// The group is its.
    pub is_owner: bool,
}

/// A code that makes an account, as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedInvite {
    pub id: i64,
    /// For whom it is; may be empty.
    pub label: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it is over.
    pub expires_at: i64,
}

/// A session as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedSession {
    pub id: i64,
    pub username: String,
    /// From where it was opened.
    pub address: String,
    /// When it began, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was last used; that may be an hour old.
    pub last_used_at: i64,
    /// What its user calls it, or the browser that it was opened in.
    #[serde(default)]
    pub label: String,
    /// Its scope, if it is no login.
    #[serde(default)]
    pub scope: Option<String>,
}

/// Shows only the name of the command: the log must not have hashes of passwords.
impl std::fmt::Debug for AdminCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            AdminCommand::Health => "health",
            AdminCommand::Account { .. } => "account",
            AdminCommand::Accounts { .. } => "accounts",
            AdminCommand::AddAccount { .. } => "add_account",
            AdminCommand::PasswordHash { .. } => "password_hash",
            AdminCommand::SetPassword { .. } => "set_password",
            AdminCommand::SetProfile { .. } => "set_profile",
            AdminCommand::SetDisabled { .. } => "set_disabled",
            AdminCommand::RemoveAccount { .. } => "remove_account",
            AdminCommand::Logins { .. } => "logins",
            AdminCommand::EndSessions { .. } => "end_sessions",
            AdminCommand::Group(GroupQuestion::List { .. }) => "groups",
            AdminCommand::Group(GroupQuestion::Add { .. }) => "add_group",
            AdminCommand::Group(GroupQuestion::Members { .. }) => "group_members",
            AdminCommand::Group(GroupQuestion::Join { .. }) => "join_group",
            AdminCommand::Group(GroupQuestion::Leave { .. }) => "leave_group",
            AdminCommand::Group(GroupQuestion::Rename { .. }) => "rename_group",
            AdminCommand::Group(GroupQuestion::Remove { .. }) => "remove_group",
            AdminCommand::Invite(InviteQuestion::Add { .. }) => "add_invite",
            AdminCommand::Invite(InviteQuestion::List { .. }) => "invites",
            AdminCommand::Invite(InviteQuestion::Remove { .. }) => "remove_invite",
            AdminCommand::GiveBack => "give_back",
            AdminCommand::Snapshot { .. } => "snapshot",
        };
        f.write_str(name)
    }
}
