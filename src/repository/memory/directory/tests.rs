use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::scan::SessionScan;
use super::*;

const LONG_AGO: Timestamp = Timestamp(i64::MIN);

fn user(id: i64, name: &str) -> User {
    User {
        id: UserId(id),
        username: Username::parse(name).expect("it is a name"),
        display_name: name.into(),
        country: "".into(),
        disabled: false,
        administrator: false,
        removed: false,
        created_at: Timestamp(0),
    }
}

fn token(id: i64) -> TokenHash {
    let mut token = [7; 32];
    token[..8].copy_from_slice(&id.to_le_bytes());
    TokenHash(token)
}

fn record(id: i64, user: i64) -> SessionRecord {
    let address = Ipv4Addr::new(192, 0, 2, u8::try_from(id % 256).expect("it is small")).into();
    let (token, last_used_at) = (token(id), Timestamp(id));
    SessionRecord { id: SessionId(id), user: UserId(user), token, last_used_at, address: Some(address), grant: None }
}

fn apply(directory: &mut Directory, event: Event) -> Ended {
    let mut ended = Ended::default();
    directory.apply(event, &mut ended);
    ended
}

#[derive(Clone, Debug)]
enum Step {
    Store(i64),
    Rename(i64),
    Remove(i64),
    Password(i64),
    Open(i64, i64),
    End(i64),
    Touch(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4i64).prop_map(Step::Store),
        1 => (0..4i64).prop_map(Step::Rename),
        1 => (0..4i64).prop_map(Step::Remove),
        1 => (0..4i64).prop_map(Step::Password),
        // Some numbers come late, and some twice.
        8 => (0..24i64, 0..4i64).prop_map(|(id, user)| Step::Open(id, user)),
        4 => (0..24i64).prop_map(Step::End),
        2 => (0..24i64).prop_map(Step::Touch),
    ]
}

/// The same in plain maps: accounts by number with name and whether they live, sessions by number with their account.
#[derive(Default)]
struct Model {
    users: BTreeMap<i64, (String, bool)>,
    sessions: BTreeMap<i64, i64>,
}

impl Model {
    fn end_all(&mut self, user: i64) {
        self.sessions.retain(|_, of| *of != user);
    }

    fn check(&self, directory: &Directory) {
        let living = self.users.values().filter(|(_, lives)| *lives).count();
        assert_eq!(directory.counts(), (living, self.sessions.len()));
        for (id, (name, lives)) in &self.users {
            assert_eq!(directory.user(UserId(*id)).map(|user| user.removed), Some(!lives));
            if *lives {
                assert_eq!(directory.recipient(name), Some(UserId(*id)), "{name}");
            }
            let of_user = self.sessions.iter().filter(|(_, of)| *of == id);
            let addresses: Vec<_> = of_user.filter_map(|(session, of)| record(*session, *of).address).collect();
            assert_eq!(directory.addresses(UserId(*id)), addresses);
        }
        for id in 0..24 {
            let found = directory.session(&token(id), Timestamp(0), LONG_AGO);
            assert_eq!(found.map(|session| session.user.id.0), self.sessions.get(&id).copied(), "{id}");
        }
        let mut oldest: Vec<(i64, i64)> = Vec::new();
        for (session, user) in &self.sessions {
            if oldest.iter().all(|(_, of)| of != user) {
                oldest.push((*session, *user));
            }
        }
        let names = |oldest: &[(i64, i64)]| {
            oldest.iter().map(|(session, user)| (SessionId(*session), self.users[user].0.clone())).collect::<Vec<_>>()
        };
        let mut online: Vec<(SessionId, String)> = Vec::new();
        loop {
            let after = online.last().map_or(SessionId(i64::MIN), |(last, _)| *last);
            let piece = directory.online(after, 2);
            if piece.is_empty() {
                break;
            }
            online.extend(piece.into_iter().map(|(session, _, name)| (session, name.to_string())));
        }
        assert_eq!(online, names(&oldest));
    }
}

proptest! {
    #[test]
    fn a_compact_directory_says_what_plain_maps_say(steps in prop::collection::vec(step(), 1..80)) {
        let (mut directory, mut model) = (Directory::default(), Model::default());
        for step in steps {
            match step {
                Step::Store(id) => {
                    if model.users.get(&id).is_none_or(|(_, lives)| *lives) {
                        let name = model.users.entry(id).or_insert((format!("user{id}"), true)).0.clone();
                        apply(&mut directory, Event::UserStored(Box::new(user(id, &name))));
                    }
                }
                Step::Rename(id) => {
                    if let Some((name, true)) = model.users.get_mut(&id) {
                        name.push('x');
                        apply(&mut directory, Event::UserStored(Box::new(user(id, name))));
                    }
                }
                Step::Remove(id) => {
                    let lived = model.users.get(&id).is_some_and(|(_, lives)| *lives);
                    model.users.entry(id).and_modify(|(_, lives)| *lives = false);
                    model.end_all(id);
                    let ended = apply(&mut directory, Event::UserRemoved(UserId(id)));
                    assert_eq!(ended.users, lived.then_some(UserId(id)).into_iter().collect::<Vec<_>>());
                }
                Step::Password(id) => {
                    let before = model.sessions.len();
                    model.end_all(id);
                    let ended = apply(&mut directory, Event::PasswordSet(UserId(id)));
                    assert_eq!(ended.sessions.len(), before - model.sessions.len());
                }
                Step::Open(id, user) => {
                    if model.users.get(&user).is_some_and(|(_, lives)| *lives) {
                        model.sessions.insert(id, user);
                    }
                    if model.users.get(&user).is_none_or(|(_, lives)| *lives) {
                        if !model.users.contains_key(&user) {
                            model.sessions.remove(&id);
                        }
                        apply(&mut directory, Event::SessionOpened(record(id, user), Vec::new()));
                    }
                }
                Step::End(id) => {
                    let ended = apply(&mut directory, Event::SessionsEnded(vec![SessionId(id)]));
                    let user = model.sessions.remove(&id).map(|user| (SessionId(id), UserId(user)));
                    assert_eq!(ended.sessions, user.into_iter().collect::<Vec<_>>());
                }
                Step::Touch(id) => {
                    let found = directory.session(&token(id), Timestamp(1000), LONG_AGO);
                    assert_eq!(found.is_some(), model.sessions.contains_key(&id));
                }
            }
            model.check(&directory);
        }
    }
}

#[test]
fn idle_and_used_sessions_are_found_in_pieces() {
    let mut directory = Directory::default();
    apply(&mut directory, Event::UserStored(Box::new(user(1, "messi"))));
    (1..=10).for_each(|id| _ = apply(&mut directory, Event::SessionOpened(record(id, 1), Vec::new())));
    apply(&mut directory, Event::SessionsEnded(vec![SessionId(2)]));
    assert!(directory.session(&token(1), Timestamp(100), LONG_AGO).is_some(), "it is in use now");
    let mut found = (Vec::new(), Vec::new());
    let (mut from, mut looks) = (Some(0), 0);
    while let Some(place) = from {
        let piece = directory.look_at_sessions(place, 3, Timestamp(5), 50);
        found.0.extend(piece.idle);
        found.1.extend(piece.used);
        from = piece.next;
        looks += 1;
    }
    assert_eq!(looks, 4);
    assert_eq!(found, (vec![SessionId(3), SessionId(4)], vec![(SessionId(1), Timestamp(100))]));
    apply(&mut directory, Event::UsesStored(found.1));
    assert_eq!(directory.look_at_sessions(0, 100, Timestamp(0), 50), SessionScan::default());
    assert!(directory.session(&token(3), Timestamp(4), Timestamp(5)).is_none(), "it was idle for too long");
}

#[test]
fn a_directory_that_is_loaded_at_once_is_like_one_that_grew() {
    let (mut grown, mut loader) = (Directory::default(), Loader::with_capacity(0, 0));
    let mut model = Model::default();
    // With a gap in the numbers, as another program may have left it, and a removed account.
    for id in [1, 2, 3, 7, 8] {
        let user = User { removed: id == 2, ..user(id, &format!("user{id}")) };
        model.users.insert(id, (format!("user{id}"), id != 2));
        apply(&mut grown, Event::UserStored(Box::new(user.clone())));
        loader.user(user);
    }
    for (id, user) in [(1, 7), (3, 1), (4, 7), (9, 8), (10, 1), (11, 5)] {
        if user != 5 {
            model.sessions.insert(id, user);
        }
        apply(&mut grown, Event::SessionOpened(record(id, user), Vec::new()));
        loader.session(record(id, user));
    }
    let mut loaded = loader.finish();
    model.check(&loaded);
    model.check(&grown);
    apply(&mut loaded, Event::SessionsEnded(vec![SessionId(1), SessionId(10)]));
    model.sessions.retain(|id, _| ![1, 10].contains(id));
    model.check(&loaded);
}
