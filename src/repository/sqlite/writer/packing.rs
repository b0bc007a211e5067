//! Makes the rows and checksums of all messages of a commit, for one statement. Also decides who gets each message. The
//! members of a group do not change during a commit.

use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering;

use tracing::error;

use super::Writer;
use crate::model::{Address, GroupId, MessageId, UserId};
use crate::repository::memory::groups::Groups;
use crate::repository::memory::mailboxes::{MailboxRoom, UnreadMessage};
use crate::repository::memory::stored::Charging;
use crate::repository::sqlite::checksum::{BYTES, Content};
use crate::repository::sqlite::full_inboxes::{FullChanges, FullInboxes};
use crate::repository::sqlite::index::{TailMessage, copies};
use crate::repository::sqlite::packed::{JsonbRows, USER, WIDE};
use crate::repository::sqlite::send_keys::SendWaiter;
use crate::repository::{NewMessage, PerMessage, SendResult};

pub(super) const INSERT_MESSAGES: &str = "INSERT INTO message (id, sender, target, sent_at, checksum, text)
    SELECT ?2 + key, CAST(substr(v, 1, 10) AS INTEGER), CAST(substr(v, 11, 10) AS INTEGER),
        CAST(substr(v, 21, 14) AS INTEGER), substr(v, 35, 4), CAST(substr(v, 39) AS TEXT)
    FROM (SELECT key, CAST(value AS BLOB) AS v FROM json_each(?1))";

/// The messages of a commit.
pub(super) struct PackedSends {
    /// What is written.
    pub rows: JsonbRows,
    /// Each message once.
    pub stored: Vec<TailMessage>,
    /// Each message once for each who gets it.
    pub copies: Vec<(UserId, UnreadMessage)>,
    /// Members who had no room, each once for each message.
    pub missed: Vec<UserId>,
    /// The answer to each job.
    pub queued: Vec<PerMessage<SendResult>>,
    /// Whose inboxes became full, or have room again.
    pub full: FullChanges,
}

/// Messages on their way into a commit. Nobody else can use mailboxes and charges meanwhile.
struct Packing<'a> {
    next_id: i64,
    /// What each message of the present job is charged in addition to its text.
    attached: u64,
    has_room: bool,
    groups: RwLockReadGuard<'a, Groups>,
    full: &'a FullInboxes,
    mailbox_room: MailboxRoom<'a>,
    charging: Charging<'a>,
    packed: PackedSends,
}

impl Writer {
    /// Gives each message its number and its place in the bind, or says why it gets none.
    pub(super) fn pack(&self, sends: &[(PerMessage<NewMessage>, SendWaiter)]) -> PackedSends {
        let count = sends.iter().map(|(messages, _)| messages.len()).sum();
        let text: usize = sends.iter().flat_map(|(messages, _)| messages).map(|message| message.text.len()).sum();
        let bytes = 2 * USER + WIDE + BYTES + text.checked_div(count).unwrap_or(0) + 1;
        let mut packing = Packing {
            next_id: self.next_id,
            attached: 0,
            has_room: self.shared.has_room.load(Ordering::Relaxed),
            groups: self.shared.groups(),
            full: &self.full,
            mailbox_room: self.shared.mailboxes.room(),
            charging: self.shared.stored.charging(),
            packed: PackedSends {
                rows: JsonbRows::with_capacity(count, bytes),
                stored: Vec::with_capacity(count),
                copies: Vec::with_capacity(count),
                missed: Vec::new(),
                queued: Vec::with_capacity(sends.len()),
                full: FullChanges::default(),
            },
        };
        for (messages, waiter) in sends {
            packing.attached = waiter.file.map_or(0, |file| file.bytes);
            let queued = messages.iter().map(|message| packing.add(message)).collect();
            packing.packed.queued.push(queued);
        }
        packing.packed
    }
}

impl Packing<'_> {
    fn add(&mut self, message: &NewMessage) -> SendResult {
        if !self.has_room {
            return SendResult::NoSpace;
        }
        let id = MessageId(self.next_id + self.packed.rows.rows() as i64);
        let before = self.packed.copies.len();
        let not_delivered = match message.to {
            Address::User(recipient) => usize::from(!self.copy_to(recipient, message, id)),
            Address::Group(group) if !self.groups.is_member(group, message.sender) => return SendResult::NotAMember,
            Address::Group(group) => self.copy_to_members(group, message, id),
        };
        if not_delivered > 0 && self.packed.copies.len() == before {
            return SendResult::InboxFull;
        }
        let bytes = message.text.len() as u64 + self.attached;
        if !self.charging.charge(message.sender, bytes) {
            self.take_back(before);
            return SendResult::StoredFull;
        }
        let columns = [(message.sender.0, USER), (message.to.number(), USER), (message.sent_at.0, WIDE)];
        let [(sender, _), (target, _), (sent_at, _)] = columns;
        let stored = Content { id: id.0, sender, target, sent_at, text: message.text.as_bytes() };
        if let Err(error) = self.packed.rows.row_with(&columns, &stored.checksum(), &message.text) {
            error!(%error, "a message was refused");
            self.take_back(before);
            self.charging.give_back(message.sender, bytes);
            return SendResult::Unfit;
        }
        let copies = copies(self.packed.copies.len() - before);
        self.packed.stored.push(TailMessage { id, sender: message.sender, to: message.to, bytes, copies });
        if let Address::Group(group) = message.to {
            self.note_full(group, message.sender, id, before, not_delivered);
        }
        SendResult::Stored { id, not_delivered }
    }

    /// Makes the copy of a message for one person. `false`: the mailbox has no room.
    fn copy_to(&mut self, recipient: UserId, message: &NewMessage, id: MessageId) -> bool {
        let bytes = message.text.len() as u64 + self.attached;
        let content = Some((message.sent_at, message.text.clone()));
        let unread = UnreadMessage { id, sender: message.sender, to: message.to, bytes, content };
        let has_room = self.mailbox_room.take(recipient, unread.sender, unread.to, bytes);
        if has_room {
            self.packed.copies.push((recipient, unread));
        }
        has_room
    }

    /// The same for all members but the sender; gives how many have no room.
    fn copy_to_members(&mut self, group: GroupId, message: &NewMessage, id: MessageId) -> usize {
        let mut not_delivered = 0;
        for place in 0..self.groups.members(group).len() {
            let member = self.groups.members(group)[place].user;
            if member != message.sender {
                not_delivered += usize::from(!self.copy_to(member, message, id));
            }
        }
        not_delivered
    }

    /// Notes whose inboxes are full. Those who got the message are in the order of their numbers, as all members are.
    fn note_full(&mut self, group: GroupId, sender: UserId, id: MessageId, before: usize, not_delivered: usize) {
        for (member, _) in &self.packed.copies[before..] {
            self.packed.full.had_room(self.full, (group, *member), id);
        }
        if not_delivered > 0 {
            let got = &self.packed.copies[before..];
            for member in self.groups.members(group).iter().map(|member| member.user).filter(|user| *user != sender) {
                if got.binary_search_by_key(&member, |(user, _)| *user).is_err() {
                    self.packed.full.had_no_room(self.full, (group, member), id);
                    self.packed.missed.push(member);
                }
            }
        }
    }

    /// Nobody gets the last message, which is not written.
    fn take_back(&mut self, before: usize) {
        for (recipient, message) in self.packed.copies.drain(before..) {
            self.mailbox_room.give_back(recipient, message.sender, message.to, message.bytes);
        }
    }
}
