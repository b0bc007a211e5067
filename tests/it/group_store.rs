//! Groups in the store, on real SQLite: each member gets each message once, across the watermark, crashes and changes
//! of members; one row for a message, however many read it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chatd::internals::repository::sqlite::Role;
use chatd::internals::repository::{
    AddressedMessage, GroupLimits, GroupRepository, GroupResult, HistoryQuery, InboxQuery, Lease, NewGroup, NewMessage,
    ReadCount, Repository, SendResult, StoreOptions,
};
use chatd::model::{Address, GroupId, Label, MessageId, Timestamp, UserId, Username};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::database::{dump_sql, tamper};
use crate::following::{all_after, all_conversations};
use crate::repository::{ALL, OPTIONS, add_users, block_on, crash, lease, open, quick_folder, reopen, settle, texts};
use crate::stores::{Nodes, Opened, Place, on_every_store};

pub const LIMITS: GroupLimits = GroupLimits { groups: 10, members: 100 };
const USERS: usize = 4;
const GROUPS: usize = 2;

pub async fn add_group(repository: &impl Opened, name: &str, owner: UserId) -> GroupId {
    let name = Username::parse(name).expect("it is a name");
    let display_name = Label::from(&name);
    let new = NewGroup { name: name.clone(), display_name, owner, password_hash: String::new() };
    assert_eq!(repository.store().add_group(new, LIMITS).await.expect("the store works"), GroupResult::Done);
    repository.store().group_named(name.as_str()).await.expect("the store works").expect("it was added").id
}

pub async fn join(repository: &impl Opened, group: GroupId, user: UserId) {
    assert_eq!(repository.store().join(group, user, LIMITS).await.expect("the store works"), GroupResult::Done);
}

async fn try_send(repository: &impl Opened, sender: UserId, to: impl Into<Address>, text: &str) -> SendResult {
    let message = NewMessage { sender, to: to.into(), sent_at: Timestamp::now(), text: text.into() };
    repository.store().send([message].into()).await.expect("the store works")[0]
}

/// Sends to a group in which all have room.
pub async fn send_to(repository: &impl Opened, sender: UserId, group: GroupId, text: &str) -> MessageId {
    let result = try_send(repository, sender, group, text).await;
    let SendResult::Stored { id, not_delivered: 0 } = result else { panic!("{result:?}") };
    id
}

async fn read_all(repository: &impl Opened, user: UserId) -> Vec<String> {
    let delivery = lease(repository, user, ALL).await;
    let read = texts(&delivery).into_iter().map(str::to_owned).collect();
    delivery.lease.into_iter().for_each(Lease::confirm);
    settle(repository).await;
    read
}

#[derive(Clone, Debug)]
enum Step {
    /// From whom, to whom: a person, or a group after those.
    Send(Vec<(usize, usize)>),
    Join(usize, usize),
    Leave(usize, usize),
    Lease(usize, u64),
    Release(Index),
    Confirm(Index),
    Stop,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => prop::collection::vec((0..USERS, 0..USERS + 3 * GROUPS), 1..6).prop_map(Step::Send),
        2 => (0..USERS, 0..GROUPS).prop_map(|(who, group)| Step::Join(who, group)),
        1 => (1..USERS, 0..GROUPS).prop_map(|(who, group)| Step::Leave(who, group)),
        5 => (0..USERS, 1..80u64).prop_map(|(of, bytes)| Step::Lease(of, bytes)),
        2 => any::<Index>().prop_map(Step::Release),
        4 => any::<Index>().prop_map(Step::Confirm),
        1 => Just(Step::Stop),
        2 => Just(Step::Crash),
    ]
}

struct Sent {
    from: usize,
    to: Address,
    text: String,
    /// Who gets it, and whether he has read it.
    readers: BTreeMap<usize, bool>,
}

/// A store with groups, and what must be in it.
struct World {
    place: Place,
    repository: Option<Nodes>,
    users: Vec<UserId>,
    groups: Vec<GroupId>,
    members: Vec<BTreeSet<usize>>,
    /// For each membership: group, member, and the messages while it lasted.
    seen: BTreeMap<(usize, usize), BTreeSet<MessageId>>,
    log: BTreeMap<MessageId, Sent>,
    leases: Vec<(usize, Vec<MessageId>, Lease)>,
}

impl World {
    async fn new(place: Place) -> World {
        let repository = place.open(&OPTIONS).await;
        let users = add_users(&repository, USERS).await;
        let mut groups = Vec::new();
        for group in 0..GROUPS {
            groups.push(add_group(&repository, &format!("group{group}"), users[0]).await);
        }
        let members = vec![BTreeSet::from([0]); GROUPS];
        let (seen, log, leases) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        World { place, repository: Some(repository), users, groups, members, seen, log, leases }
    }

    fn store(&self) -> &Nodes {
        self.repository.as_ref().expect("it was started again")
    }

    async fn restart(&mut self) {
        self.leases.clear();
        let former = self.repository.take().expect("it was started again");
        self.repository = Some(self.place.reopen(former, &OPTIONS).await);
    }

    fn free(&self, of: usize) -> Vec<MessageId> {
        let held = |id: &MessageId| self.leases.iter().any(|(who, ids, _)| *who == of && ids.contains(id));
        let unread = self.log.iter().filter(|(_, sent)| sent.readers.get(&of) == Some(&false));
        unread.map(|(id, _)| *id).filter(|id| !held(id)).collect()
    }

    async fn lease(&mut self, of: usize, bytes: u64) -> usize {
        let free = self.free(of);
        let delivery = lease(self.store(), self.users[of], InboxQuery { bytes, ..ALL }).await;
        let mut ids = Vec::new();
        for (sender, messages) in &delivery.senders {
            assert!(messages.is_sorted_by_key(|received| received.message.id));
            for AddressedMessage { message, to } in messages {
                let sent = &self.log[&message.id];
                assert_eq!((sent.to, self.users[sent.from], &*sent.text), (*to, *sender, &*message.text));
                ids.push(message.id);
            }
        }
        ids.sort_unstable();
        assert!(free.starts_with(&ids), "{ids:?} was handed out where {free:?} waits");
        assert_eq!(ids.is_empty(), free.is_empty(), "nothing was handed out where {free:?} waits");
        let count = ids.len();
        self.leases.extend(delivery.lease.map(|lease| (of, ids, lease)));
        count
    }

    async fn send(&mut self, several: Vec<(usize, usize)>) {
        let number = self.log.len();
        let mut sent = Vec::new();
        for (i, (from, to)) in several.into_iter().enumerate() {
            let text = format!("text {}", number + i);
            let (to, readers) = match to.checked_sub(USERS).map(|group| group % GROUPS) {
                None => (self.users[to].into(), BTreeMap::from([(to, false)])),
                Some(group) => {
                    let others = self.members[group].iter().filter(|member| **member != from);
                    (self.groups[group].into(), others.map(|member| (*member, false)).collect())
                }
            };
            sent.push(Sent { from, to, text, readers });
        }
        let messages = sent.iter().map(|s| NewMessage {
            sender: self.users[s.from],
            to: s.to,
            sent_at: Timestamp::now(),
            text: s.text.as_str().into(),
        });
        let results = self.store().send(messages.collect()).await.expect("the store works");
        for (result, sent) in results.into_iter().zip(sent) {
            let group = self.groups.iter().position(|group| Address::from(*group) == sent.to);
            if group.is_some_and(|group| !self.members[group].contains(&sent.from)) {
                assert_eq!(result, SendResult::NotAMember);
                continue;
            }
            let SendResult::Stored { id, not_delivered: 0 } = result else { panic!("{result:?}") };
            if let Some(group) = group {
                for member in &self.members[group] {
                    self.seen.entry((group, *member)).or_default().insert(id);
                }
            }
            assert!(self.log.insert(id, sent).is_none(), "{id} was given out twice");
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send(several) => self.send(several).await,
            Step::Join(who, group) => {
                let result = self.store().join(self.groups[group], self.users[who], LIMITS).await;
                let wanted = match self.members[group].insert(who) {
                    true => GroupResult::Done,
                    false => GroupResult::AlreadyAMember,
                };
                assert_eq!(result.expect("the store works"), wanted);
            }
            Step::Leave(who, group) => {
                let result = self.store().leave(self.groups[group], self.users[who]).await;
                let wanted = match self.members[group].remove(&who) {
                    true => GroupResult::Done,
                    false => GroupResult::NotAMember,
                };
                assert_eq!(result.expect("the store works"), wanted);
            }
            Step::Lease(of, bytes) => _ = self.lease(of, bytes).await,
            Step::Release(index) if !self.leases.is_empty() => {
                let at = index.index(self.leases.len());
                drop(self.leases.swap_remove(at));
            }
            Step::Confirm(index) if !self.leases.is_empty() => {
                let (of, ids, lease) = self.leases.swap_remove(index.index(self.leases.len()));
                lease.confirm();
                for id in &ids {
                    self.log.get_mut(id).expect("it is in the log").readers.insert(of, true);
                }
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

    async fn check(&self) {
        settle(self.store()).await;
        let unread =
            self.log.values().flat_map(|sent| sent.readers.values().map(|read| (read, sent.text.len() as u64)));
        let unread = unread.filter(|(read, _)| !**read).fold((0, 0), |sum, (_, bytes)| (sum.0 + 1, sum.1 + bytes));
        let status = self.store().status().await.expect("the store works");
        assert_eq!((status.unread_messages, status.unread_bytes), unread);
        for (number, group) in self.groups.iter().enumerate() {
            let members = self.store().members(*group).await.expect("the store works");
            let members: Vec<UserId> = members.iter().map(|member| member.user.id).collect();
            assert_eq!(members, self.members[number].iter().map(|user| self.users[*user]).collect::<Vec<_>>());
            for user in 0..USERS {
                self.check_history(number, user).await;
            }
        }
        for user in 0..USERS {
            self.check_following(user).await;
        }
    }

    /// Somebody who keeps his own place sees what he sent, what was sent to him, and what was sent to his groups while
    /// he was in them, with what of it is unread.
    async fn check_following(&self, user: usize) {
        let has_seen = |id: &MessageId, sent: &Sent| {
            let group = self.groups.iter().position(|group| sent.to == (*group).into());
            group.is_some_and(|group| self.seen.get(&(group, user)).is_some_and(|seen| seen.contains(id)))
        };
        let own: Vec<(&MessageId, &Sent)> = self
            .log
            .iter()
            .filter(|(id, sent)| sent.from == user || sent.to == self.users[user].into() || has_seen(id, sent))
            .collect();
        let after = own.len() / 3;
        let place = after.checked_sub(1).map_or(0, |last| own[last].0.0);
        let wanted: Vec<i64> = own[after..].iter().map(|(id, _)| id.0).collect();
        assert_eq!(all_after(self.store(), self.users[user], place, 4, u64::MAX).await, wanted, "of {user}");

        let mut conversations: BTreeMap<Address, Vec<(i64, bool)>> = BTreeMap::new();
        for (id, sent) in own {
            let with = if sent.to == self.users[user].into() { self.users[sent.from].into() } else { sent.to };
            let unread = sent.readers.get(&user) == Some(&false);
            conversations.entry(with).or_default().push((id.0, unread));
        }
        let mut wanted: Vec<(Address, [i64; 3])> = Vec::new();
        for (with, messages) in conversations {
            let newest = messages.last().expect("there is one").0;
            let unread: Vec<i64> = messages.iter().filter(|(_, unread)| *unread).map(|(id, _)| *id).collect();
            let read_to = unread.first().map_or(newest, |oldest| oldest - 1);
            wanted.push((with, [newest, unread.len() as i64, read_to]));
        }
        wanted.sort_by_key(|(_, [newest, ..])| -newest);
        let told = all_conversations(self.store(), self.users[user], 2).await;
        let told: Vec<(Address, [i64; 3])> =
            told.into_iter().map(|(with, [newest, unread, read_to, _])| (with, [newest, unread, read_to])).collect();
        assert_eq!(told, wanted, "of {user}");
    }

    /// Somebody looks back on what was sent while he was in the group, with how many have read it, and no more.
    async fn check_history(&self, group: usize, user: usize) {
        let count = |sent: &Sent| ReadCount {
            read: sent.readers.values().filter(|read| **read).count() as u64,
            of: sent.readers.len() as u64,
        };
        let page = HistoryQuery { before: None, messages: 1_000, bytes: u64::MAX };
        let found = self.store().conversation(self.users[user], self.groups[group].into(), page).await;
        let found: Vec<_> = found
            .expect("the store works")
            .into_iter()
            .map(|entry| (entry.message.id, entry.sender, entry.message.text.to_string(), entry.readers))
            .collect();
        let seen = self.seen.get(&(group, user)).into_iter().flatten();
        let wanted: Vec<_> = seen
            .map(|id| (*id, &self.log[id]))
            .map(|(id, sent)| (id, self.users[sent.from], sent.text.clone(), Some(count(sent))))
            .collect();
        assert_eq!(found, wanted);
        let receipts = self.store().group_receipts(self.users[user], self.groups[group], 1_000).await;
        let receipts = receipts.expect("the store works");
        let own = self.log.iter().filter(|(_, s)| s.from == user && s.to == self.groups[group].into());
        assert!(receipts.iter().map(|(id, _, read)| (*id, *read)).eq(own.map(|(id, sent)| (*id, count(sent)))));
    }

    async fn drain(&mut self) {
        self.leases.clear();
        for of in 0..USERS {
            while self.lease(of, 40).await > 0 {}
            assert_eq!(self.free(of), []);
        }
        for (of, ids, lease) in std::mem::take(&mut self.leases) {
            lease.confirm();
            for id in ids {
                self.log.get_mut(&id).expect("it is in the log").readers.insert(of, true);
            }
        }
    }

    /// What `db verify` says of the files.
    async fn verify(&mut self) {
        self.leases.clear();
        let former = self.repository.take().expect("it was started again");
        former.stop().await;
        let unread = self.log.values().filter(|sent| sent.readers.values().any(|read| !read)).count();
        if let Some(found) = self.place.verify(&OPTIONS).await {
            assert_eq!(found, unread as i64);
        }
        self.repository = Some(self.place.open(&OPTIONS).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 300, ..ProptestConfig::default() })]
    #[test]
    fn each_member_gets_each_message_once(steps in prop::collection::vec(step(), 20..60)) {
        block_on(walk(Place::sqlite(), steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, ..ProptestConfig::default() })]
    #[test]
    fn each_member_gets_each_message_once_on_postgres(steps in prop::collection::vec(step(), 20..60)) {
        crate::stores::run_on_postgres(|place| walk(place, steps.clone()));
    }
}

async fn walk(place: Place, steps: Vec<Step>) {
    let mut world = World::new(place).await;
    for step in steps {
        world.step(step).await;
    }
    world.check().await;
    world.step(Step::Crash).await;
    world.check().await;
    world.verify().await;
    world.check().await;
    world.drain().await;
    world.check().await;
    world.verify().await;
}

/// A group with a reader whose inbox is full: the others get all, and he what there was room for, whatever happens.
#[tokio::test]
async fn a_full_inbox_holds_nobody_up_and_the_sender_hears_of_it() {
    let folder = quick_folder();
    // A group may have as much of an inbox as there is still room for: three of five.
    let options = StoreOptions { inbox_messages: 5, ..OPTIONS };
    let mut repository = open(folder.path(), &options).await;
    let users = add_users(&repository, 3).await;
    let group = add_group(&repository, "team", users[0]).await;
    join(&repository, group, users[1]).await;
    join(&repository, group, users[2]).await;
    let mut got = Vec::new();
    for round in 0..12 {
        let result = try_send(&repository, users[0], group, &round.to_string()).await;
        let SendResult::Stored { not_delivered, .. } = result else { panic!("{result:?}") };
        // Who reads gets all; the other reads only after the ninth.
        assert_eq!(not_delivered, usize::from((3..9).contains(&round)), "{round}");
        assert_eq!(read_all(&repository, users[2]).await, [round.to_string()]);
        if round == 8 {
            // Also for what has to be read of the disk again, before the end of the full inbox and after it.
            repository = reopen(repository, folder.path(), &options).await;
            let killed = crash(folder.path());
            let copy = open(killed.path(), &options).await;
            assert_eq!(read_all(&copy, users[1]).await, ["0", "1", "2"]);
            copy.close().await.expect("it closes");
            got = read_all(&repository, users[1]).await;
        }
    }
    let killed = crash(folder.path());
    let copy = open(killed.path(), &options).await;
    assert_eq!(read_all(&copy, users[1]).await, ["9", "10", "11"], "after a crash");
    copy.close().await.expect("it closes");
    repository = reopen(repository, folder.path(), &options).await;
    let receipts = repository.group_receipts(users[0], group, 12).await.expect("the store works");
    let counts: Vec<(u64, u64)> = receipts.iter().map(|(_, _, count)| (count.read, count.of)).collect();
    assert_eq!(counts, [[(2, 2); 3].to_vec(), [(1, 1); 6].to_vec(), [(1, 2); 3].to_vec()].concat());
    got.extend(read_all(&repository, users[1]).await);
    assert_eq!(got, ["0", "1", "2", "9", "10", "11"]);
    // Where nobody has room, nothing is stored.
    repository.leave(group, users[2]).await.expect("the store works");
    for _ in 0..3 {
        send_to(&repository, users[0], group, "x").await;
    }
    assert_eq!(try_send(&repository, users[0], group, "x").await, SendResult::InboxFull);
    repository.close().await.expect("it closes");
    drop(repository);
    let found = chatd::internals::repository::sqlite::verify::verify(&folder.path().join("chat.db"), &options).await;
    let found = found.expect("it is whole");
    assert_eq!((found.messages, found.unread), (15, 3), "who has read all but what he missed has read all");
}

/// While an older message is held, one that was read after it is read for `db verify`, too.
#[tokio::test]
async fn what_is_read_before_an_older_one_is_not_counted_as_unread() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 2).await;
    let group = add_group(&repository, "team", users[0]).await;
    join(&repository, group, users[1]).await;
    for text in ["older", "newer"] {
        send_to(&repository, users[0], group, text).await;
    }
    let one = InboxQuery { messages: 1, ..ALL };
    let older = lease(&repository, users[1], one).await;
    let newer = lease(&repository, users[1], one).await;
    assert_eq!((texts(&older), texts(&newer)), (vec!["older"], vec!["newer"]));
    newer.lease.into_iter().for_each(Lease::confirm);
    settle(&repository).await;
    drop(older);
    let repository = reopen(repository, folder.path(), &OPTIONS).await;
    repository.close().await.expect("it closes");
    drop(repository);
    let found = chatd::internals::repository::sqlite::verify::verify(&folder.path().join("chat.db"), &OPTIONS).await;
    assert_eq!(found.expect("it is whole").unread, 1);
}

/// Who had no room for a message hears of it all the same, and sees it where he looks back; it is no unread mail.
#[tokio::test]
async fn a_follower_without_room_hears_of_what_he_missed() {
    let folder = quick_folder();
    let options = StoreOptions { inbox_messages: 2, ..OPTIONS };
    let repository = open(folder.path(), &options).await;
    let users = add_users(&repository, 3).await;
    let group = add_group(&repository, "team", users[0]).await;
    join(&repository, group, users[1]).await;
    join(&repository, group, users[2]).await;
    send_to(&repository, users[0], group, "fits").await;
    assert_eq!(read_all(&repository, users[1]).await, ["fits"]);
    let mut following = repository.follow(users[2]).await.expect("the store works");
    let result = try_send(&repository, users[0], group, "missed").await;
    assert!(matches!(result, SendResult::Stored { not_delivered: 1, .. }), "{result:?}");
    tokio::time::timeout(Duration::from_secs(60), following.heard()).await.expect("it is heard of");
    assert_eq!(all_after(&repository, users[2], 0, 10, u64::MAX).await, [1, 2]);
    let told = all_conversations(&repository, users[2], 10).await;
    assert_eq!(told, [(group.into(), [2, 1, 0, 0])]);
    // A group is read up to a message, too.
    assert_eq!(repository.read(users[2], vec![group.into()], MessageId(2)).await.expect("the store works"), 1);
    assert_eq!(all_conversations(&repository, users[2], 10).await, [(group.into(), [2, 0, 2, 0])]);
    assert!(read_all(&repository, users[2]).await.is_empty());
}

/// Where the index of a group is damaged, the message log is read in its place; nobody sees what is not his.
#[tokio::test]
async fn a_damaged_index_hides_no_message_of_a_group() {
    for damage in ["UPDATE mail SET messages = replace(messages, '1', '2')", "UPDATE mail SET messages = 'no JSON'"] {
        let folder = quick_folder();
        let repository = open(folder.path(), &OPTIONS).await;
        let users = add_users(&repository, 2).await;
        let group = add_group(&repository, "team", users[0]).await;
        let before = send_to(&repository, users[0], group, "before").await;
        join(&repository, group, users[1]).await;
        let first = send_to(&repository, users[0], group, "first").await;
        repository.leave(group, users[1]).await.expect("the store works");
        send_to(&repository, users[0], group, "after").await;
        let repository = reopen(repository, folder.path(), &OPTIONS).await;
        let database = folder.path().join("chat.db");
        std::thread::spawn(move || tamper(&database, damage)).join().expect("it is SQL");
        assert_eq!(all_after(&repository, users[1], 0, 10, u64::MAX).await, [first.0], "{damage}");
        assert_eq!(all_after(&repository, users[0], 0, 10, u64::MAX).await, [before.0, first.0, first.0 + 1]);
    }
}

/// One row of the log, whose text is there once, and nothing else for each reader.
#[tokio::test]
async fn a_message_costs_the_same_rows_however_many_read_it() {
    let folder = quick_folder();
    let options = StoreOptions { tail_messages: 100, ..OPTIONS };
    let mut repository = open(folder.path(), &options).await;
    let users = add_users(&repository, 40).await;
    let group = add_group(&repository, "team", users[0]).await;
    for user in &users[1..] {
        join(&repository, group, *user).await;
    }
    for round in 0..20 {
        send_to(&repository, users[0], group, &round.to_string()).await;
        for user in &users[1..] {
            assert_eq!(read_all(&repository, *user).await, [round.to_string()]);
        }
    }
    repository = reopen(repository, folder.path(), &options).await;
    let rows = |table: &str| dump_sql(&folder.path().join("chat.db"), format!("SELECT count(*) || '' FROM {table}"));
    let counts = ["message", "receipt", "read_ahead", "missed", "membership", "mail", "conversation"].map(rows);
    assert_eq!(counts, ["20", "0", "0", "0", "40", "1", "2"].map(|count| vec![count.to_owned()]));
    repository.close().await.expect("it closes");
}

async fn groups_and_accounts_share_their_names_and_outlive_their_owners(place: Place) {
    let mut repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 3).await;
    let named = |name: &str, owner| NewGroup {
        name: Username::parse(name).expect("it is a name"),
        display_name: Label::default(),
        owner,
        password_hash: "hash".to_owned(),
    };
    let add = async |repository: &Nodes, name, owner, limits| {
        repository.add_group(named(name, owner), limits).await.expect("the store works")
    };
    assert_eq!(add(&repository, "User1", users[0], LIMITS).await, GroupResult::NameTaken);
    assert_eq!(add(&repository, "team", users[0], LIMITS).await, GroupResult::Done);
    assert_eq!(add(&repository, "Team", users[1], LIMITS).await, GroupResult::NameTaken);
    let few = GroupLimits { groups: 1, members: 2 };
    assert_eq!(add(&repository, "more", users[0], few).await, GroupResult::TooManyGroups);
    let group = repository.group_named("team").await.expect("the store works").expect("it is there");
    assert_eq!(repository.recipient("team").await.expect("the store works"), Some(group.id.into()));
    assert_eq!(repository.group_password(group.id).await.expect("the store works").as_deref(), Some("hash"));
    assert!(repository.user_named("team").await.expect("the store works").is_none(), "nobody logs in as a group");
    assert!(repository.account(group.name.clone()).await.expect("the store works").is_none());
    assert_eq!(repository.accounts(UserId(0)).await.expect("the store works").len(), 3);
    assert_eq!(repository.join(group.id, users[1], few).await.expect("the store works"), GroupResult::Done);
    assert_eq!(repository.join(group.id, users[2], few).await.expect("the store works"), GroupResult::GroupFull);
    assert_eq!(
        repository.join(group.id, users[1], LIMITS).await.expect("the store works"),
        GroupResult::AlreadyAMember
    );

    // The owner's account goes; the other member has the group, also after a restart.
    send_to(&repository, users[1], group.id, "for the owner").await;
    repository.remove_user(users[0]).await.expect("the store works");
    for _ in 0..2 {
        let now = repository.group_named("team").await.expect("the store works").expect("it is there");
        assert_eq!(now.owner, users[1]);
        let members = repository.members(group.id).await.expect("the store works");
        assert_eq!(members.iter().map(|member| member.user.id).collect::<Vec<_>>(), [users[1]]);
        repository = place.reopen(repository, &OPTIONS).await;
    }
    let listed = repository.groups(GroupId(0)).await.expect("the store works");
    assert_eq!(
        listed.iter().map(|(group, members)| (group.name.as_str(), *members)).collect::<Vec<_>>(),
        [("team", 1)]
    );
    // With the last member it goes itself, and its name is free.
    assert_eq!(repository.leave(group.id, users[1]).await.expect("the store works"), GroupResult::Done);
    assert!(repository.group_named("team").await.expect("the store works").is_none());
    assert_eq!(repository.remove_group(group.id).await.expect("the store works"), GroupResult::Gone);
    assert_eq!(add(&repository, "TEAM", users[2], LIMITS).await, GroupResult::Done);
    repository.stop().await;
}

/// A group that goes leaves what was delivered, with its name.
async fn what_was_delivered_stays_when_one_leaves_or_the_group_goes(place: Place) {
    let mut repository = place.open(&OPTIONS).await;
    let users = add_users(&repository, 4).await;
    let group = add_group(&repository, "team", users[0]).await;
    for user in &users[1..3] {
        join(&repository, group, *user).await;
    }
    send_to(&repository, users[0], group, "one").await;
    repository.leave(group, users[1]).await.expect("the store works");
    send_to(&repository, users[0], group, "two").await;
    join(&repository, group, users[3]).await;
    send_to(&repository, users[0], group, "three").await;
    assert_eq!(repository.remove_group(group).await.expect("the store works"), GroupResult::Done);
    assert_eq!(try_send(&repository, users[0], group, "four").await, SendResult::NotAMember);
    for _ in 0..2 {
        for (user, wanted) in [(1, vec!["one"]), (2, vec!["one", "two", "three"]), (3, vec!["three"])] {
            let delivery = lease(&repository, users[user], ALL).await;
            assert_eq!(texts(&delivery), wanted);
            assert!(delivery.senders[0].1.iter().all(|received| received.to == group.into()));
        }
        repository = place.reopen(repository, &OPTIONS).await;
    }
    assert_eq!(repository.group(group).await.expect("the store works").map(|group| group.removed), Some(true));
    repository.stop().await;
}

/// Another process changes groups; the server follows, and the mail that was under way is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_follows_what_another_process_does_with_groups() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 3).await;
    let url = format!("sqlite://{}", folder.path().join("chat.db").display());
    let beside = chatd::internals::repository::sqlite::open(&url, &OPTIONS, Role::Admin).await.expect("it opens");
    let name = Username::parse("team").expect("it is a name");
    let display_name = Label::from(&name);
    let new = NewGroup { name, display_name, owner: users[0], password_hash: String::new() };
    beside.add_group(new, LIMITS).await.expect("the store works");
    let group = beside.groups(GroupId(0)).await.expect("the store works")[0].0.id;
    beside.join(group, users[1], LIMITS).await.expect("the store works");
    while repository.members(group).await.expect("the store works").len() < 2 {
        tokio::task::yield_now().await;
    }
    send_to(&repository, users[0], group, "hello").await;
    beside.leave(group, users[1]).await.expect("the store works");
    while repository.members(group).await.expect("the store works").len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read_all(&repository, users[1]).await, ["hello"]);
    beside.close().await.expect("it closes");
    repository.close().await.expect("it closes");
}

/// A message to a group goes when it is old and everybody has read it, and not before.
#[tokio::test]
async fn retention_waits_for_the_last_reader_of_a_group() {
    let folder = quick_folder();
    let repository = open(folder.path(), &OPTIONS).await;
    let users = add_users(&repository, 3).await;
    let group = add_group(&repository, "team", users[0]).await;
    join(&repository, group, users[1]).await;
    join(&repository, group, users[2]).await;
    for text in ["one", "two"] {
        send_to(&repository, users[0], group, text).await;
    }
    let later = Timestamp(Timestamp::now().0 + 1_000);
    assert_eq!(read_all(&repository, users[1]).await, ["one", "two"]);
    assert_eq!(repository.prune(later).await.expect("the store works"), 0);
    let one = lease(&repository, users[2], InboxQuery { messages: 1, ..ALL }).await;
    one.lease.expect("it holds something").confirm();
    // Who only writes has nothing to read: his mark moves when the log is indexed.
    for _ in 0..OPTIONS.tail_messages {
        crate::repository::send(&repository, users[0], users[0], "own").await;
    }
    settle(&repository).await;
    while repository.prune(later).await.expect("the store works") == 0 {
        settle(&repository).await;
    }
    assert_eq!(read_all(&repository, users[2]).await, ["two"]);
    repository.close().await.expect("it closes");
}

/// One account puts another into many groups and writes to all of them; so does a second one.
async fn groups_fill_half_of_an_inbox_and_a_sender_has_one_share(place: Place) {
    let options = StoreOptions { inbox_messages: 12, ..OPTIONS };
    let repository = place.open(&options).await;
    let users = add_users(&repository, 4).await;
    let [first, reader, second, friend] = users[..] else { unreachable!() };
    let mut groups = Vec::new();
    for name in 0..5 {
        let group = add_group(&repository, &format!("group{name}"), first).await;
        join(&repository, group, reader).await;
        join(&repository, group, second).await;
        groups.push(group);
    }
    let fill = async |sender| {
        let mut sent = 0;
        for group in groups.iter().cycle().take(40) {
            let result = try_send(&repository, sender, *group, "spam").await;
            sent += usize::from(matches!(result, SendResult::Stored { not_delivered: 0, .. }));
        }
        sent
    };
    for _ in 0..2 {
        assert_eq!(fill(first).await, 6, "half");
        assert_eq!(try_send(&repository, first, reader, "spam").await, SendResult::InboxFull, "it is one share");
        assert_eq!(fill(second).await, 0, "groups have no more");
        for text in ["one", "two", "three"] {
            assert!(matches!(try_send(&repository, friend, reader, text).await, SendResult::Stored { .. }), "{text}");
        }
        for user in [first, second, reader] {
            while !read_all(&repository, user).await.is_empty() {}
        }
    }
    repository.stop().await;
}

on_every_store!(
    groups_fill_half_of_an_inbox_and_a_sender_has_one_share,
    groups_and_accounts_share_their_names_and_outlive_their_owners,
    what_was_delivered_stays_when_one_leaves_or_the_group_goes,
);
