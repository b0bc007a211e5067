//! Argon2id on threads of its own: a hash takes tens of milliseconds and tens of megabytes, so a bounded number run at
//! once, a bounded number wait, and the rest are told at once that the server is busy. Knows no account.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;

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
pub const OWASP_MINIMUM: Cost = Cost { memory_kib: 19 * 1024, iterations: 2, parallelism: 1 };

/// Argon2 takes no such cost, for the reason given.
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
    /// It is, and the hash on file was made with other parameters: here is one made with today's.
    RightWith {
        /// A PHC string.
        new_hash: String,
    },
    /// It is not.
    Wrong,
}

type Work = Box<dyn FnOnce(&Hasher) + Send>;

/// The threads and their queue. The threads end when it is dropped and the queue is done.
#[derive(Clone, Debug)]
pub struct Passwords {
    queue: SyncSender<Work>,
}

struct Hasher {
    argon2: Argon2<'static>,
    /// Verified when there is no such account, so that it takes as long as when there is.
    dummy: String,
}

impl Passwords {
    /// `threads` hash at once, `waiting` more may wait.
    pub fn start(cost: Cost, threads: usize, waiting: usize) -> Result<Passwords, BadCost> {
        let argon2 = argon2(cost)?;
        let dummy = argon2.hash_password(b"nobody's").map_err(|e| BadCost(e.to_string()))?.to_string();
        let hasher = Arc::new(Hasher { argon2, dummy });
        let (queue, work) = sync_channel::<Work>(waiting);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..threads.max(1) {
            let (hasher, work) = (hasher.clone(), work.clone());
            thread::Builder::new()
                .name("password".to_owned())
                .spawn(move || run(&hasher, &work))
                .map_err(|e| BadCost(e.to_string()))?;
        }
        Ok(Passwords { queue })
    }

    /// Compares an attempt with a PHC string; `None` where there is no account takes as long and is wrong.
    pub async fn verify(&self, attempt: String, hash: Option<String>) -> Result<Verdict, Busy> {
        let (answer, verdict) = oneshot::channel();
        let work: Work = Box::new(move |hasher| {
            // Whoever asked may be gone; the work was done all the same, as its place in the queue promised.
            let _ = answer.send(hasher.verify(&attempt, hash.as_deref()));
        });
        self.queue.try_send(work).map_err(|_| Busy)?;
        verdict.await.map_err(|_| Busy)
    }
}

/// A PHC string for a new password, made on this thread: for the command line.
pub fn hash(password: &str, cost: Cost) -> Result<String, BadCost> {
    let hash = argon2(cost)?.hash_password(password.as_bytes()).map_err(|e| BadCost(e.to_string()))?;
    Ok(hash.to_string())
}

/// Whether argon2 takes these parameters.
pub fn check(cost: Cost) -> Result<(), BadCost> {
    argon2(cost).map(|_| ())
}

fn argon2(cost: Cost) -> Result<Argon2<'static>, BadCost> {
    let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None);
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|e| BadCost(e.to_string()))?))
}

/// How far the threads stand back behind those that serve (`nice`, 19 at the most).
const NICENESS: i32 = 10;

fn run(hasher: &Hasher, work: &Mutex<Receiver<Work>>) {
    // On Linux this is for the calling thread alone. Where it is not allowed, logins are only less considerate.
    let _ = setpriority_process(None, NICENESS);
    loop {
        let next = work.lock().unwrap_or_else(|broken| broken.into_inner()).recv();
        match next {
            Ok(work) => work(hasher),
            Err(_) => return,
        }
    }
}

impl Hasher {
    fn verify(&self, attempt: &str, hash: Option<&str>) -> Verdict {
        let Some(hash) = hash else {
            let _ = PasswordHash::new(&self.dummy).map(|dummy| self.argon2.verify_password(attempt.as_bytes(), &dummy));
            return Verdict::Wrong;
        };
        let Ok(parsed) = PasswordHash::new(hash) else { return Verdict::Wrong };
        if self.argon2.verify_password(attempt.as_bytes(), &parsed).is_err() {
            return Verdict::Wrong;
        }
        let same = Params::try_from(&parsed).is_ok_and(|params| {
            let ours = self.argon2.params();
            (params.m_cost(), params.t_cost(), params.p_cost()) == (ours.m_cost(), ours.t_cost(), ours.p_cost())
        });
        if same {
            return Verdict::Right;
        }
        match self.argon2.hash_password(attempt.as_bytes()) {
            Ok(new) => Verdict::RightWith { new_hash: new.to_string() },
            Err(_) => Verdict::Right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1, parallelism: 1 };

    #[tokio::test]
    async fn right_wrong_and_nobody() {
        let passwords = Passwords::start(CHEAP, 1, 4).expect("the cost is valid");
        let hash = hash("surabaya", CHEAP).expect("the cost is valid");
        let verify = |attempt: &str, hash: Option<&str>| passwords.verify(attempt.to_owned(), hash.map(str::to_owned));
        assert_eq!(verify("surabaya", Some(&hash)).await, Ok(Verdict::Right));
        assert_eq!(verify("Surabaya", Some(&hash)).await, Ok(Verdict::Wrong));
        assert_eq!(verify("surabaya", None).await, Ok(Verdict::Wrong));
        assert_eq!(verify("surabaya", Some("no PHC string")).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn another_cost_on_file_gives_a_new_hash() {
        let dearer = Cost { iterations: 2, ..CHEAP };
        let passwords = Passwords::start(dearer, 1, 4).expect("the cost is valid");
        let old = hash("surabaya", CHEAP).expect("the cost is valid");
        let Ok(Verdict::RightWith { new_hash }) = passwords.verify("surabaya".to_owned(), Some(old)).await else {
            panic!("the parameters differ");
        };
        assert_eq!(passwords.verify("surabaya".to_owned(), Some(new_hash)).await, Ok(Verdict::Right));
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_busy() {
        let passwords = Passwords::start(CHEAP, 1, 1).expect("the cost is valid");
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let block = move |_: &Hasher| {
            let _ = begun.send(());
            let _ = held.recv();
        };
        passwords.queue.try_send(Box::new(block)).expect("the queue is empty");
        has_begun.await.expect("the thread took it");
        passwords.queue.try_send(Box::new(|_| {})).expect("there is room for one");
        assert_eq!(passwords.verify("x".to_owned(), None).await, Err(Busy));
        drop(hold);
    }

    #[test]
    fn impossible_costs_are_refused() {
        assert!(check(Cost { memory_kib: 0, ..CHEAP }).is_err());
        assert!(check(OWASP_MINIMUM).is_ok());
    }
}
