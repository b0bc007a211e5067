//! The contract of the store, on real SQLite in a directory of its own: mail across the watermark, leases, crashes,
//! caps, retention. The tail is a handful of messages here, so what happens at its edge happens all the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatd::internals::clock::Clock;
use chatd::internals::repository::sqlite::{self, Role, SqliteRepository};
use chatd::internals::repository::{
    AddressedMessage, Delivery, HistoryQuery, InboxQuery, Lease, NewMessage, NewUser, Repository, SendResult,
    StoreOptions,
};
use chatd::internals::transport::confirmation::{QUIET_AFTER_END, Unconfirmed};
use chatd::model::{Label, MessageId, Timestamp, UserId, Username};
use proptest::prelude::*;
use proptest::sample::Index;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use crate::stores::{Nodes, Opened, Place, on_every_store};

const USERS: usize = 3;
pub const OPTIONS: StoreOptions = StoreOptions {
    inbox_messages: 100_000,
    inbox_bytes: 1 << 30,
    stored_bytes: 0,
    min_free_bytes: 0,
    busy_timeout: Duration::from_secs(5),
    tail_messages: 6,
    clock: Clock::SYSTEM,
};

fn database(folder: &Path) -> PathBuf {
    folder.join("chat.db")
}

pub async fn open(folder: &Path, options: &StoreOptions) -> SqliteRepository {
    let url = format!("sqlite://{}", database(folder).display());
    sqlite::open(&url, options, Role::Server).await.expect("it opens")
}

/// An orderly stop, and a start in `folder`.
pub async fn reopen(repository: SqliteRepository, folder: &Path, options: &StoreOptions) -> SqliteRepository {
    repository.close().await.expect("it closes");
    drop(repository);
    open(folder, options).await
}

pub async fn add_users(repository: &impl Opened, count: usize) -> Vec<UserId> {
    let mut users = Vec::new();
    for i in 0..count {
        let username = Username::parse(&format!("user{i}")).expect("it is a name");
        let (display_name, country, password_hash) = (Label::from(&username), Label::default(), String::new());
        let administrator = false;
        let new = NewUser { username: username.clone(), display_name, country, password_hash, administrator };
        repository.store().add_user(new).await.expect("the store works");
        users.push(
            repository.store().user_named(username.as_str()).await.expect("the store works").expect("it was added").id,
        );
    }
    users
}

pub fn message(sender: UserId, recipient: UserId, text: &str) -> NewMessage {
    NewMessage { sender, to: recipient.into(), sent_at: Timestamp::now(), text: text.into() }
}

pub async fn send(repository: &impl Opened, sender: UserId, recipient: UserId, text: &str) -> MessageId {
    let queued = repository.store().send([message(sender, recipient, text)].into()).await.expect("the store works");
    let [SendResult::Stored { id, .. }] = queued[..] else { panic!("{queued:?}") };
    id
}

pub const ALL: InboxQuery = InboxQuery { messages: usize::MAX, bytes: u64::MAX, drained_senders: false, session: None };

pub async fn lease(repository: &impl Opened, recipient: UserId, want: InboxQuery) -> Delivery {
    repository.store().lease(recipient, want).await.expect("the store works")
}

pub fn texts(delivery: &Delivery) -> Vec<&str> {
    delivery.senders.iter().flat_map(|(_, messages)| messages.iter().map(|received| &*received.message.text)).collect()
}

/// When this is answered, the writer has done all that it was given before.
pub async fn settle(repository: &impl Opened) {
    repository.store().confirmed().await.expect("the store works");
}

/// In memory where there is such a file system: hundreds of commits are made, and what is proven is not fsync.
pub fn quick_folder() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    memory.expect("a directory can be made")
}

/// What lies on the disk at this moment, for another process to find.
pub fn crash(folder: &Path) -> tempfile::TempDir {
    let copy = quick_folder();
    for name in ["chat.db", "chat.db-wal"] {
        fs::copy(folder.join(name), copy.path().join(name)).expect("it is there");
    }
    copy
}

#[derive(Clone, Debug)]
enum Step {
    /// To whom, and from whom, some at once.
    Send(Vec<(usize, usize)>),
    /// Of whom, and how much.
    Lease(usize, u64),
    Release(Index),
    Confirm(Index),
    Stop,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec((0..USERS, 0..USERS), 1..8).prop_map(Step::Send),
        4 => (0..USERS, 1..80u64).prop_map(|(of, bytes)| Step::Lease(of, bytes)),
        2 => any::<Index>().prop_map(Step::Release),
        4 => any::<Index>().prop_map(Step::Confirm),
        1 => Just(Step::Stop),
        2 => Just(Step::Crash),
    ]
}

struct Sent {
    to: usize,
    from: usize,
    text: String,
    read: bool,
}

/// A store, and what must be in it.
struct World {
    place: Place,
    /// `None` only between a stop and a start.
    repository: Option<Nodes>,
    users: Vec<UserId>,
    log: BTreeMap<MessageId, Sent>,
    leases: Vec<(Vec<MessageId>, Lease)>,
}

impl World {
    async fn new(place: Place) -> World {
        let repository = place.open(&OPTIONS).await;
        let users = add_users(&repository, USERS).await;
        World { place, repository: Some(repository), users, log: BTreeMap::new(), leases: Vec::new() }
    }

    fn store(&self) -> &Nodes {
        self.repository.as_ref().expect("it was started again")
    }

    async fn restart(&mut self) {
        self.leases.clear();
        let former = self.repository.take().expect("it was started again");
        self.repository = Some(self.place.reopen(former, &OPTIONS).await);
    }

    fn number(&self, user: UserId) -> usize {
        self.users.iter().position(|known| *known == user).expect("it is one of ours")
    }

    /// Unread and in nobody's hands, oldest first.
    fn free(&self, of: usize) -> Vec<MessageId> {
        let held = |id: &MessageId| self.leases.iter().any(|(ids, _)| ids.contains(id));
        let unread = self.log.iter().filter(|(_, sent)| sent.to == of && !sent.read);
        unread.map(|(id, _)| *id).filter(|id| !held(id)).collect()
    }

    /// The order of senders in an inbox: that of their first message ever.
    fn first_ever(&self, of: usize) -> Vec<UserId> {
        let mut senders = Vec::new();
        for sent in self.log.values().filter(|sent| sent.to == of) {
            let sender = self.users[sent.from];
            if !senders.contains(&sender) {
                senders.push(sender);
            }
        }
        senders
    }

    async fn lease(&mut self, of: usize, bytes: u64) -> usize {
        let free = self.free(of);
        let delivery = lease(self.store(), self.users[of], InboxQuery { bytes, drained_senders: true, ..ALL }).await;
        let senders: Vec<UserId> = delivery.senders.iter().map(|(sender, _)| *sender).collect();
        assert_eq!(senders, self.first_ever(of), "the order of senders");
        let mut ids = Vec::new();
        for (sender, messages) in &delivery.senders {
            assert!(messages.is_sorted_by_key(|received| received.message.id));
            for AddressedMessage { message, to } in messages {
                assert_eq!(*to, self.users[of].into());
                let sent = &self.log[&message.id];
                assert_eq!((sent.to, sent.from, &*sent.text), (of, self.number(*sender), &*message.text));
                ids.push(message.id);
            }
        }
        ids.sort_unstable();
        assert!(free.starts_with(&ids), "{ids:?} was handed out where {free:?} waits");
        assert_eq!(ids.is_empty(), free.is_empty(), "nothing was handed out where {free:?} waits");
        let count = ids.len();
        self.leases.extend(delivery.lease.map(|lease| (ids, lease)));
        count
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send(several) => {
                let number = self.log.len();
                let text = |i: usize| format!("text {}", number + i);
                let several = several.into_iter().enumerate();
                let sent: Vec<Sent> =
                    several.map(|(i, (to, from))| Sent { to, from, text: text(i), read: false }).collect();
                let messages = sent.iter().map(|s| message(self.users[s.from], self.users[s.to], &s.text)).collect();
                let queued = self.store().send(messages).await.expect("the store works");
                for (queued, sent) in queued.into_iter().zip(sent) {
                    let SendResult::Stored { id, .. } = queued else { panic!("{queued:?}") };
                    assert!(self.log.insert(id, sent).is_none(), "{id} was given out twice");
                }
            }
            Step::Lease(of, bytes) => _ = self.lease(of, bytes).await,
            Step::Release(index) if !self.leases.is_empty() => {
                let at = index.index(self.leases.len());
                drop(self.leases.swap_remove(at));
            }
            Step::Confirm(index) if !self.leases.is_empty() => {
                let (ids, lease) = self.leases.swap_remove(index.index(self.leases.len()));
                lease.confirm();
                ids.iter().for_each(|id| self.log.get_mut(id).expect("it is in the log").read = true);
            }
            Step::Release(_) | Step::Confirm(_) => {}
            Step::Stop => self.restart().await,
            Step::Crash => {
                settle(self.store()).await;
                self.leases.clear();
                let former = self.repository.take().expect("it was started again");
                self.repository = Some(self.place.crash(former, &OPTIONS).await);
            }
        }
    }

    async fn check_count(&self) {
        settle(self.store()).await;
        let unread = self.log.values().filter(|sent| !sent.read);
        let unread = unread.fold((0, 0), |sum, sent| (sum.0 + 1, sum.1 + sent.text.len() as u64));
        let status = self.store().status().await.expect("the store works");
        assert_eq!((status.unread_messages, status.unread_bytes), unread);
    }

    async fn drain(&mut self) {
        self.leases.clear();
        for of in 0..USERS {
            while self.lease(of, 40).await > 0 {}
            assert_eq!(self.free(of), []);
        }
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, max_shrink_iters: 300, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_or_handed_out_twice(steps in prop::collection::vec(step(), 20..60)) {
        block_on(walk(Place::sqlite(), steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_or_handed_out_twice_on_postgres(steps in prop::collection::vec(step(), 20..60)) {
        crate::stores::run_on_postgres(|place| walk(place, steps.clone()));
    }
}

async fn walk(place: Place, steps: Vec<Step>) {
    let mut world = World::new(place).await;
    for step in steps {
        world.step(step).await;
    }
    world.check_count().await;
    world.step(Step::Crash).await;
    world.check_count().await;
    world.drain().await;
}

async fn mail_is_in_order_on_both_sides_of_the_watermark(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let all: Vec<String> = (0..50).map(|i| i.to_string()).collect();
    for text in &all {
        send(&repository, users[0], users[1], text).await;
    }
    let first = lease(&repository, users[1], InboxQuery { bytes: 10, ..ALL }).await;
    assert_eq!(texts(&first), all[..10]);
    let rest = lease(&repository, users[1], ALL).await;
    assert_eq!(texts(&rest), all[10..]);
    assert!(lease(&repository, users[1], ALL).await.lease.is_none(), "all is leased");
    rest.lease.expect("it holds something").confirm();
    // What was leased when it went to disk and then given up comes back, once, before what is newer.
    for text in &all {
        send(&repository, users[1], users[0], text).await;
    }
    drop(first.lease);
    send(&repository, users[0], users[1], "new").await;
    let again = lease(&repository, users[1], ALL).await;
    assert_eq!(texts(&again), [&all[..10], &["new".to_owned()]].concat());
}

async fn every_character_comes_back_from_the_disk(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let ascii: String = ('\0'..='\x7f').collect();
    let all = [&*ascii, "", "\0", "\\u0041\"[1,\"", "é\u{2028}\u{feff}\u{ffff}\u{10ffff}🙂"];
    for text in all {
        send(&repository, users[0], users[1], text).await;
    }
    assert_eq!(texts(&lease(&repository, users[1], ALL).await), all, "from memory");
    let repository = place.reopen(repository, &OPTIONS).await;
    assert_eq!(texts(&lease(&repository, users[1], ALL).await), all, "from the log");
}

async fn a_full_inbox_refuses_and_takes_again_what_was_made_room_for(place: Place) {
    // One sender may have as much as there is still room for: three of five.
    let options = StoreOptions { inbox_messages: 5, inbox_bytes: 10, ..OPTIONS };
    let repository = place.open(&options).await;
    let users = add_users(&repository, 2).await;
    let of = |texts: &[&str]| texts.iter().map(|text| message(users[0], users[1], text)).collect();
    let queued = repository.send(of(&["1", "2", "3", "4"])).await.expect("the store works");
    assert!(matches!(
        queued[..],
        [SendResult::Stored { .. }, SendResult::Stored { .. }, SendResult::Stored { .. }, SendResult::InboxFull]
    ));
    let delivery = lease(&repository, users[1], ALL).await;
    assert_eq!(texts(&delivery), ["1", "2", "3"]);
    let queued = repository.send(of(&["5"])).await.expect("the store works");
    assert_eq!(queued[..], [SendResult::InboxFull], "leased is unread");
    delivery.lease.expect("it holds something").confirm();
    settle(&repository).await;
    let queued = repository.send(of(&["12345678901", "1234567890", "1"])).await.expect("the store works");
    assert!(
        matches!(queued[..], [SendResult::InboxFull, SendResult::Stored { .. }, SendResult::InboxFull]),
        "{queued:?}"
    );
    // Another's inbox is not full for that.
    send(&repository, users[1], users[0], "hal").await;
    let repository = place.reopen(repository, &options).await;
    assert_eq!(repository.send(of(&["1"])).await.expect("the store works")[..], [SendResult::InboxFull]);
}

async fn retention_removes_what_was_read_and_never_what_was_not(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 2).await;
    for i in 0..30 {
        send(&repository, users[0], users[1], &i.to_string()).await;
        send(&repository, users[1], users[0], &i.to_string()).await;
    }
    let read = lease(&repository, users[1], InboxQuery { bytes: 20, ..ALL }).await;
    let read_texts = texts(&read).len();
    assert!(read_texts > 5);
    read.lease.expect("it holds something").confirm();
    let repository = place.reopen(repository, &OPTIONS).await;
    let held = lease(&repository, users[1], InboxQuery { bytes: 4, ..ALL }).await;
    let later = Timestamp(Timestamp::now().0 + 60_000);
    assert_eq!(repository.prune(Timestamp(1)).await.expect("the store works"), 0, "nothing is so old");
    assert_eq!(repository.prune(later).await.expect("the store works"), read_texts as u64);
    assert_eq!(repository.prune(later).await.expect("the store works"), 0, "nothing is left to remove");
    drop(held);
    let unread = lease(&repository, users[1], ALL).await;
    assert_eq!(texts(&unread).len(), 30 - read_texts);
    assert_eq!(texts(&lease(&repository, users[0], ALL).await).len(), 30);
    // What is pruned in the middle of a queue leaves the rest in order, after a start too.
    drop(unread);
    let repository = place.reopen(repository, &OPTIONS).await;
    let unread = lease(&repository, users[1], ALL).await;
    assert_eq!(texts(&unread), (read_texts..30).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn retention_counts_age_and_not_what_is_indexed() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    for text in ["1", "2"] {
        send(&repository, users[0], users[1], text).await;
    }
    lease(&repository, users[1], ALL).await.lease.expect("it holds something").confirm();
    settle(&repository).await;
    let later = Timestamp(Timestamp::now().0 + 60_000);
    assert_eq!(repository.prune(later).await.expect("the store works"), 2, "the tail is not indexed");
    // After a crash, too, it is known who wrote first.
    let copy = crash(folder.path());
    let after = open(copy.path(), &OPTIONS).await;
    let drained = InboxQuery { drained_senders: true, ..ALL };
    let senders = lease(&after, users[1], drained).await.senders;
    assert_eq!(senders.iter().map(|(sender, _)| *sender).collect::<Vec<_>>(), [users[0]]);
    // What is indexed later names the messages that are gone, which does no harm.
    for text in ["3", "4", "5", "6", "7", "8"] {
        send(&repository, users[0], users[1], text).await;
    }
    let repository = reopen(repository, folder.path(), &OPTIONS).await;
    assert_eq!(texts(&lease(&repository, users[1], ALL).await), ["3", "4", "5", "6", "7", "8"]);
    repository.close().await.expect("it closes");
    sqlite::verify::verify(&database(folder.path()), &OPTIONS).await.expect("it is whole");
}

#[tokio::test]
async fn a_message_from_the_future_does_not_stop_retention() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let future = Timestamp(4_070_908_800_000);
    for sent_at in [future, Timestamp::now()] {
        let message = NewMessage { sent_at, ..message(users[0], users[1], "text") };
        repository.send([message].into()).await.expect("the store works");
    }
    lease(&repository, users[1], ALL).await.lease.expect("it holds something").confirm();
    settle(&repository).await;
    let later = Timestamp(Timestamp::now().0 + 60_000);
    assert_eq!(repository.prune(later).await.expect("the store works"), 1 + 1, "both were read before that");
}

#[tokio::test]
async fn a_time_beyond_the_digits_of_the_log_refuses_one_message_and_not_the_store() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    for sent_at in [Timestamp(Timestamp::LAST.0 + 1), Timestamp(-1)] {
        let unfit = NewMessage { sent_at, ..message(users[0], users[1], "unfit") };
        let fit = message(users[0], users[1], "fit");
        let queued = repository.send([unfit, fit].into_iter().collect()).await.expect("the store works");
        assert!(matches!(queued[..], [SendResult::Unfit, SendResult::Stored { .. }]), "{queued:?}");
    }
    assert_eq!(repository.status().await.expect("the store works").unread_messages, 2);
    assert_eq!(texts(&lease(&repository, users[1], ALL).await), ["fit", "fit"]);
}

async fn an_account_is_removed_with_mail_in_every_place(place: Place) {
    let repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 2).await;
    for i in 0..20 {
        send(&repository, users[0], users[1], &i.to_string()).await;
    }
    send(&repository, users[0], users[0], "mine").await;
    let out = lease(&repository, users[1], InboxQuery { bytes: 5, ..ALL }).await;
    let confirmed = lease(&repository, users[1], InboxQuery { bytes: 5, ..ALL }).await;
    confirmed.lease.expect("it holds something").confirm();
    settle(&repository).await;
    assert_eq!(repository.remove_user(users[1]).await.expect("the store works").unread, 15);
    assert_eq!(repository.send([message(users[0], users[1], "late")].into()).await.expect("the store works").len(), 1);
    out.lease.expect("it holds something").confirm();
    settle(&repository).await;
    assert!(lease(&repository, users[1], ALL).await.lease.is_none());
    let status = repository.status().await.expect("the store works");
    assert_eq!((status.unread_messages, status.unread_bytes), (1, 4));
    let repository = place.reopen(repository, &OPTIONS).await;
    let status = repository.status().await.expect("the store works");
    assert_eq!((status.unread_messages, status.unread_bytes), (1, 4));
    assert!(lease(&repository, users[1], ALL).await.lease.is_none());
}

/// A store with `count` messages waiting for one user, and a way to hand them out one by one.
async fn handing_out(place: &Place, count: usize) -> (Nodes, UserId) {
    let repository = place.open(&OPTIONS).await;
    let user = add_users(&repository, 1).await[0];
    for i in 0..count {
        send(&repository, user, user, &i.to_string()).await;
    }
    (repository, user)
}

async fn one(repository: &impl Opened, user: UserId) -> Lease {
    lease(repository, user, InboxQuery { bytes: 1, ..ALL }).await.lease.expect("one waits")
}

async fn unread(repository: &impl Opened) -> u64 {
    settle(repository).await;
    repository.store().status().await.expect("the store works").unread_messages
}

async fn what_confirms_a_reply_and_what_does_not(place: Place) {
    let (repository, user) = handing_out(&place, 6).await;
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let mut handed = Unconfirmed::default();
    // A request that came before the reply was written in full, one that began before it, and one after it.
    handed.add(one(&repository, user).await, 10, false);
    handed.request(10);
    handed.ended();
    handed.confirm_by_silence(now + 20 * second, second);
    assert_eq!(unread(&repository).await, 6, "it was not written yet");
    handed.written(now);
    handed.request(9);
    assert_eq!(unread(&repository).await, 6, "it was in the buffer when the reply was made");
    handed.request(10);
    assert_eq!(unread(&repository).await, 5);
    assert!(handed.is_empty());
    // A clean end.
    handed.add(one(&repository, user).await, 20, false);
    handed.written(now);
    handed.ended();
    assert_eq!(unread(&repository).await, 4);
    // An end before the reply.
    handed.add(one(&repository, user).await, 30, true);
    handed.written(now);
    handed.ended();
    handed.confirm_by_silence(now + QUIET_AFTER_END / 2, QUIET_AFTER_END);
    assert_eq!(unread(&repository).await, 4, "it proves nothing for a second");
    handed.confirm_by_silence(now + QUIET_AFTER_END, QUIET_AFTER_END);
    assert_eq!(unread(&repository).await, 3);
    // Quiet counts from each reply.
    handed.add(one(&repository, user).await, 40, false);
    handed.written(now);
    handed.add(one(&repository, user).await, 50, false);
    handed.written(now + 5 * second);
    assert_eq!(handed.next_quiet(15 * second), Some(now + 15 * second));
    handed.confirm_by_silence(now + 15 * second, 15 * second);
    assert_eq!(unread(&repository).await, 2);
    // A request proves all that was written before it, not what was made after it was sent.
    handed.add(one(&repository, user).await, 90, false);
    handed.written(now);
    handed.request(60);
    assert_eq!(unread(&repository).await, 1);
    // Silence is no proof where another is promised.
    handed.require_explicit_ack();
    assert_eq!(handed.next_quiet(15 * second), None);
    handed.confirm_by_silence(now + 60 * second, 15 * second);
    assert_eq!(unread(&repository).await, 1);
    // What was not proven goes back.
    drop(handed);
    assert_eq!(unread(&repository).await, 1);
    assert_eq!(texts(&lease(&repository, user, ALL).await), ["5"]);
}

/// Two wrote to each other long ago, and others since: of the index of what the others wrote nothing is read.
#[tokio::test]
async fn an_old_conversation_is_found_without_walking_the_runs() {
    let folder = quick_folder();
    let mut repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, USERS).await;
    // A stop ends a run, so there are several of each.
    for i in 0..30 {
        send(&repository, users[i % 2], users[(i + 1) % 2], &format!("{i}")).await;
        if i % 10 == 9 {
            repository = reopen(repository, folder.path(), &OPTIONS).await;
        }
    }
    for i in 0..30 {
        send(&repository, users[2], users[i % 3], "x").await;
        if i % 3 == 2 {
            repository = reopen(repository, folder.path(), &OPTIONS).await;
        }
    }
    // Whoever reads on the way what others wrote to the two fails.
    let mut db = SqliteConnectOptions::new().filename(database(folder.path())).connect().await.expect("it is there");
    let last = "SELECT max(run) FROM conversation WHERE low = ?1 AND high = ?2";
    let last: i64 =
        sqlx::query_scalar(last).bind(users[0].0).bind(users[1].0).fetch_one(&mut db).await.expect("it can be read");
    for sql in [
        "UPDATE mail SET messages = 'no JSON' WHERE run > ?1",
        "UPDATE conversation SET messages = 'no JSON' WHERE run > ?1",
    ] {
        let spoiled = sqlx::query(sql).bind(last).execute(&mut db).await.expect("it can be written").rows_affected();
        assert!(spoiled >= 30, "{spoiled} rows");
    }
    db.close().await.expect("it closes");
    let mut before = None;
    for (newest, count) in [(29, 12), (17, 12), (5, 6)] {
        let page = HistoryQuery { before, messages: 12, bytes: u64::MAX };
        let entries = repository.conversation(users[0], users[1].into(), page).await.expect("the others' is not read");
        let texts: Vec<_> = entries.iter().map(|entry| entry.message.text.to_string()).collect();
        assert_eq!(texts, (newest + 1 - count..=newest).map(|i| i.to_string()).collect::<Vec<_>>());
        before = entries.first().map(|entry| entry.message.id);
    }
    let sent = repository.receipts(users[1], users[0], 5).await.expect("the others' is not read");
    assert_eq!(sent.iter().map(|(id, ..)| id.0).collect::<Vec<_>>(), [22, 24, 26, 28, 30]);
}

/// A store in which the second of two users has written to the first in each of so many runs but the oldest, in which
/// the first has written to the second. After each of these runs there is one of others.
async fn with_a_long_conversation(folder: &Path, runs: i64, then: &str) -> (SqliteRepository, Vec<UserId>) {
    let repository = open(folder, &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let (one, other) = (users[0], users[1]);
    send(&repository, one, one, "so that the message log has a number").await;
    repository.close().await.expect("it closes");
    drop(repository);
    let numbers = format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {runs})");
    let sql = format!(
        "DELETE FROM message; DELETE FROM run; DELETE FROM conversation; DELETE FROM pair;
         {numbers} INSERT INTO message (id, sender, target, sent_at, text)
             SELECT 10 * i, iif(i = 1, {one}, {other}), iif(i = 1, {other}, {one}), 0, 'x' FROM n;
         {numbers} INSERT INTO run (last) SELECT 10 * i FROM n UNION ALL SELECT 10 * i + 5 FROM n;
         {numbers} INSERT INTO conversation (run, low, high, messages, earlier)
             SELECT 10 * i, {one}, {other}, iif(i = 1, '[10]', '[-' || 10 * i || ']'), nullif(10 * i - 10, 0) FROM n;
         INSERT INTO pair (low, high, latest) VALUES ({one}, {other}, 10 * {runs});
         UPDATE sqlite_sequence SET seq = 10 * {runs} + 10 WHERE name = 'message';
         {then}"
    );
    let mut db = SqliteConnectOptions::new().filename(database(folder)).connect().await.expect("it is there");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut db).await.expect("it can be written");
    db.close().await.expect("it closes");
    (open(folder, &OPTIONS).await, users)
}

/// Of parts that hold nothing that is wanted only a number is read: what lies behind so many is not found.
#[tokio::test]
async fn who_finds_nothing_reads_a_bounded_part_of_the_index() {
    let page = |before| HistoryQuery { before: Some(MessageId(before)), messages: 5, bytes: u64::MAX };
    for (runs, is_found) in [(300, true), (2_000, false)] {
        let folder = quick_folder();
        let (repository, users) = with_a_long_conversation(folder.path(), runs, "").await;
        let sent = repository.receipts(users[0], users[1], 5).await.expect("the index can be read");
        assert_eq!(sent.len(), usize::from(is_found), "where only the other one wrote, {runs} runs");
        // A number that is no message of theirs leads to what was before it, however far from the latest.
        let past = repository.conversation(users[0], users[1].into(), page(16)).await.expect("the index can be read");
        assert_eq!(past.len(), 1, "before a number that is nobody's, {runs} runs");
    }
    // Where runs of others lie in between, too; but where these are very many, it is looked for from the latest on.
    for (nearest, found) in [(1_000, 1), (6_000, 0)] {
        let folder = quick_folder();
        let gap = format!(
            "DELETE FROM conversation WHERE run > 10 AND run < {nearest};
             UPDATE conversation SET earlier = 10 WHERE run = {nearest}"
        );
        let (repository, users) = with_a_long_conversation(folder.path(), 2_000, &gap).await;
        let past =
            repository.conversation(users[0], users[1].into(), page(nearest - 5)).await.expect("the index can be read");
        assert_eq!(past.len(), found, "1,400 parts and more lie before {nearest}");
    }
}

/// One account asks 200 times for all of a conversation; another, that comes last, is not the last to be answered.
#[tokio::test]
async fn who_looks_back_often_does_not_keep_others_waiting() {
    let folder = quick_folder();
    let repository = std::sync::Arc::new(open(folder.path(), &OPTIONS).await);
    let users = add_users(&repository, USERS).await;
    for i in 0..100 {
        // In three places of the index, with much of others in between.
        send(&repository, users[0], users[1], &format!("{i}")).await;
        send(&repository, users[2], users[1], &format!("{i}")).await;
    }
    let page = HistoryQuery { before: None, messages: 1000, bytes: u64::MAX };
    let answered = std::sync::Arc::new(AtomicUsize::new(0));
    let mut often = Vec::new();
    for _ in 0..200 {
        let (repository, answered, one, other) = (repository.clone(), answered.clone(), users[0], users[1]);
        often.push(tokio::spawn(async move {
            let entries = repository.conversation(one, other.into(), page).await.expect("the store works");
            answered.fetch_add(1, Ordering::Relaxed);
            entries.len()
        }));
    }
    // All of them wait for a turn by now, because here one task runs at a time.
    tokio::task::yield_now().await;
    assert_eq!(repository.conversation(users[2], users[1].into(), page).await.expect("the store works").len(), 100);
    let before = answered.load(Ordering::Relaxed);
    assert!(before < 20, "{before} of the 200 were answered first");
    for asked in often {
        assert_eq!(asked.await.expect("no task panics"), 100);
    }
    println!("of 200 that asked before, {before} were answered before the one of another account");
}

#[tokio::test]
async fn a_store_whose_writer_has_ended_gives_no_sign_of_life() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let repository = open(folder.path(), &OPTIONS).await;
    assert!(repository.answers().await.is_ok());
    repository.close().await.expect("it closes");
    assert!(repository.answers().await.is_err(), "the watchdog would be fed on");
}

on_every_store!(
    mail_is_in_order_on_both_sides_of_the_watermark,
    every_character_comes_back_from_the_disk,
    a_full_inbox_refuses_and_takes_again_what_was_made_room_for,
    retention_removes_what_was_read_and_never_what_was_not,
    an_account_is_removed_with_mail_in_every_place,
    what_confirms_a_reply_and_what_does_not,
);
