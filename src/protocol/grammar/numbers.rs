//! Parameters that are whole numbers.

use std::time::Duration;

use super::{Parameter, Words, add};
use crate::model::{MessageId, SessionId};
use crate::protocol::{Number, Refusal};

/// The number of a session.
pub(super) struct Id;

impl Parameter for Id {
    type Value = SessionId;

    fn read<'a>(words: &mut impl Words<'a>) -> Result<SessionId, Refusal> {
        number(words.required()?, Number::Id).map(|id| SessionId(message_id(id).0))
    }

    fn write(id: &SessionId, line: &mut String) {
        add(line, &id.to_string());
    }
}

/// A length of time, in whole seconds.
pub(super) struct Seconds;

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
pub(super) struct OptionalSeconds;

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
pub(super) struct AfterId;

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
pub(super) struct UptoId;

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
pub(super) struct Reads;

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
pub(super) struct BeforeId;

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
pub(super) struct Count;

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

/// Reads a word of digits. A number that is too large counts as the largest.
fn number(word: &str, what: Number) -> Result<u64, Refusal> {
    match !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(word.parse().unwrap_or(u64::MAX)),
        false => Err(Refusal::NotANumber(what)),
    }
}

/// A number that is too large for a message counts as the last.
fn message_id(number: u64) -> MessageId {
    MessageId(i64::try_from(number).unwrap_or(i64::MAX))
}
