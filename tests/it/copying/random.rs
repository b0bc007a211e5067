//! Whatever a store was told in whatever order, a copy in the other kind of store is the same to everybody, and goes on
//! from there.

use chatd::internals::repository::{
    DatabaseAddress, HistoryQuery, InboxQuery, Lease, NewMessage, SendResult, StoreOptions, copy,
};
use chatd::model::{Address, GroupId, SendKey, Timestamp, UserId};
use fastrand::Rng;

use crate::following::all_conversations;
use crate::group_store::{LIMITS, add_group};
use crate::repository::{ALL, OPTIONS, add_users, lease, settle, texts};
use crate::stores::{Nodes, Place, run};

const USERS: usize = 5;
const GROUPS: usize = 2;
/// Inboxes are full all the time.
const FEW: StoreOptions = StoreOptions { inbox_messages: 6, ..OPTIONS };

/// A store, and who talks to each other in it.
struct Talk {
    place: Place,
    users: Vec<UserId>,
    groups: Vec<GroupId>,
    random: Rng,
}

impl Talk {
    fn user(&mut self) -> UserId {
        self.users[self.random.usize(..self.users.len())]
    }

    fn to(&mut self) -> Address {
        match self.random.usize(..USERS + 2 * GROUPS) {
            place if place < self.users.len() => self.users[place].into(),
            place => self.groups[place % GROUPS].into(),
        }
    }

    async fn send(&mut self, store: &Nodes) {
        let (sender, to) = (self.user(), self.to());
        let text = format!("{}\u{e9}", self.random.u32(..1000));
        let message = NewMessage { sender, to, sent_at: Timestamp::now(), text: text.as_str().into() };
        if self.random.u8(..8) == 0 {
            let key = SendKey::parse(&text.replace('\u{e9}', "")).expect("it is one");
            store.send_once(message, key).await.expect("the store works");
        } else {
            let sent = store.send([message].into()).await.expect("the store works");
            assert!(!matches!(sent[0], SendResult::Unfit), "{sent:?}");
        }
    }

    /// What people do, and then nobody holds anything.
    async fn go_on(&mut self, store: &Nodes, steps: usize) {
        let mut leases: Vec<Lease> = Vec::new();
        for _ in 0..steps {
            let (who, group) = (self.user(), self.groups[self.random.usize(..GROUPS)]);
            match self.random.u8(..24) {
                0..10 => self.send(store).await,
                10..13 => drop(store.join(group, who, LIMITS).await.expect("the store works")),
                13 => drop(store.leave(group, who).await.expect("the store works")),
                14..18 => {
                    let want = InboxQuery { messages: self.random.usize(1..4), ..ALL };
                    leases.extend(lease(store, who, want).await.lease);
                }
                18..21 if !leases.is_empty() => leases.swap_remove(self.random.usize(..leases.len())).confirm(),
                21 if !leases.is_empty() => drop(leases.swap_remove(self.random.usize(..leases.len()))),
                22 => {
                    let to = store.last_message(who).await.expect("the store works");
                    let from = self.to();
                    store.read(who, vec![from], to).await.expect("the store works");
                }
                23 if self.random.u8(..10) == 0 => {
                    let later = Timestamp(Timestamp::now().0 + 3_600_000);
                    settle(store).await;
                    store.prune(later).await.expect("the store works");
                }
                23 if self.random.u8(..10) == 0 && self.users.len() > 3 => {
                    let place = self.random.usize(..self.users.len());
                    store.remove_user(self.users.swap_remove(place)).await.expect("the store works");
                }
                _ => {}
            }
        }
        drop(leases);
        settle(store).await;
    }

    /// All that there is to see.
    async fn view(&self, store: &Nodes) -> Vec<String> {
        let mut seen = Vec::new();
        let stored = store.stored(self.users.clone()).await.expect("the store works");
        seen.push(format!("stored: {stored:?}"));
        let page = HistoryQuery { before: None, messages: 1_000, bytes: 1_000_000 };
        for who in &self.users {
            let groups = store.groups_of(*who).await.expect("the store works");
            seen.push(format!("{who} is in {:?}", groups.iter().map(|group| group.id).collect::<Vec<_>>()));
            let with =
                self.users.iter().map(|user| Address::from(*user)).chain(self.groups.iter().map(|g| (*g).into()));
            for with in with {
                let messages = store.conversation(*who, with, page).await.expect("the store works");
                seen.push(format!("{who} with {with:?}: {messages:?}"));
                match with {
                    Address::User(other) => {
                        let receipts = store.receipts(*who, other, 1_000).await.expect("the store works");
                        seen.push(format!("{who} to {with:?}: {receipts:?}"));
                    }
                    Address::Group(group) => {
                        let receipts = store.group_receipts(*who, group, 1_000).await.expect("the store works");
                        seen.push(format!("{who} to {with:?}: {receipts:?}"));
                    }
                }
            }
            // Up to where the other has read is not told the same by a server that has just begun.
            let told = all_conversations(store, *who, 2).await;
            let told: Vec<_> =
                told.into_iter().map(|(with, [newest, unread, read, _])| (with, newest, unread, read)).collect();
            seen.push(format!("{who} talks to {told:?}"));
        }
        for who in &self.users {
            let held = lease(store, *who, ALL).await;
            let order: Vec<UserId> = held.senders.iter().map(|(sender, _)| *sender).collect();
            seen.push(format!("{who} has {:?} from {order:?}", texts(&held)));
        }
        settle(store).await;
        seen
    }

    /// Goes to another place, where all is as it was.
    async fn move_to(&mut self, place: Place, before: &[String]) {
        let address = |place: &Place| DatabaseAddress::parse(&place.url()).unwrap_or_else(|error| panic!("{error}"));
        let (from, to) = (address(&self.place), address(&place));
        let copied = copy(&from, &to, &OPTIONS, &mut |_, _, _| {}).await;
        copied.unwrap_or_else(|error| panic!("{error}"));
        self.place = place;
        let store = self.place.open(&FEW).await;
        for (is, was) in self.view(&store).await.iter().zip(before) {
            assert_eq!(is, was);
        }
        store.stop().await;
    }
}

/// A talk that goes from SQLite to PostgreSQL, on there, back, on there, and over once more.
async fn talk(seed: u64, there: [Place; 2]) {
    let place = Place::sqlite();
    let store = place.open(&FEW).await;
    let users = add_users(&store, USERS).await;
    let mut groups = Vec::new();
    for owner in &users[..GROUPS] {
        groups.push(add_group(&store, &format!("group{owner}"), *owner).await);
    }
    let mut talk = Talk { place, users, groups, random: Rng::with_seed(seed) };
    talk.go_on(&store, 250).await;
    let mut before = talk.view(&store).await;
    store.stop().await;
    let [first, second] = there;
    for place in [first, Place::sqlite(), second] {
        talk.move_to(place, &before).await;
        let store = talk.place.open(&FEW).await;
        talk.go_on(&store, 120).await;
        before = talk.view(&store).await;
        store.stop().await;
        talk.place.verify(&FEW).await;
    }
}

#[test]
fn a_copy_of_any_talk_is_the_same_to_everybody_and_goes_on() {
    let talks = std::env::var("CHATD_COPIES").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    for seed in 0..talks {
        let (Some(first), Some(second)) = (Place::postgres(1), Place::postgres(1)) else { return };
        println!("seed {seed}");
        run(talk(seed, [first, second]));
    }
}
