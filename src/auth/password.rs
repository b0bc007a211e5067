//! Argon2id on its own threads. A hash takes tens of milliseconds and tens of megabytes. So a bounded number of logins
//! run at once, a bounded number wait, and the others hear at once that the server is busy. Users who have logged in
//! before wait in a second queue. The two queues are served in turn. Each serves its networks in turn, and in a network
//! its addresses, so a crowd of unknown users keeps nobody out. Knows no account and no address.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use crate::fair::{FairQueue, Round};
use crate::ops::vital;

/// The cost of one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

/// Cheaper than OWASP's minimum for argon2id is worth a warning.
pub(crate) const OWASP_MINIMUM: Cost = Cost { memory_kib: 19 * 1024, iterations: 2, parallelism: 1 };

/// Argon2 does not allow this cost; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCost(String);

/// Too many hashes wait already, or the program is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins at once")]
pub struct Busy;

/// What a password attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password.
    Right,
    /// It is, and the hash on file was made with other parameters or of another spelling: here is one made as today.
    RightWith {
        /// A PHC string.
        new_hash: String,
    },
    Wrong,
}

/// In which queue a login waits, and with which others it shares a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// This address has logged in to this account before.
    pub known: bool,
    /// A network of addresses, or where it is known the pair of account and address.
    pub network: u64,
    pub address: u64,
}

/// A password to check, and where to send the result.
struct QueuedLogin {
    attempt: Vec<String>,
    hash: Option<String>,
    /// The password that is to take its place, if it is right. Where nothing is tried, it takes a place that is free.
    new: Option<String>,
    answer: oneshot::Sender<Verdict>,
}

/// Logins that wait. Turns go round by network, and within a network by address.
type WaitingLogins = Round<u64, Round<u64, VecDeque<QueuedLogin>>>;

/// The threads and their queue. The threads end when it is dropped and the queue is done.
#[derive(Clone)]
pub struct Passwords {
    queue: Arc<Open>,
}

/// The end of the queue where logins come in; closed when dropped.
struct Open(Arc<SharedQueues>);

struct SharedQueues {
    queues: Mutex<Queues>,
    /// Somebody waits, or the queue was closed.
    more: Condvar,
    /// How many may wait in each queue.
    most: usize,
}

#[derive(Default)]
struct Queues {
    known: WaitingLogins,
    strangers: WaitingLogins,
    /// The last turn went to a known one.
    was_known: bool,
    closed: bool,
}

impl Queues {
    /// The next login that somebody still waits for: of the two queues in turn.
    fn next(&mut self) -> Option<QueuedLogin> {
        loop {
            let first = if self.was_known { &mut self.strangers } else { &mut self.known };
            self.was_known = !self.was_known;
            let login = match first.pop() {
                Some(login) => login,
                None => {
                    let other = if self.was_known { &mut self.strangers } else { &mut self.known };
                    other.pop()?
                }
            };
            if !login.answer.is_closed() {
                return Some(login);
            }
        }
    }
}

impl SharedQueues {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a login; `None`: there will be no more.
    fn next(&self) -> Option<QueuedLogin> {
        let mut queues = self.queues();
        loop {
            match queues.next() {
                Some(login) => return Some(login),
                None if queues.closed => return None,
                None => queues = self.more.wait(queues).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.queues().closed = true;
        self.0.more.notify_all();
    }
}

struct Hasher {
    argon2: Argon2<'static>,
    /// Verified when there is no such account, so that it takes as long as when there is.
    dummy: String,
}

impl Passwords {
    /// `threads` hash at once, and in each of the two queues `waiting` more may wait.
    pub fn start(cost: Cost, threads: usize, waiting: usize) -> Result<Passwords, BadCost> {
        let argon2 = argon2(cost)?;
        let dummy = argon2.hash_password(b"nobody's").map_err(|e| BadCost(e.to_string()))?.to_string();
        let hasher = Arc::new(Hasher { argon2, dummy });
        let shared = Arc::new(SharedQueues { queues: Mutex::default(), more: Condvar::new(), most: waiting });
        for _ in 0..threads.max(1) {
            let (hasher, shared) = (hasher.clone(), shared.clone());
            vital::spawn("password", move || run(&hasher, &shared)).map_err(|e| BadCost(e.to_string()))?;
        }
        Ok(Passwords { queue: Arc::new(Open(shared)) })
    }

    /// Compares an attempt with a PHC string. `None` means that there is no account: the comparison takes the same time
    /// and fails. An attempt may have several spellings. The first is the one in which new passwords are stored. Each
    /// spelling costs a hash. When nobody waits any more, nothing is compared.
    pub async fn verify(&self, attempt: Vec<String>, hash: Option<String>, share: Share) -> Result<Verdict, Busy> {
        self.ask(attempt, hash, None, share).await
    }

    /// A PHC string for `new`, if the attempt is right; else `None`.
    pub async fn change(
        &self,
        attempt: Vec<String>,
        hash: String,
        new: String,
        share: Share,
    ) -> Result<Option<String>, Busy> {
        match self.ask(attempt, Some(hash), Some(new), share).await? {
            Verdict::RightWith { new_hash } => Ok(Some(new_hash)),
            Verdict::Wrong => Ok(None),
            // It was right, and the new one could not be hashed.
            Verdict::Right => Err(Busy),
        }
    }

    /// A PHC string for a new password. One that is made for somebody costs as much as an attempt, and waits as one.
    pub async fn hash(&self, new: String, share: Share) -> Result<String, Busy> {
        match self.ask(Vec::new(), None, Some(new), share).await? {
            Verdict::RightWith { new_hash } => Ok(new_hash),
            Verdict::Right | Verdict::Wrong => Err(Busy),
        }
    }

    async fn ask(
        &self,
        attempt: Vec<String>,
        hash: Option<String>,
        new: Option<String>,
        share: Share,
    ) -> Result<Verdict, Busy> {
        let (answer, verdict) = oneshot::channel();
        self.push(QueuedLogin { attempt, hash, new, answer }, share)?;
        verdict.await.map_err(|_| Busy)
    }

    fn push(&self, login: QueuedLogin, share: Share) -> Result<(), Busy> {
        let SharedQueues { more, most, .. } = &*self.queue.0;
        let mut queues = self.queue.0.queues();
        let queue = if share.known { &mut queues.known } else { &mut queues.strangers };
        let path = (share.network, (share.address, ()));
        // When its channel is dropped, a displaced login hears that the server is busy.
        if queue.len() >= *most && queue.displace(&path).is_none() {
            return Err(Busy);
        }
        queue.push(path, login);
        more.notify_one();
        Ok(())
    }
}

/// A PHC string for a new password, made on this thread: for the command line.
pub fn hash(password: &str, cost: Cost) -> Result<String, BadCost> {
    let hash = argon2(cost)?.hash_password(password.as_bytes()).map_err(|e| BadCost(e.to_string()))?;
    Ok(hash.to_string())
}

/// Whether argon2 takes these parameters.
pub(crate) fn check(cost: Cost) -> Result<(), BadCost> {
    argon2(cost).map(|_| ())
}

fn argon2(cost: Cost) -> Result<Argon2<'static>, BadCost> {
    let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None);
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|e| BadCost(e.to_string()))?))
}

/// How far the threads stand back behind those that serve (`nice`, 19 at the most).
const NICENESS: i32 = 10;

fn run(hasher: &Hasher, shared: &SharedQueues) {
    // On Linux this is for the calling thread alone. Where it is not allowed, logins are only less considerate.
    let _ = setpriority_process(None, NICENESS);
    while let Some(QueuedLogin { attempt, hash, new, answer }) = shared.next() {
        let verdict = match new {
            // There is none that holds.
            Some(new) if attempt.is_empty() => hasher.hash(&new),
            Some(new) => match hasher.verify(&attempt, hash.as_deref()) {
                Verdict::Right | Verdict::RightWith { .. } => hasher.hash(&new),
                Verdict::Wrong => Verdict::Wrong,
            },
            None => hasher.verify(&attempt, hash.as_deref()),
        };
        // Whoever asked may have gone meanwhile.
        let _ = answer.send(verdict);
    }
}

impl Hasher {
    fn verify(&self, attempt: &[String], hash: Option<&str>) -> Verdict {
        let Ok(parsed) = PasswordHash::new(hash.unwrap_or(&self.dummy)) else { return Verdict::Wrong };
        let is_right = |spelling: &String| self.argon2.verify_password(spelling.as_bytes(), &parsed).is_ok();
        let right = attempt.iter().position(is_right);
        let (Some(right), true, Some(today)) = (right, hash.is_some(), attempt.first()) else { return Verdict::Wrong };
        let same = Params::try_from(&parsed).is_ok_and(|params| {
            let ours = self.argon2.params();
            (params.m_cost(), params.t_cost(), params.p_cost()) == (ours.m_cost(), ours.t_cost(), ours.p_cost())
        });
        if same && right == 0 {
            return Verdict::Right;
        }
        self.hash(today)
    }

    /// That it was right, with a hash of this one where that can be had.
    fn hash(&self, password: &str) -> Verdict {
        match self.argon2.hash_password(password.as_bytes()) {
            Ok(new) => Verdict::RightWith { new_hash: new.to_string() },
            Err(_) => Verdict::Right,
        }
    }
}

#[cfg(test)]
mod tests;
