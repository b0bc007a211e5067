//! The words that the servers and clients of one course have added to this wire since 2020. They are a second, small
//! grammar. Each word stands for a command of chatd or for a [`FamilyCommand`], and spells the reply in its own way
//! (`spelling`). A word that the first grammar knows is not looked up here, so existing clients notice nothing.
//! `docs/PROTOCOL.md` has the words.

mod reply;
pub(super) mod spelling;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

pub use self::reply::{FamilyReply, InboxFile, OnlinePerson};
use self::spelling::{FamilySpelling, LOGIN, LOGOUT, Part};
use self::words::FamilyWords;
use super::{Command, Refusal, Reply, Request, json};
use crate::model::{FileId, FileName, LookupName, Password, Token};

/// What only a word of the family asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyCommand {
    /// Who is logged in, with display names and countries?
    OnlinePeople,
    /// Which accounts are there?
    Accounts,
    /// Make an account and log in to it.
    Register(Registration),
    /// Make a group.
    CreateGroup {
        /// The name for it.
        group: LookupName,
        /// Its password, or with commas the names of its members.
        third: Option<String>,
    },
    /// Put a message into the queues of several people.
    SendToAll {
        /// A group, or names of accounts with commas between.
        whom: String,
        /// The text, exactly as it came.
        text: Arc<str>,
    },
    /// What was sent to a group of mine; changes nothing.
    GroupLog(LookupName),
    /// Put a file into queues.
    SendFile {
        /// Whose.
        whom: FileRecipients,
        /// What it is called.
        name: FileName,
        /// Its bytes, as the sender wrote them.
        data: Arc<str>,
    },
    /// A file that was sent to me.
    Download {
        /// Its number; `None`: the newest of that name.
        id: Option<FileId>,
        /// The account that sent it; `None`: any.
        sender: Option<LookupName>,
        /// What it is called.
        name: String,
    },
    /// The names of all files that were sent to me.
    Files,
}

/// Who is to get a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRecipients {
    /// Whoever has this name.
    One(LookupName),
    /// A group, or names of accounts with commas between.
    Several(String),
}

/// An account that somebody wants to have. Nothing of it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name on the wire.
    pub username: LookupName,
    /// Its password.
    pub password: Password,
    /// Its name in messages; without one that is the user name.
    pub display_name: Option<String>,
    /// Where its owner is from; may be empty.
    pub country: String,
    /// The code of an invite.
    pub code: Option<Token>,
}

/// In which order the words of `register` come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOrder {
    /// USER PASS NAMA NEGARA.
    UsernameFirst,
    /// NAMA NEGARA USER PASS.
    NameFirst,
}

/// What an administrator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilySettings {
    /// Whether the replies to `auth` and `logout` have the keys of the family.
    pub keys: bool,
    /// Whether `register` is a word.
    pub register: bool,
    /// How it is read.
    pub order: RegisterOrder,
}

/// What is remembered of a connection.
#[derive(Debug)]
pub struct FamilyDialogue {
    settings: FamilySettings,
    /// The session that the connection has begun last.
    session: Option<Token>,
    /// How the replies to the requests that have none are spelled.
    forms: VecDeque<Form>,
}

/// How one reply is spelled: by these parts, where it is no refusal; without any, as the original server would.
#[derive(Debug, Default)]
struct Form {
    parts: &'static [Part],
    /// The name that the request has, where the reply repeats it.
    named: String,
}

impl FamilyDialogue {
    /// A connection on which nobody has logged in.
    pub fn new(settings: FamilySettings) -> FamilyDialogue {
        FamilyDialogue { settings, session: None, forms: VecDeque::new() }
    }

    /// Reads one line.
    pub(super) fn parse(&mut self, line: &[u8]) -> Result<Request, Refusal> {
        let (form, request) = self.read(line);
        self.forms.push_back(form);
        request
    }

    /// The token at the beginning of a long line, or that of the connection, or why the line is refused.
    pub(super) fn parse_head(&self, head: &[u8]) -> Result<Token, Refusal> {
        self.read(json::whole(head).as_bytes()).1?.token.ok_or(Refusal::LineTooLong)
    }

    /// Whether a long line, by its beginning, brings a file.
    pub(super) fn brings_a_file(&self, head: &[u8]) -> bool {
        let request = self.read(json::whole(head).as_bytes()).1;
        matches!(request, Ok(Request { command: Command::Family(FamilyCommand::SendFile { .. }), .. }))
    }

    /// Takes note of a line that is refused unread.
    pub(super) fn pass(&mut self) {
        self.forms.push_back(Form::default());
    }

    /// How the reply to the oldest request that has none is spelled; `None`: as the original server would.
    pub(super) fn spelling(&mut self, reply: &Reply) -> Option<FamilySpelling> {
        let Form { parts, named } = self.forms.pop_front().unwrap_or_default();
        match reply {
            Reply::LoggedIn { token } => self.session = Some(*token),
            Reply::LoggedOut { token, .. } if self.session == Some(*token) => self.session = None,
            _ => {}
        }
        let is_as_ever = parts.is_empty() || matches!(reply, Reply::Refused(_) | Reply::SentToSome { .. });
        (!is_as_ever).then_some(FamilySpelling { parts, named })
    }

    fn read(&self, line: &[u8]) -> (Form, Result<Request, Refusal>) {
        let request = json::parse(line);
        let FamilySettings { keys, .. } = self.settings;
        let with = |parts| Form { parts, named: String::new() };
        match request {
            Err(Refusal::UnknownCommand | Refusal::Http | Refusal::Malformed | Refusal::UnknownToken) => {
                let Ok(line) = std::str::from_utf8(line) else { return (Form::default(), request) };
                let mut words = FamilyWords::of(line, self.session);
                match words.read(self.settings) {
                    Some((parts, request)) => (Form { parts, named: words.named() }, request),
                    None => (Form::default(), request),
                }
            }
            // `status T` with a space behind it names nobody.
            Ok(Request { token, command: Command::Status { username } }) if username.is_empty() => {
                (with(spelling::ONLINE), Ok(Request { token, command: Command::Show }))
            }
            Ok(Request { command: Command::Auth { .. }, .. }) if keys => (with(LOGIN), request),
            Ok(Request { command: Command::Logout, .. }) if keys => (with(LOGOUT), request),
            request => (Form::default(), request),
        }
    }
}
