//! What each command is called and which parameters it takes: one row a command, for every dialect of lines and for
//! both ends. A server reads requests by these rows, a client writes them by the same ones. A dialect knows only how a
//! line is cut into words.

mod numbers;

use std::sync::Arc;

use self::numbers::{AfterId, BeforeId, Count, Id, OptionalSeconds, Reads, Seconds, UptoId};
use super::{AccountCommand, Command, GroupCommand, Refusal, Request, Send};
use crate::model::{Label, LookupName, Password, SendKey, Token};

/// The words of one line after the name of the command, as a dialect cuts them.
pub(super) trait Words<'a> {
    /// The next word. Without one the line is malformed.
    fn required(&mut self) -> Result<&'a str, Refusal>;

    /// The next word, if there is one.
    fn optional(&mut self) -> Option<&'a str>;

    /// The next word, which is the name of an account or should be.
    fn name(&mut self) -> Result<&'a str, Refusal> {
        self.required()
    }

    /// The token of the request.
    fn token(&mut self) -> Result<Token, Refusal>;

    /// What is left of the line, as the text of a message.
    fn text(&mut self) -> Result<Arc<str>, Refusal>;
}

/// One parameter of a command: how it is read, and how it is written with the space before it.
trait Parameter {
    type Value;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Self::Value, Refusal>;
    fn write(value: &Self::Value, line: &mut String);
}

/// Makes of each row an arm of `read` and an arm of `write`. The command of a row stands in both: there it takes the
/// parameters up, here it gives them back.
macro_rules! grammar {
    ($($name:literal $shown:ident ($($field:ident: $parameter:ident),*) => { $($command:tt)+ })+) => {
        /// The request that `line` means. `name` is its first word, and `words` are those after it.
        pub(super) fn read<'a>(line: &str, name: &str, words: &mut impl Words<'a>) -> Result<Request, Refusal> {
            match name {
                $($name => {
                    // A mistake in the parameters is reported before one in the token.
                    let token = $shown::read(words);
                    $(let $field = $parameter::read(words)?;)*
                    Ok(Request { token: token?, command: $($command)+ })
                })+
                _ if is_http(line) => Err(Refusal::Http),
                _ => Err(Refusal::UnknownCommand),
            }
        }

        /// The words of the line that asks this, without a line end unless a text brings one. `None`: this grammar has
        /// no words for it.
        pub(super) fn write(request: &Request) -> Option<String> {
            match &request.command {
                $($($command)+ => {
                    let mut line = String::from($name);
                    $shown::write(&request.token, &mut line);
                    $($parameter::write($field, &mut line);)*
                    Some(line)
                })+
                Command::Family(_) => None,
            }
        }
    };
}

grammar! {
    "auth"    NoToken (username: Name, password: Secret) => { Command::Auth { username, password } }
    "send"    NeedsToken (recipient: Name, text: Text) => { Command::Send(Send { recipient, text }) }
    "sendkey" NeedsToken (key: Key, recipient: Name, text: Text) => { Command::SendOnce { key, recipient, text } }
    "inbox"   NeedsToken () => { Command::Inbox }
    "show"    NeedsToken () => { Command::Show }
    "logout"  NeedsToken () => { Command::Logout }
    "wait"    NeedsToken (at_most: Seconds) => { Command::Wait { at_most } }
    "fetch"   NeedsToken (at_most: OptionalSeconds) => { Command::Fetch { at_most } }
    "ack"     NeedsToken () => { Command::Ack }
    "history" NeedsToken (username: Name, before: BeforeId, count: Count) => { Command::History { username, before, count } }
    "group"   NeedsToken (command: GroupWords) => { Command::Group(command) }
    "status"  NeedsToken (username: Name) => { Command::Status { username } }
    "follow"  NeedsToken (after: AfterId, at_most: OptionalSeconds, reads: Reads) => { Command::Follow { after, at_most, reads } }
    "conversations" NeedsToken (before: BeforeId) => { Command::Conversations { before } }
    "read"    NeedsToken (username: Name, to: UptoId) => { Command::Read { username, to } }
    "passwd"  NeedsToken (old: Secret, new: Secret) => { Command::Account(AccountCommand::ChangePassword { old, new }) }
    "sessions" NeedsToken () => { Command::Account(AccountCommand::Sessions) }
    "endsession" NeedsToken (id: Id) => { Command::Account(AccountCommand::EndSession(id)) }
    "profile" NeedsToken (name: DisplayName) => { Command::Account(AccountCommand::Rename(name)) }
    "people"  NeedsToken (prefix: Prefix) => { Command::Account(AccountCommand::People(prefix)) }
}

/// For a command that needs no session.
struct NoToken;

impl Parameter for NoToken {
    type Value = Option<Token>;

    fn read<'a>(_: &mut impl Words<'a>) -> Result<Option<Token>, Refusal> {
        Ok(None)
    }

    fn write(_: &Option<Token>, _: &mut String) {}
}

/// For a command that needs a session: its token stands right after the name.
struct NeedsToken;

impl Parameter for NeedsToken {
    type Value = Option<Token>;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Option<Token>, Refusal> {
        words.token().map(Some)
    }

    fn write(token: &Option<Token>, line: &mut String) {
        if let Some(token) = token {
            add(line, &token.reveal());
        }
    }
}

/// The name of an account.
struct Name;

impl Parameter for Name {
    type Value = LookupName;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<LookupName, Refusal> {
        words.name().map(LookupName::of)
    }

    fn write(name: &LookupName, line: &mut String) {
        add(line, name);
    }
}

/// A password that is tried.
struct Secret;

impl Parameter for Secret {
    type Value = Password;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Password, Refusal> {
        words.required().map(Password::attempt)
    }

    fn write(password: &Password, line: &mut String) {
        add(line, password.reveal());
    }
}

/// The sender's key for a message.
struct Key;

impl Parameter for Key {
    type Value = SendKey;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<SendKey, Refusal> {
        SendKey::parse(words.required()?).ok_or(Refusal::BadKey)
    }

    fn write(key: &SendKey, line: &mut String) {
        add(line, key.as_str());
    }
}

/// A command about groups, and the name of the group.
struct GroupWords;

impl Parameter for GroupWords {
    type Value = GroupCommand;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<GroupCommand, Refusal> {
        let verb = words.required()?;
        if verb == "list" {
            return Ok(GroupCommand::List);
        }
        let group = Name::read(words)?;
        Ok(match verb {
            "create" => GroupCommand::Create(group, words.optional().map(Password::attempt)),
            "join" => GroupCommand::Join(group, words.optional().map(Password::attempt)),
            "name" => GroupCommand::Rename(group, DisplayName::read(words)?),
            "leave" => GroupCommand::Leave(group),
            "members" => GroupCommand::Members(group),
            "delete" => GroupCommand::Delete(group),
            "invite" => GroupCommand::Invite(group, Name::read(words)?),
            "remove" => GroupCommand::Remove(group, Name::read(words)?),
            _ => return Err(Refusal::Malformed),
        })
    }

    fn write(command: &GroupCommand, line: &mut String) {
        let secret = |password: &'_ Option<Password>| password.as_ref().map(|password| password.reveal().to_owned());
        let (verb, group, last) = match command {
            GroupCommand::List => return add(line, "list"),
            GroupCommand::Create(group, password) => ("create", group, secret(password)),
            GroupCommand::Join(group, password) => ("join", group, secret(password)),
            GroupCommand::Rename(group, name) => ("name", group, Some(name.as_str().to_owned())),
            GroupCommand::Leave(group) => ("leave", group, None),
            GroupCommand::Members(group) => ("members", group, None),
            GroupCommand::Delete(group) => ("delete", group, None),
            GroupCommand::Invite(group, user) => ("invite", group, Some(user.to_string())),
            GroupCommand::Remove(group, user) => ("remove", group, Some(user.to_string())),
        };
        add(line, verb);
        add(line, group);
        last.into_iter().for_each(|word| add(line, &word));
    }
}

/// The rest of the line. It begins with the space after the parameter before it, and ends with the line end.
struct Text;

impl Parameter for Text {
    type Value = Arc<str>;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Arc<str>, Refusal> {
        words.text()
    }

    fn write(text: &Arc<str>, line: &mut String) {
        line.push_str(text);
    }
}

/// A name in messages: the rest of the line, without the blanks around it.
struct DisplayName;

impl Parameter for DisplayName {
    type Value = Label;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Label, Refusal> {
        let rest = words.text()?;
        if rest.is_empty() {
            return Err(Refusal::Malformed);
        }
        Label::parse(rest.trim()).map_err(Refusal::BadDisplayName)
    }

    fn write(name: &Label, line: &mut String) {
        add(line, name.as_str());
    }
}

/// The beginning of names. It may be left out.
struct Prefix;

impl Parameter for Prefix {
    type Value = LookupName;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<LookupName, Refusal> {
        Ok(LookupName::of(words.optional().unwrap_or_default()))
    }

    fn write(prefix: &LookupName, line: &mut String) {
        if !prefix.is_empty() {
            add(line, prefix);
        }
    }
}

fn add(line: &mut String, word: &str) {
    line.push(' ');
    line.push_str(word);
}

/// Whether a long line, by its beginning, is an HTTP request line.
pub(super) fn begins_http(head: &[u8]) -> bool {
    let mut words = head.splitn(2, |byte| *byte == b' ');
    let (method, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    is_method && (rest.starts_with(b"/") || rest.starts_with(b"http"))
}

/// Whether a line is an HTTP request line.
fn is_http(line: &str) -> bool {
    line.trim_end().rsplit_once(' ').is_some_and(|(_, version)| version.starts_with("HTTP/"))
}
