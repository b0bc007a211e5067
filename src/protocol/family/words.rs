//! What the words of the family ask, and how their parameters are read.

use std::sync::Arc;

use super::spelling::{
    ACCOUNTS, ACTIVE_LIST, ACTIVE_USERS, ACTIVES, DOWNLOAD, DOWNLOAD_BY_NAME, FILE_SENT, FILES, GROUP_JOINED,
    GROUP_LEFT, GROUP_LOG, GROUP_MADE, GROUPS, INVITED, LIST, LIST_USER, LISTUSER, LOGIN, LOGOUT, ONLINE, Part,
    REGISTERED, SHOW_USERS,
};
use super::{FamilyCommand, FamilySettings, FileRecipients, RegisterOrder, Registration};
use crate::model::{FileId, FileName, LookupName, Password, Token};
use crate::protocol::grammar::Words as _;
use crate::protocol::json::JsonWords;
use crate::protocol::{Command, GroupCommand, Refusal, Request, Send};

/// What stands behind a word.
#[derive(Clone, Copy)]
enum Ask {
    Login,
    Send,
    Inbox,
    /// Who is logged in.
    Online,
    /// The same with display names.
    OnlinePeople,
    /// The same, where `status` has no name.
    Status,
    Accounts,
    Register(RegisterOrder),
    Logout,
    CreateGroup,
    JoinGroup,
    InviteToGroup,
    LeaveGroup,
    Groups,
    SendToAll,
    GroupLog,
    SendFile,
    SendFileToAll,
    DownloadById,
    DownloadByName,
    Files,
}

/// What a word asks and how the reply is spelled. No parts: as the original server would.
fn word(name: &str, settings: FamilySettings) -> Option<(Ask, &'static [Part])> {
    Some(match name {
        "login" if settings.keys => (Ask::Login, LOGIN),
        "login" => (Ask::Login, &[]),
        "sendprivate" | "chat" => (Ask::Send, &[]),
        "getinbox" | "kotakmasuk" => (Ask::Inbox, &[]),
        "info" | "sessioncheck" | "online" | "active" | "user_aktif" | "activeuser" | "listuseraktif" | "users"
        | "active_user" | "aktif" | "showuser" | "show_actives" | "get_online_users" | "online_user" | "user_on" => {
            (Ask::Online, ONLINE)
        }
        "list" | "show_user" => (Ask::Online, LIST),
        "listuser" => (Ask::Online, LISTUSER),
        "list_user" => (Ask::Online, LIST_USER),
        "activeusers" => (Ask::Online, ACTIVE_USERS),
        "showUser" | "showuseractive" => (Ask::Online, SHOW_USERS),
        "activelist" => (Ask::OnlinePeople, ACTIVE_LIST),
        "actives" => (Ask::OnlinePeople, ACTIVES),
        "status" => (Ask::Status, ONLINE),
        "get_all_users" | "getallusers" | "getusers" | "list_users" => (Ask::Accounts, ACCOUNTS),
        "register" if settings.register => (Ask::Register(settings.order), REGISTERED),
        "auth_register" if settings.register => (Ask::Register(RegisterOrder::UsernameFirst), REGISTERED),
        "logout" if settings.keys => (Ask::Logout, LOGOUT),
        _ => return group_word(name).or_else(|| file_word(name)),
    })
}

/// The same of the words that are about groups, and of those that send to several people.
fn group_word(name: &str) -> Option<(Ask, &'static [Part])> {
    Some(match name {
        "addgroup" | "create_group" | "creategroup" | "add_group" => (Ask::CreateGroup, GROUP_MADE),
        "joingroup" | "join_group" => (Ask::JoinGroup, GROUP_JOINED),
        "invitegroup" => (Ask::InviteToGroup, INVITED),
        "leave_group" | "leavegroup" | "exitgroup" => (Ask::LeaveGroup, GROUP_LEFT),
        "getgroups" | "list_group" | "listgroup" | "getallgroups" | "get_all_groups" | "list_mygroup"
        | "list_my_groups" | "getgroup" => (Ask::Groups, GROUPS),
        "sendgroup" | "send_group" | "sendto_group" | "group_send" => (Ask::SendToAll, &[]),
        "inboxgroup" | "inbox_group" | "group_inbox" | "get_inbox_group" => (Ask::GroupLog, GROUP_LOG),
        _ => return None,
    })
}

/// The same of the words that are about files.
fn file_word(name: &str) -> Option<(Ask, &'static [Part])> {
    Some(match name {
        "sendfile" | "send_file" => (Ask::SendFile, FILE_SENT),
        "sendgroupfile" | "sendfilegroup" | "send_group_file" | "send_file_group" => (Ask::SendFileToAll, FILE_SENT),
        "downloadfile" => (Ask::DownloadById, DOWNLOAD),
        "download_file" => (Ask::DownloadByName, DOWNLOAD_BY_NAME),
        "my_file" => (Ask::Files, FILES),
        _ => return None,
    })
}

impl Ask {
    /// Whether a name may stand before the token.
    fn is_of_groups(self) -> bool {
        use Ask::{CreateGroup, GroupLog, InviteToGroup, JoinGroup, LeaveGroup, SendFileToAll, SendToAll};
        matches!(self, CreateGroup | GroupLog | InviteToGroup | JoinGroup | LeaveGroup | SendFileToAll | SendToAll)
    }
}

/// The words of a line.
pub(super) struct FamilyWords<'a> {
    words: JsonWords<'a>,
    /// The session that the connection has begun.
    session: Option<Token>,
    /// A name that stood before the token.
    before: Option<&'a str>,
    named: &'a str,
}

impl<'a> FamilyWords<'a> {
    pub(super) fn of(line: &'a str, session: Option<Token>) -> FamilyWords<'a> {
        FamilyWords { words: JsonWords::of(line), session, before: None, named: "" }
    }

    /// The name that the reply may repeat.
    pub(super) fn named(&self) -> String {
        self.named.to_owned()
    }

    /// What the line asks and how its reply is spelled. `None`: its first word is none of the family's.
    pub(super) fn read(&mut self, settings: FamilySettings) -> Option<(&'static [Part], Result<Request, Refusal>)> {
        let (ask, parts) = word(self.words.required().ok()?, settings)?;
        if matches!(ask, Ask::Status | Ask::Logout) && !self.is_at_most_a_token() {
            return None;
        }
        Some((parts, self.request(ask)))
    }

    fn request(&mut self, ask: Ask) -> Result<Request, Refusal> {
        let open = |command| Ok(Request { token: None, command });
        // A mistake in the parameters is reported before one in the token.
        match ask {
            Ask::Login => {
                return open(Command::Auth { username: self.name()?, password: self.password()? });
            }
            Ask::Register(order) => return open(Command::Family(FamilyCommand::Register(self.registration(order)?))),
            _ => {}
        }
        let token = self.token(ask.is_of_groups());
        let command = match ask {
            Ask::Send => Command::Send(Send { recipient: self.name()?, text: self.text()? }),
            Ask::Inbox => Command::Inbox,
            Ask::Logout => Command::Logout,
            Ask::OnlinePeople => Command::Family(FamilyCommand::OnlinePeople),
            Ask::Accounts => Command::Family(FamilyCommand::Accounts),
            Ask::CreateGroup => {
                let (group, third) = (self.name()?, self.words.optional().map(str::to_owned));
                Command::Family(FamilyCommand::CreateGroup { group, third })
            }
            Ask::JoinGroup => {
                let (group, password) = (self.name()?, self.words.optional().map(Password::attempt));
                Command::Group(GroupCommand::Join(group, password))
            }
            Ask::InviteToGroup => Command::Group(GroupCommand::Invite(self.name()?, self.name()?)),
            Ask::LeaveGroup => Command::Group(GroupCommand::Leave(self.name()?)),
            Ask::Groups => Command::Group(GroupCommand::List),
            Ask::SendToAll => {
                let (whom, text) = (self.word()?.to_owned(), self.text()?);
                Command::Family(FamilyCommand::SendToAll { whom, text })
            }
            Ask::SendFile | Ask::SendFileToAll => {
                let whom = match ask {
                    Ask::SendFile => FileRecipients::One(self.name()?),
                    _ => FileRecipients::Several(self.word()?.to_owned()),
                };
                let name = FileName::parse(self.word()?).ok_or(Refusal::Malformed)?;
                Command::Family(FamilyCommand::SendFile { whom, name, data: self.word()?.into() })
            }
            Ask::DownloadById => {
                let (id, name) = (self.word()?.parse().ok().map(FileId), self.word()?.to_owned());
                // What is no number is no file's.
                Command::Family(FamilyCommand::Download { id: id.or(Some(FileId(0))), sender: None, name })
            }
            Ask::DownloadByName => {
                let (first, second) = (self.word()?, self.words.optional());
                let sender = second.and(Some(LookupName::of(first)));
                let name = second.unwrap_or(first).to_owned();
                Command::Family(FamilyCommand::Download { id: None, sender, name })
            }
            Ask::Files => Command::Family(FamilyCommand::Files),
            Ask::GroupLog => Command::Family(FamilyCommand::GroupLog(self.name()?)),
            Ask::Login | Ask::Register(_) | Ask::Online | Ask::Status => Command::Show,
        };
        Ok(Request { token: Some(token?), command })
    }

    /// The token that comes next, or after a name, which is known by its form; without one the session is the
    /// connection's.
    fn token(&mut self, may_follow_a_name: bool) -> Result<Token, Refusal> {
        let mut ahead = self.words.clone();
        let mut next = ahead.required().ok();
        if let Some(name) = next.filter(|word| may_follow_a_name && !Token::is_like(word)) {
            next = ahead.required().ok().filter(|word| Token::is_like(word));
            self.before = next.and(Some(name));
        }
        match next {
            Some(word) if Token::is_like(word) => {
                self.words = ahead;
                Token::parse(word).ok_or(Refusal::UnknownToken)
            }
            _ => self.session.ok_or(Refusal::UnknownToken),
        }
    }

    /// The next word.
    fn word(&mut self) -> Result<&'a str, Refusal> {
        match self.before.take() {
            Some(word) => Ok(word),
            None => self.words.required(),
        }
    }

    /// Whether nothing follows, or a token and no name.
    fn is_at_most_a_token(&self) -> bool {
        let mut ahead = self.words.clone();
        match ahead.required() {
            Ok(word) if Token::is_like(word) => ahead.optional().is_none(),
            word => word.is_ok_and(str::is_empty) || word.is_err(),
        }
    }

    fn name(&mut self) -> Result<LookupName, Refusal> {
        self.named = self.word()?;
        Ok(LookupName::of(self.named))
    }

    fn password(&mut self) -> Result<Password, Refusal> {
        self.words.required().map(Password::attempt)
    }

    fn text(&mut self) -> Result<Arc<str>, Refusal> {
        self.words.text()
    }

    fn registration(&mut self, order: RegisterOrder) -> Result<Registration, Refusal> {
        // A blank is an underscore, because a word has none.
        let spoken = |word: &str| word.replace('_', " ");
        match order {
            RegisterOrder::UsernameFirst => {
                let (username, password) = (self.name()?, self.password()?);
                let (code, mut rest) = self.code();
                let display_name = rest.next().map(spoken);
                let country = rest.next().unwrap_or_default().to_owned();
                Ok(Registration { username, password, display_name, country, code })
            }
            RegisterOrder::NameFirst => {
                let display_name = Some(spoken(self.words.required()?)).filter(|name| !name.is_empty());
                let country = self.words.required()?.to_owned();
                let (username, password) = (self.name()?, self.password()?);
                let (code, _) = self.code();
                Ok(Registration { username, password, display_name, country, code })
            }
        }
    }

    /// The code of an invite, which is known by its form, and the words before it, or all that are left.
    fn code(&mut self) -> (Option<Token>, impl Iterator<Item = &'a str>) {
        let (mut before, mut code) = (Vec::new(), None);
        while let Some(word) = self.words.optional() {
            if Token::is_like(word) {
                code = Token::parse(word);
                break;
            }
            before.push(word);
        }
        (code, before.into_iter())
    }
}
