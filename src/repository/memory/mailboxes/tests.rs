//! The mailboxes against a plain model, and the disk played by a set: any order of sends, leases, evictions, loads
//! from older views of the disk, failed commits and restarts. Nothing lost, nothing twice, nothing out of order.

mod cases;
mod checks;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const USERS: usize = 3;
/// Messages that are taken at once.
const MOST: usize = 7;
const CAPS: InboxLimits = InboxLimits { messages: 40, bytes: 300 };

#[derive(Clone, Debug)]
enum Step {
    Send {
        to: usize,
        from: i64,
        bytes: u64,
        written: bool,
    },
    Take {
        of: usize,
        bytes: u64,
    },
    /// The disk is read as it is now, or as it will be when the first piece is put in.
    BeginLoad {
        of: usize,
        view_of_now: bool,
    },
    /// The next so many of what was found are put in.
    LoadPiece {
        of: usize,
        messages: usize,
    },
    EndLoad {
        of: usize,
    },
    /// Who reads, whose messages, and how many of all messages are before the last that is read.
    ReadUpTo {
        of: usize,
        from: i64,
        to: prop::sample::Index,
    },
    Release(prop::sample::Index),
    Confirm(prop::sample::Index),
    Commit {
        written: bool,
    },
    Evict {
        keep: usize,
    },
    Remove {
        of: usize,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let of = 0..USERS;
    prop_oneof![
        8 => (of.clone(), 1..4i64, 0..20u64, prop::bool::weighted(0.9))
            .prop_map(|(to, from, bytes, written)| Step::Send { to, from, bytes, written }),
        5 => (of.clone(), 1..60u64).prop_map(|(of, bytes)| Step::Take { of, bytes }),
        3 => (of.clone(), any::<bool>()).prop_map(|(of, view_of_now)| Step::BeginLoad { of, view_of_now }),
        3 => (of.clone(), 1..9usize).prop_map(|(of, messages)| Step::LoadPiece { of, messages }),
        3 => of.clone().prop_map(|of| Step::EndLoad { of }),
        3 => (of.clone(), 1..4i64, any::<prop::sample::Index>())
            .prop_map(|(of, from, to)| Step::ReadUpTo { of, from, to }),
        3 => any::<prop::sample::Index>().prop_map(Step::Release),
        3 => any::<prop::sample::Index>().prop_map(Step::Confirm),
        4 => prop::bool::weighted(0.8).prop_map(|written| Step::Commit { written }),
        2 => (0..6usize).prop_map(|keep| Step::Evict { keep }),
        1 => prop::bool::weighted(0.05).prop_flat_map(move |rare| {
            if rare { of.clone().prop_map(|of| Step::Remove { of }).boxed() } else { Just(Step::Restart).boxed() }
        }),
    ]
}

/// A message as the message log has it.
#[derive(Clone, Debug)]
struct Logged {
    recipient: usize,
    sender: i64,
    bytes: u64,
    read: bool,
    /// It is counted among its sender's; not what was on disk at a restart, until it is loaded.
    counted: bool,
}

struct Load {
    watermark: MessageId,
    view: Option<VecDeque<UnreadMessage>>,
}

/// The disk, the leases that are out, and the mailboxes under test.
struct World {
    log: BTreeMap<i64, Logged>,
    watermark: i64,
    next: i64,
    leases: Vec<(usize, Vec<UnreadMessage>)>,
    loads: BTreeMap<usize, Load>,
    removed: [bool; USERS],
    boxes: Mailboxes,
}

fn user(index: usize) -> UserId {
    UserId(index as i64 + 1)
}

impl World {
    fn new() -> World {
        World {
            log: BTreeMap::new(),
            watermark: 0,
            next: 1,
            leases: Vec::new(),
            loads: BTreeMap::new(),
            removed: [false; USERS],
            boxes: Mailboxes::new(CAPS, &UnreadTotals::new(), MessageId(0)),
        }
    }

    fn waiting(id: i64, logged: &Logged) -> UnreadMessage {
        let to = user(logged.recipient).into();
        UnreadMessage { id: MessageId(id), sender: UserId(logged.sender), to, bytes: logged.bytes, content: None }
    }

    /// What the disk finds for a load.
    fn view(&self, of: usize, watermark: MessageId) -> VecDeque<UnreadMessage> {
        let rows = self.log.range(..=watermark.0).filter(|(_, m)| m.recipient == of && !m.read);
        rows.map(|(id, m)| Self::waiting(*id, m)).collect()
    }

    fn held(&self) -> Vec<MessageId> {
        let confirmed = self.boxes.inner().confirmed.clone();
        let leases = self.leases.iter().flat_map(|(_, m)| m.iter().map(|m| m.id));
        leases.chain(confirmed.iter().flat_map(|(_, m)| m.iter().map(|m| m.id))).collect()
    }

    /// Unread and not leased, in order.
    fn free(&self, of: usize) -> Vec<MessageId> {
        let held = self.held();
        let unread = self.log.iter().filter(|(_, m)| m.recipient == of && !m.read);
        unread.map(|(id, _)| MessageId(*id)).filter(|id| !held.contains(id)).collect()
    }

    fn unread(&self, of: usize) -> (u64, u64) {
        let unread = self.log.values().filter(|m| m.recipient == of && !m.read);
        unread.fold((0, 0), |sum, m| (sum.0 + 1, sum.1 + m.bytes))
    }

    /// Of those whom the mailbox counts.
    fn share(&self, of: usize, sender: i64) -> (u64, u64) {
        let theirs = |m: &&Logged| m.recipient == of && m.sender == sender && m.counted && !m.read;
        self.log.values().filter(theirs).fold((0, 0), |sum, m| (sum.0 + 1, sum.1 + m.bytes))
    }

    fn take(&mut self, of: usize, bytes: u64) -> Option<Vec<UnreadMessage>> {
        let free = self.free(of);
        match self.boxes.take(user(of), MOST, bytes) {
            TakeResult::LoadFirst => None,
            TakeResult::Leased(taken) => {
                let ids: Vec<MessageId> = taken.iter().map(|m| m.id).collect();
                assert!(free.starts_with(&ids), "{ids:?} was handed out where {free:?} waits");
                assert_eq!(ids.is_empty(), free.is_empty(), "nothing was handed out where {free:?} waits");
                let sum: u64 = taken.iter().map(|m| m.bytes).sum();
                assert!(taken.len() <= MOST, "{} messages", taken.len());
                assert!(sum <= bytes || sum == taken[0].bytes, "{sum} bytes where {bytes} were wanted");
                Some(taken)
            }
        }
    }

    fn begin_load(&mut self, of: usize, view_of_now: bool) {
        // During a load its lock is held.
        if !self.loads.contains_key(&of)
            && let Some(watermark) = self.boxes.begin_load(user(of))
        {
            let view = view_of_now.then(|| self.view(of, watermark));
            self.loads.insert(of, Load { watermark, view });
        }
    }

    fn load_piece(&mut self, of: usize, messages: usize) {
        if let Some(Load { watermark, view }) = self.loads.remove(&of) {
            let mut view = view.unwrap_or_else(|| self.view(of, watermark));
            let piece: Vec<UnreadMessage> = view.drain(..messages.min(view.len())).collect();
            for message in &piece {
                self.log.get_mut(&message.id.0).expect("the view is of the log").counted = true;
            }
            self.boxes.load(user(of), piece.into_iter());
            self.loads.insert(of, Load { watermark, view: Some(view) });
        }
    }

    fn end_load(&mut self, of: usize) {
        self.load_piece(of, usize::MAX);
        if let Some(load) = self.loads.remove(&of) {
            self.boxes.end_load(user(of), load.watermark);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { to, from, bytes, written } => self.send(to, from, bytes, written),
            Step::Take { of, bytes } => {
                if let Some(taken) = self.take(of, bytes) {
                    self.leases.push((of, taken));
                }
            }
            Step::BeginLoad { of, view_of_now } => self.begin_load(of, view_of_now),
            Step::LoadPiece { of, messages } => self.load_piece(of, messages),
            Step::EndLoad { of } => self.end_load(of),
            Step::ReadUpTo { of, from, to } => self.read_up_to(of, from, to.index(self.log.len() + 1) as i64),
            Step::Release(index) if !self.leases.is_empty() => {
                let (of, messages) = self.leases.swap_remove(index.index(self.leases.len()));
                self.boxes.release(user(of), messages);
            }
            Step::Confirm(index) if !self.leases.is_empty() => {
                let (of, messages) = self.leases.swap_remove(index.index(self.leases.len()));
                self.boxes.confirm(user(of), messages);
            }
            Step::Release(_) | Step::Confirm(_) => {}
            Step::Commit { written } => {
                let confirmed = self.boxes.take_confirmed();
                if !written {
                    return self.boxes.put_back_confirmed(confirmed);
                }
                for message in confirmed.iter().flat_map(|(_, messages)| messages) {
                    let logged = self.log.get_mut(&message.id.0).expect("what was leased is in the log");
                    assert!(!logged.read || self.removed[logged.recipient], "{message:?} was read twice");
                    logged.read = true;
                }
                self.boxes.read(&confirmed);
            }
            Step::Evict { keep } => self.evict(keep),
            Step::Remove { of } => {
                self.removed[of] = true;
                self.log.values_mut().filter(|m| m.recipient == of).for_each(|m| m.read = true);
                self.boxes.remove(user(of));
            }
            Step::Restart => self.restart(),
        }
    }

    fn send(&mut self, to: usize, from: i64, bytes: u64, written: bool) {
        let (messages, text) = self.unread(to);
        let (share, share_bytes) = self.share(to, from);
        let (free, free_bytes) = (CAPS.messages - messages, CAPS.bytes - text);
        let fits = !self.removed[to] && share < free && share_bytes + bytes <= free_bytes;
        assert_eq!(self.boxes.room().take(user(to), UserId(from), user(to).into(), bytes), fits);
        if !fits {
            return;
        }
        if !written {
            return self.boxes.give_back_room(user(to), UserId(from), user(to).into(), bytes);
        }
        let logged = Logged { recipient: to, sender: from, bytes, read: false, counted: true };
        self.boxes.put([(user(to), Self::waiting(self.next, &logged))].into_iter());
        self.log.insert(self.next, logged);
        self.next += 1;
    }

    fn evict(&mut self, keep: usize) {
        let tail: Vec<i64> = self.log.range(self.watermark + 1..).map(|(id, _)| *id).collect();
        if let Some(to) = tail.len().checked_sub(keep + 1).map(|last| tail[last]) {
            let everybody: Vec<UserId> = (0..USERS).map(user).collect();
            let mut unread = BTreeMap::new();
            for (id, m) in self.log.range(self.watermark + 1..=to).filter(|(_, m)| !m.read) {
                let one = Unread { messages: 0, bytes: 0, oldest: MessageId(*id) };
                let total = unread.entry(user(m.recipient)).or_insert(one);
                total.messages += 1;
                total.bytes += m.bytes;
            }
            let told = self.boxes.unread_up_to(MessageId(to), &everybody);
            assert!(told.into_iter().eq(unread), "up to {to}");
            self.watermark = to;
            drop(self.boxes.evict(MessageId(to), everybody.into_iter()));
        }
    }

    fn read_up_to(&mut self, of: usize, from: i64, to: i64) {
        let theirs = |m: &&Logged| m.recipient == of && m.sender == from && !m.read;
        let unread: Vec<i64> = self.log.iter().filter(|(_, m)| theirs(m)).map(|(id, _)| *id).collect();
        match self.boxes.oldest_unread(user(of), UserId(from)) {
            OldestUnread::None => assert!(unread.is_empty(), "{unread:?} are unread"),
            OldestUnread::Message(id) => assert_eq!(Some(&id.0), unread.first()),
            OldestUnread::OnDisk => {}
        }
        let confirmed = |boxes: &Mailboxes| -> Vec<i64> {
            boxes.inner().confirmed.iter().flat_map(|(_, messages)| messages).map(|m| m.id.0).collect()
        };
        let before = confirmed(&self.boxes);
        if let Some(read) = self.boxes.confirm_up_to(user(of), &[UserId(from).into()], MessageId(to)) {
            let new: Vec<i64> = unread.into_iter().filter(|id| *id <= to && !before.contains(id)).collect();
            let mut found = confirmed(&self.boxes).split_off(before.len());
            found.sort_unstable();
            assert_eq!((read, found), (new.len(), new));
        }
    }

    fn restart(&mut self) {
        let mut totals = UnreadTotals::new();
        for m in self.log.range(..=self.watermark).map(|(_, m)| m).filter(|m| !m.read) {
            let total = totals.entry(user(m.recipient)).or_default();
            *total = (total.0 + 1, total.1 + m.bytes);
        }
        for (id, m) in &mut self.log {
            m.counted = *id > self.watermark;
        }
        self.leases.clear();
        self.loads.clear();
        self.removed = [false; USERS];
        self.boxes = Mailboxes::new(CAPS, &totals, MessageId(self.watermark));
        let tail = self.log.range(self.watermark + 1..);
        for (id, m) in tail.clone().filter(|(_, m)| m.read) {
            self.boxes.note_sender(user(m.recipient), UserId(m.sender), MessageId(*id));
        }
        let unread = tail.filter(|(_, m)| !m.read);
        self.boxes.restore(unread.map(|(id, m)| (user(m.recipient), Self::waiting(*id, m))));
    }

    /// Every lease is dropped, every load runs to its end, and each mailbox is emptied.
    fn drain(&mut self) {
        for of in 0..USERS {
            self.end_load(of);
        }
        for (of, messages) in std::mem::take(&mut self.leases) {
            self.boxes.release(user(of), messages);
        }
        for of in 0..USERS {
            let mut drained = Vec::new();
            let expected = self.free(of);
            loop {
                match self.take(of, 25) {
                    None => {
                        self.begin_load(of, true);
                        self.end_load(of);
                    }
                    Some(taken) if taken.is_empty() => break,
                    Some(taken) => {
                        drained.extend(taken.iter().map(|m| m.id));
                        self.leases.push((of, taken));
                    }
                }
            }
            assert_eq!(drained, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nothing_is_lost_or_handed_out_twice(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check_counts();
        }
        (0..USERS).filter(|of| !world.removed[*of]).for_each(|of| world.check_senders(of));
        world.drain();
    }
}
