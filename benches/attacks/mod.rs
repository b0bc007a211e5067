//! What one person, or anybody, does to stop others, and what an innocent user notices of it.
//!
//! `benches/attacks.rs` measures it; `tests/it/security/attacks.rs` drives each attack for a moment.
//!
//! | file | holds |
//! |---|---|
//! | `rows.rs` | the attacks, one a row |
//! | `mailboxes.rs` | attacks with mail: large mailboxes, full ones, a full disk |
//! | `crowds.rs` | attacks with many connections |
//! | `conversations.rs` | attacks that ask for old mail |
//! | `crowd.rs` | many connections with the same habits, on one thread |
//! | `innocent.rs` | the innocent user, and how long each request takes |
//! | `world.rs` | a chatd with accounts; filling it |
//! | `own_network.rs` | a network of the row's own, with many addresses |
//! | `outcome.rs` | a row as it is printed, and its goal |

mod conversations;
mod crowd;
mod crowds;
mod innocent;
#[path = "../load/interrupt.rs"]
pub mod interrupt;
mod mailboxes;
mod outcome;
mod own_network;
mod rows;
#[path = "../load/servers.rs"]
mod servers;
mod world;

use anyhow::{Context, Result, anyhow};
use innocent::{Innocent, Lived};
use interrupt::Interrupt;
pub use outcome::{HEADING, Outcome};
pub use own_network::NotAllowed;
pub use rows::ROWS;
use rustix::process::setpriority_process;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};
use world::World;

/// The most connections that a row opens, and that it opens where little is wanted.
const CONNECTIONS: usize = 12_500;
const BRIEF_CONNECTIONS: usize = 500;

/// How long an attack may take until it is in place.
const PATIENCE: Duration = Duration::from_secs(60);

/// The attackers' place in the processors' queue: behind the server, as if they had a machine of their own.
const NICE: i32 = 10;

/// How the rows are driven.
pub struct Plan {
    /// The chatd to start.
    pub program: PathBuf,
    /// Where the databases are made.
    pub directory: PathBuf,
    /// Seconds without the attack, and as many with it.
    pub seconds: f64,
    /// With few messages and connections, and limits to match.
    pub is_brief: bool,
}

/// What an attacker does from outside, and what is looked at.
pub struct Attack {
    /// The number of the fault, and a word where it has several rows.
    pub label: &'static str,
    pub what: &'static str,
    /// What the innocent user does in each round.
    pub steps: &'static [innocent::Step],
    /// Keys and values beside the defaults.
    pub settings: &'static str,
    /// Keys and values beside the defaults where little is stored.
    pub brief_settings: &'static str,
    /// Logins cost what they cost by default.
    pub has_dear_passwords: bool,
    /// Accounts beside those that every row has.
    pub accounts: &'static [&'static str],
    /// All of it happens in a network of its own, which has a /64 of addresses.
    pub has_own_network: bool,
    /// What is stored before.
    pub prepare: fn(&World) -> Result<()>,
    /// The server starts again after that, with nothing in memory.
    pub restarts: bool,
    /// Goes on until the world is over.
    pub attack: fn(&World) -> Result<()>,
    /// What must be so at the end, while the attack goes on.
    pub check: fn(&World) -> Result<()>,
}

impl Attack {
    /// Whether `argument` is the row's label or its number.
    pub fn is_meant_by(&self, argument: &str) -> bool {
        self.label == argument || self.label.split_once('-').is_some_and(|(number, _)| number == argument)
    }
}

/// Starts a new chatd, lets the innocent user live in quiet and then under attack, and stops it.
pub fn drive(attack: &'static Attack, plan: &Plan, interrupt: &Interrupt) -> Result<Outcome> {
    if !attack.has_own_network {
        return drive_here(attack, plan, interrupt);
    }
    // The network is that of a thread, and of those that it starts.
    thread::scope(|scope| {
        let driver = scope.spawn(|| {
            own_network::enter()?;
            drive_here(attack, plan, interrupt)
        });
        driver.join().unwrap_or_else(|_| Err(anyhow!("the row panicked")))
    })
}

fn drive_here(attack: &'static Attack, plan: &Plan, interrupt: &Interrupt) -> Result<Outcome> {
    servers::allow_connections(if plan.is_brief { BRIEF_CONNECTIONS } else { CONNECTIONS })?;
    let directory = tempfile::Builder::new().prefix("chatd-attack-").tempdir_in(&plan.directory)?;
    let mut world = World::make(attack, plan, directory.path(), interrupt)?;
    (attack.prepare)(&world).context("the attack cannot be prepared")?;
    if attack.restarts {
        world.restart(interrupt)?;
    }
    let mut innocent = Innocent::new(&world, attack.steps);
    let quiet = innocent.live(plan.seconds, interrupt)?;
    let attacked = thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            // On Linux it is the thread's own. Who may not, attacks with the innocent's priority.
            let _ = setpriority_process(None, NICE);
            (attack.attack)(&world)
        });
        let attacked = live_under(&attacker, &world, &mut innocent, plan.seconds, interrupt);
        world.is_over.store(true, Ordering::Relaxed);
        let ended = attacker.join().unwrap_or_else(|_| Err(anyhow!("the attacker panicked")));
        let attacked = attacked?;
        ended.context("the attack failed by itself")?;
        Ok::<_, anyhow::Error>(attacked)
    })?;
    drop(innocent);
    let asked = world.asked.load(Ordering::Relaxed);
    let peak_bytes = world.peak_bytes()?;
    world.stop(interrupt)?;
    Ok(Outcome { label: attack.label, what: attack.what, quiet, attacked, asked, peak_bytes })
}

/// The innocent user's life once the attack is in place, and the check at its end.
fn live_under(
    attacker: &ScopedJoinHandle<Result<()>>,
    world: &World,
    innocent: &mut Innocent,
    seconds: f64,
    interrupt: &Interrupt,
) -> Result<Lived> {
    let begun = Instant::now();
    while !world.in_place.load(Ordering::Relaxed) && !attacker.is_finished() {
        interrupt.check()?;
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the attack is not in place after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
    let mut lived = innocent.live(seconds, interrupt)?;
    if let Err(error) = (world.attack.check)(world) {
        lived.failures.add_refusal(format!("{error:#}"));
    }
    Ok(lived)
}
