//! The settings of the wire.

use serde::{Deserialize, Serialize};

/// Details of the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProtocolConfig {
    /// An inbox names senders all of whose mail was read.
    pub drained_senders: bool,
    /// People are told who has an account.
    pub directory: bool,
    /// The words that later clients speak are understood.
    pub family: bool,
    /// The replies to `auth` and `logout` have the keys that some of these clients read.
    pub family_keys: bool,
    /// Who may make an account.
    pub register: Registering,
    /// In which order its words come.
    pub register_order: WordOrder,
}

impl Default for ProtocolConfig {
    fn default() -> ProtocolConfig {
        ProtocolConfig {
            drained_senders: false,
            directory: true,
            family: true,
            family_keys: false,
            register: Registering::Closed,
            register_order: WordOrder::UsernameFirst,
        }
    }
}

/// Who may make an account with `register`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registering {
    /// Nobody.
    Closed,
    /// Who connects from this machine.
    Loopback,
    /// Who shows a code of `chatd user invite`, on connections that nobody can listen in on.
    Invite,
    /// Everybody, on connections that nobody can listen in on.
    Open,
}

/// In which order the words of `register` come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordOrder {
    /// USER PASS NAMA NEGARA.
    UsernameFirst,
    /// NAMA NEGARA USER PASS.
    NameFirst,
}
