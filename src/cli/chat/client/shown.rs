//! What is on the screen already: messages are shown once, although they come from the message log, from the queue and
//! as an answer to `inbox`. Those that nobody has asked for are kept for `inbox`, which shows them once more, as the
//! text protocol has it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{LookupName, MessageId};
use crate::protocol::{ConversationKind, FetchedMessage, HistoryEntry, SenderMessages};

/// Shown messages that are kept for `inbox`; the oldest go first.
const KEPT: usize = 1000;
/// Shown messages that are known by their numbers.
const KNOWN: usize = 10_000;

/// What was shown in one session and the ones before it.
#[derive(Clone, Default)]
pub(super) struct ShownMessages(Arc<Mutex<OnScreen>>);

#[derive(Default)]
struct OnScreen {
    /// Shown and not yet asked for.
    waiting: VecDeque<HistoryEntry>,
    /// Shown in this session.
    known: BTreeSet<MessageId>,
    /// Typed here in this session and not yet found in the message log: to whom, and the text.
    typed: VecDeque<(LookupName, Arc<str>)>,
}

impl ShownMessages {
    fn screen(&self) -> MutexGuard<'_, OnScreen> {
        self.0.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Another session begins, perhaps of another account. What nobody has asked for yet stays.
    pub(super) fn begin(&self) {
        let mut screen = self.screen();
        screen.known.clear();
        screen.typed.clear();
    }

    /// The person is about to send this.
    pub(super) fn is_typed(&self, to: LookupName, text: Arc<str>) {
        let mut screen = self.screen();
        screen.typed.push_back((to, text));
        let over = screen.typed.len().saturating_sub(KEPT);
        screen.typed.drain(..over);
    }

    /// The last that was typed was not sent.
    pub(super) fn is_not_sent(&self) {
        self.screen().typed.pop_back();
    }

    /// Whether a message is to be shown.
    pub(super) fn is_new(&self, HistoryEntry { message, from, to, .. }: &HistoryEntry, reader: &LookupName) -> bool {
        let mut screen = self.screen();
        if screen.known.contains(&message.id) {
            return false;
        }
        let is_own = from.username.as_str() == &**reader && to.username.as_str() != &**reader;
        let is_it = |(name, text): &(LookupName, Arc<str>)| &**name == to.username.as_str() && *text == message.text;
        match screen.typed.iter().position(is_it).filter(|_| is_own) {
            Some(place) => screen.typed.remove(place).is_none(),
            None => true,
        }
    }

    /// A message was shown, and `waits` for `inbox` or does not.
    pub(super) fn add(&self, entry: HistoryEntry, waits: bool) {
        let mut screen = self.screen();
        screen.know(entry.message.id);
        if waits {
            screen.waiting.push_back(entry);
            let over = screen.waiting.len().saturating_sub(KEPT);
            screen.waiting.drain(..over);
        }
    }

    /// What was shown and then what waited still, as an inbox: each message once.
    pub(super) fn take_before(&self, waited: Vec<FetchedMessage>) -> Vec<SenderMessages> {
        let mut screen = self.screen();
        let mut entries: Vec<HistoryEntry> = std::mem::take(&mut screen.waiting).into();
        for FetchedMessage { entry, .. } in waited {
            if !screen.known.contains(&entry.message.id) {
                screen.know(entry.message.id);
                entries.push(entry);
            }
        }
        let mut senders: Vec<SenderMessages> = Vec::new();
        for from in entries.into_iter().map(from_sender) {
            match senders.iter_mut().find(|there| there.username == from.username) {
                Some(there) => append(there, from),
                None => senders.push(from),
            }
        }
        senders
    }
}

impl OnScreen {
    fn know(&mut self, message: MessageId) {
        // Where an old server tells no numbers, all are 0.
        if message.0 > 0 {
            self.known.insert(message);
        }
        if self.known.len() > KNOWN {
            self.known.pop_first();
        }
    }
}

/// One message as an inbox has it.
fn from_sender(HistoryEntry { message, from, to, kind, .. }: HistoryEntry) -> SenderMessages {
    let (recipient, to_groups) = match kind {
        ConversationKind::Person => (to.display_name, Vec::new()),
        ConversationKind::Group => (String::new(), vec![(0, to.display_name.into())]),
    };
    let (username, sender) = (from.username, from.display_name);
    SenderMessages { username, sender, recipient, messages: vec![message], to_groups }
}

/// Puts what a sender sent later behind what was there. Who got nothing but messages to groups has no name there.
fn append(there: &mut SenderMessages, later: SenderMessages) {
    let before = there.messages.len();
    there.to_groups.extend(later.to_groups.into_iter().map(|(place, group)| (before + place, group)));
    there.messages.extend(later.messages);
    if there.recipient.is_empty() {
        there.recipient = later.recipient;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, Timestamp, Username};
    use crate::protocol::Profile;

    fn entry(id: i64, from: &str, to: &str, text: &str) -> HistoryEntry {
        let person = |name: &str| Profile { username: Username::stored(name), display_name: name.to_uppercase() };
        HistoryEntry {
            message: Message { id: MessageId(id), sent_at: Timestamp(0), text: text.into() },
            from: person(from),
            to: person(to),
            kind: if to == "team" { ConversationKind::Group } else { ConversationKind::Person },
            read_at: None,
            readers: None,
        }
    }

    #[test]
    fn a_message_is_shown_once_and_one_that_was_typed_here_not_at_all() {
        let (shown, messi) = (ShownMessages::default(), LookupName::of("messi"));
        let came = entry(1, "henderson", "messi", "a");
        assert!(shown.is_new(&came, &messi));
        shown.add(came.clone(), true);
        assert!(!shown.is_new(&came, &messi));
        shown.is_typed(LookupName::of("henderson"), "b".into());
        assert!(!shown.is_new(&entry(2, "messi", "henderson", "b"), &messi));
        // The same once more was typed elsewhere.
        assert!(shown.is_new(&entry(3, "messi", "henderson", "b"), &messi));
        shown.is_typed(LookupName::of("henderson"), "c".into());
        shown.is_not_sent();
        assert!(shown.is_new(&entry(4, "messi", "henderson", "c"), &messi));
        shown.begin();
        assert!(shown.is_new(&came, &messi));
    }

    #[test]
    fn an_inbox_has_what_was_shown_and_what_waits_once() {
        let shown = ShownMessages::default();
        shown.add(entry(1, "henderson", "team", "a"), true);
        shown.add(entry(2, "messi", "henderson", "own"), false);
        let fetched = |entry| FetchedMessage { entry, file: None };
        let waited = [entry(1, "henderson", "team", "a"), entry(3, "henderson", "messi", "b")].map(fetched).into();
        let senders = shown.take_before(waited);
        let [from] = &senders[..] else { panic!("{senders:?}") };
        let texts: Vec<(&str, &str)> =
            (from.messages.iter().enumerate()).map(|(place, m)| (from.recipient_of(place), &*m.text)).collect();
        assert_eq!(texts, [("TEAM", "a"), ("MESSI", "b")]);
        assert!(shown.take_before(Vec::new()).is_empty());
    }
}
