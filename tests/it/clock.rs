//! Clocks that jump: a board without a clock begins in 1970, one is set to 2099 by mistake, or is a month ahead for one
//! start. No session ends for that and no mail is removed; and what was stamped with a wrong time does not live for
//! ever.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chatd::internals::clock::{Clock, TimeSource};
use chatd::internals::repository::sqlite::{self, Role, SqliteRepository};
use chatd::internals::repository::{NewMessage, NewSession, Repository, StoreOptions};
use chatd::model::{Label, SessionId, Timestamp, Token, UserId};

use crate::collected::Collected;
use crate::database::tamper;
use crate::repository::{ALL, OPTIONS, add_users, lease, open, quick_folder, reopen, settle};
use crate::support::PATIENCE;

const DAY: i64 = 24 * 3_600_000;
const TODAY: i64 = 1_795_447_622_120;
const IN_2099: i64 = 4_070_908_800_000;
const IN_2031: i64 = 1_930_000_000_000;
const EXPIRY: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The clocks of a machine, in milliseconds.
#[derive(Default)]
struct Machine {
    wall: AtomicI64,
    running: AtomicI64,
}

impl TimeSource for Machine {
    fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }

    fn running(&self) -> Duration {
        Duration::from_millis(self.running.load(Ordering::Relaxed) as u64)
    }
}

impl Machine {
    fn at(wall: i64) -> Arc<Machine> {
        let machine = Machine::default();
        machine.set(wall);
        Arc::new(machine)
    }

    /// The clock is set.
    fn set(&self, wall: i64) {
        self.wall.store(wall, Ordering::Relaxed);
    }

    /// Time goes by.
    fn passes(&self, time: i64) {
        self.wall.fetch_add(time, Ordering::Relaxed);
        self.running.fetch_add(time, Ordering::Relaxed);
    }

    fn options(self: &Arc<Machine>) -> StoreOptions {
        StoreOptions { clock: Clock::of(self.clone()), ..OPTIONS }
    }
}

async fn log_in(repository: &SqliteRepository, user: UserId) -> Token {
    let token = Token::generate();
    let (address, created_at) = (Arc::from("192.0.2.1"), repository.clock().steady());
    let (checked, label) = (String::new(), Label::default());
    let new = NewSession { user, token: token.hash(), address, label, created_at, most: 9, checked, rehashed: None };
    assert!(repository.open_session(new).await.expect("the store works"));
    token
}

/// The token is shown; whether its session lives.
async fn lives(repository: &SqliteRepository, token: &Token) -> bool {
    let now = repository.clock().steady();
    repository.session(token.hash(), now, now.before(EXPIRY)).await.expect("the store works").is_some()
}

/// What the server does each minute; gives how many sessions that ended.
async fn tidy(repository: &SqliteRepository) -> u64 {
    let unused_since = repository.clock().steady().before(EXPIRY);
    repository.tidy_sessions(unused_since).await.expect("the store works")
}

/// When the oldest session was last used, as it is stored.
async fn stored_use(repository: &SqliteRepository) -> i64 {
    let logins = repository.logins(SessionId(0), None).await.expect("the store works");
    logins.first().expect("somebody is logged in").last_used_at.0
}

async fn moved_to(repository: &SqliteRepository, stored: i64) {
    let begun = Instant::now();
    while stored_use(repository).await != stored {
        assert!(begun.elapsed() < PATIENCE, "what is stored does not move with the clock");
        tokio::task::yield_now().await;
    }
    settle(repository).await;
}

/// Sets the clock under a server, and waits until what is stored has moved with it.
async fn set(repository: &SqliteRepository, machine: &Machine, wall: i64) {
    let stored = stored_use(repository).await + wall - machine.wall().0;
    machine.set(wall);
    moved_to(repository, stored).await;
}

fn tamper_aside(folder: &Path, sql: &'static str) {
    let database = folder.join("chat.db");
    thread::spawn(move || tamper(&database, sql)).join().expect("it is SQL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_the_clock_a_month_ahead_ends_no_session() {
    let (folder, machine) = (quick_folder(), Machine::at(TODAY));
    let mut repository = open(folder.path(), &machine.options()).await;
    let users = add_users(&repository, 1).await;
    let token = log_in(&repository, users[0]).await;
    for ahead in [31 * DAY, -31 * DAY] {
        machine.passes(DAY);
        repository.close().await.expect("it closes");
        drop(repository);
        machine.set(machine.wall().0 + ahead);
        repository = open(folder.path(), &machine.options()).await;
        assert_eq!(tidy(&repository).await, 0);
    }
    assert!(lives(&repository, &token).await);
    machine.passes(31 * DAY);
    assert_eq!(tidy(&repository).await, 1, "what is not used for so long ends all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_made_in_1970_lives_when_the_clock_is_set() {
    for restart in [false, true] {
        let (folder, machine) = (quick_folder(), Machine::at(TODAY));
        let repository = open(folder.path(), &machine.options()).await;
        let users = add_users(&repository, 1).await;
        let old = log_in(&repository, users[0]).await;
        machine.set(5_000);
        let repository = reopen(repository, folder.path(), &machine.options()).await;
        let new = log_in(&repository, users[0]).await;
        machine.passes(60_000);
        let repository = match restart {
            false => {
                set(&repository, &machine, TODAY + DAY).await;
                repository
            }
            true => {
                machine.set(TODAY + DAY);
                reopen(repository, folder.path(), &machine.options()).await
            }
        };
        assert_eq!(tidy(&repository).await, 0);
        let repository = reopen(repository, folder.path(), &machine.options()).await;
        assert!(lives(&repository, &old).await && lives(&repository, &new).await, "restart: {restart}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_used_in_2099_ends_when_it_is_idle_like_any_other() {
    let (folder, machine) = (quick_folder(), Machine::at(TODAY));
    let repository = open(folder.path(), &machine.options()).await;
    let users = add_users(&repository, 1).await;
    let before = log_in(&repository, users[0]).await;
    set(&repository, &machine, IN_2099).await;
    let then = log_in(&repository, users[0]).await;
    assert!(lives(&repository, &before).await && lives(&repository, &then).await);
    machine.passes(DAY / 2);
    set(&repository, &machine, TODAY + DAY / 2).await;
    let repository = reopen(repository, folder.path(), &machine.options()).await;
    assert_eq!(tidy(&repository).await, 0);
    machine.passes(20 * DAY);
    assert!(lives(&repository, &before).await);
    machine.passes(20 * DAY);
    assert_eq!(tidy(&repository).await, 1);
    assert!(lives(&repository, &before).await && !lives(&repository, &then).await);
}

/// As it is found in a database from before.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_use_of_the_future_is_one_of_now() {
    let (folder, machine) = (quick_folder(), Machine::at(TODAY));
    let repository = open(folder.path(), &machine.options()).await;
    let users = add_users(&repository, 1).await;
    let [first, second] = [log_in(&repository, users[0]).await, log_in(&repository, users[0]).await];
    repository.close().await.expect("it closes");
    drop(repository);
    tamper_aside(folder.path(), "DELETE FROM clock; UPDATE session SET last_used_at = 4070908800000 WHERE id = 2");
    let repository = open(folder.path(), &machine.options()).await;
    assert!(lives(&repository, &first).await && lives(&repository, &second).await);
    machine.passes(31 * DAY);
    assert_eq!(tidy(&repository).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_removes_no_mail() {
    let (folder, machine) = (quick_folder(), Machine::at(TODAY));
    let mut repository = open(folder.path(), &machine.options()).await;
    let users = add_users(&repository, 1).await;
    log_in(&repository, users[0]).await;
    let read = async |repository: &SqliteRepository| {
        let sent_at = repository.clock().now();
        let text = Arc::from("text");
        let message = NewMessage { sender: users[0], to: users[0].into(), sent_at, text };
        repository.send([message].into()).await.expect("the store works");
        lease(repository, users[0], ALL).await.lease.expect("it holds something").confirm();
        settle(repository).await;
    };
    let prune = async |repository: &SqliteRepository| {
        let read_before = repository.clock().now().before(EXPIRY);
        repository.prune(read_before).await.expect("the store works")
    };
    read(&repository).await;
    machine.passes(DAY);
    // While the server runs, and while none does.
    let stored = stored_use(&repository).await;
    machine.set(machine.wall().0 + 40 * DAY);
    assert_eq!(prune(&repository).await, 0, "not even before the jump was noticed");
    moved_to(&repository, stored + 40 * DAY).await;
    set(&repository, &machine, machine.wall().0 + 400 * DAY).await;
    assert_eq!(prune(&repository).await, 0);
    machine.set(machine.wall().0 + 40 * DAY);
    repository = reopen(repository, folder.path(), &machine.options()).await;
    assert_eq!(prune(&repository).await, 0);
    machine.passes(28 * DAY);
    assert_eq!(prune(&repository).await, 0, "29 days old");
    machine.passes(2 * DAY);
    assert_eq!(prune(&repository).await, 1, "31 days old");
    // What was read in 2099 is 30 days old some day.
    set(&repository, &machine, IN_2099).await;
    read(&repository).await;
    set(&repository, &machine, TODAY).await;
    assert_eq!(prune(&repository).await, 0);
    machine.passes(31 * DAY);
    assert_eq!(prune(&repository).await, 1);
}

/// Of the year that only this test has.
fn said(words: &str) -> Vec<String> {
    Collected::get().lines(words).into_iter().filter(|line| line.contains(" now=2031-")).collect()
}

/// A clock is corrected by some seconds all the time; corrections that add up to more are one jump.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_is_said_once_and_one_that_is_corrected_or_goes_on_is_not() {
    Collected::get();
    let (folder, machine) = (quick_folder(), Machine::at(IN_2031));
    let repository = open(folder.path(), &machine.options()).await;
    let users = add_users(&repository, 1).await;
    log_in(&repository, users[0]).await;
    let url = format!("sqlite://{}", folder.path().join("chat.db").display());
    let beside = sqlite::open(&url, &machine.options(), Role::Admin).await.expect("it opens");
    machine.passes(2 * DAY);
    let stored = stored_use(&repository).await;
    for correction in [9_000, 9_000] {
        machine.set(machine.wall().0 + correction);
        // The server looks at its clock four times meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    moved_to(&repository, stored + 18_000).await;
    // A command's writer looks at its clock, too.
    beside.set_disabled(users[0], false).await.expect("the store works");
    tokio::time::sleep(Duration::from_secs(1)).await;
    beside.close().await.expect("it closes");
    let begun = Instant::now();
    while said("the clock was set").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nobody says it");
        tokio::task::yield_now().await;
    }
    let repository = reopen(repository, folder.path(), &machine.options()).await;
    repository.close().await.expect("it closes");
    drop(repository);
    assert!(said("the clock has jumped").is_empty());
    // While no server runs it is another line.
    machine.set(machine.wall().0 + 40 * DAY);
    open(folder.path(), &machine.options()).await.close().await.expect("it closes");
    let lines = said("the clock was set");
    assert!(lines.len() == 1 && lines[0].contains(" seconds=18 "), "{lines:?}");
    assert_eq!(said("the clock has jumped since the last server").len(), 1);
}
