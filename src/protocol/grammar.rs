//! What each command is called and which parameters it takes: one row a command, for every dialect of lines and for
//! both ends. A server reads requests by these rows, a client writes them by the same ones. A dialect knows only how a
//! line is cut into words.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, GroupCommand, Number, Refusal, Request, Send};
use crate::model::{LookupName, MessageId, Password, SendKey, Token};

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
                    // What is wrong with the parameters is told before what is wrong with the token.
                    let token = $shown::read(words);
                    $(let $field = $parameter::read(words)?;)*
                    Ok(Request { token: token?, command: $($command)+ })
                })+
                _ if is_http(line) => Err(Refusal::Http),
                _ => Err(Refusal::UnknownCommand),
            }
        }

        /// The words of the line that asks this, without a line end unless a text brings one.
        pub(super) fn write(request: &Request) -> String {
            match &request.command {
                $($($command)+ => {
                    let mut line = String::from($name);
                    $shown::write(&request.token, &mut line);
                    $($parameter::write($field, &mut line);)*
                    line
                })+
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
    "ack"     NeedsToken () => { Command::Ack }
    "history" NeedsToken (username: Name, before: BeforeId, count: Count) => { Command::History { username, before, count } }
    "group"   NeedsToken (command: GroupWords) => { Command::Group(command) }
    "status"  NeedsToken (username: Name) => { Command::Status { username } }
    "follow"  NeedsToken (after: AfterId, at_most: OptionalSeconds, reads: Reads) => { Command::Follow { after, at_most, reads } }
    "conversations" NeedsToken (before: BeforeId) => { Command::Conversations { before } }
    "read"    NeedsToken (username: Name, to: UptoId) => { Command::Read { username, to } }
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

/// What is asked of groups, and of which.
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
            "create" => GroupCommand::Create(group),
            "join" => GroupCommand::Join(group),
            "leave" => GroupCommand::Leave(group),
            "members" => GroupCommand::Members(group),
            "delete" => GroupCommand::Delete(group),
            "invite" => GroupCommand::Invite(group, Name::read(words)?),
            "remove" => GroupCommand::Remove(group, Name::read(words)?),
            _ => return Err(Refusal::Malformed),
        })
    }

    fn write(command: &GroupCommand, line: &mut String) {
        let (verb, names) = match command {
            GroupCommand::List => ("list", vec![]),
            GroupCommand::Create(group) => ("create", vec![group]),
            GroupCommand::Join(group) => ("join", vec![group]),
            GroupCommand::Leave(group) => ("leave", vec![group]),
            GroupCommand::Members(group) => ("members", vec![group]),
            GroupCommand::Delete(group) => ("delete", vec![group]),
            GroupCommand::Invite(group, user) => ("invite", vec![group, user]),
            GroupCommand::Remove(group, user) => ("remove", vec![group, user]),
        };
        add(line, verb);
        names.into_iter().for_each(|name| add(line, name));
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

/// A length of time, in whole seconds.
struct Seconds;

impl Parameter for Seconds {
    type Value = Duration;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Duration, Refusal> {
        number(words.required()?, Number::Seconds).map(Duration::from_secs)
    }

    fn write(time: &Duration, line: &mut String) {
        add(line, &time.as_secs().to_string());
    }
}

/// The same, no time if it is left out.
struct OptionalSeconds;

impl Parameter for OptionalSeconds {
    type Value = Duration;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Duration, Refusal> {
        let seconds = words.optional().map(|word| number(word, Number::Seconds)).transpose()?;
        Ok(Duration::from_secs(seconds.unwrap_or(0)))
    }

    fn write(time: &Duration, line: &mut String) {
        Seconds::write(time, line);
    }
}

/// The message after which to look; `now` is the newest.
struct AfterId;

impl Parameter for AfterId {
    type Value = Option<MessageId>;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Option<MessageId>, Refusal> {
        match words.required()? {
            "now" => Ok(None),
            word => number(word, Number::AfterId).map(|id| Some(message_id(id))),
        }
    }

    fn write(after: &Option<MessageId>, line: &mut String) {
        add(line, &after.map_or("now".to_owned(), |id| id.to_string()));
    }
}

/// The message up to which something was read.
struct UptoId;

impl Parameter for UptoId {
    type Value = MessageId;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<MessageId, Refusal> {
        number(words.required()?, Number::UptoId).map(message_id)
    }

    fn write(to: &MessageId, line: &mut String) {
        add(line, &to.to_string());
    }
}

/// How often something was read. It may be left out.
struct Reads;

impl Parameter for Reads {
    type Value = Option<u64>;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Option<u64>, Refusal> {
        words.optional().map(|word| number(word, Number::Reads)).transpose()
    }

    fn write(reads: &Option<u64>, line: &mut String) {
        Count::write(reads, line);
    }
}

/// The message before which to look. It may be left out; 0 names none, because messages are counted from 1.
struct BeforeId;

impl Parameter for BeforeId {
    type Value = Option<MessageId>;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Option<MessageId>, Refusal> {
        let id = words.optional().map(|word| number(word, Number::BeforeId)).transpose()?;
        Ok(id.filter(|id| *id > 0).map(message_id))
    }

    fn write(before: &Option<MessageId>, line: &mut String) {
        add(line, &before.map_or(0, |id| id.0).to_string());
    }
}

/// How many. It may be left out.
struct Count;

impl Parameter for Count {
    type Value = Option<u64>;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<Option<u64>, Refusal> {
        words.optional().map(|word| number(word, Number::Count)).transpose()
    }

    fn write(count: &Option<u64>, line: &mut String) {
        if let Some(count) = count {
            add(line, &count.to_string());
        }
    }
}

/// Reads a word of digits. A number too large to be counted with is as good as the largest.
fn number(word: &str, what: Number) -> Result<u64, Refusal> {
    match !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(word.parse().unwrap_or(u64::MAX)),
        false => Err(Refusal::NotANumber(what)),
    }
}

/// A number too large for a message is as good as the last.
fn message_id(number: u64) -> MessageId {
    MessageId(i64::try_from(number).unwrap_or(i64::MAX))
}

fn add(line: &mut String, word: &str) {
    line.push(' ');
    line.push_str(word);
}

/// Whether a line is an HTTP request line.
fn is_http(line: &str) -> bool {
    line.trim_end().rsplit_once(' ').is_some_and(|(_, version)| version.starts_with("HTTP/"))
}
