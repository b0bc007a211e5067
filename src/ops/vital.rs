//! The threads and tasks without which the program must not go on. All threads of the program are started here, so that
//! none dies unnoticed: a server waits for [`death`]. Knows nothing about their work.

use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder, JoinHandle};

use tokio::sync::Notify;
use tokio::task;

/// The names of those that died, and who waits for the first of them.
static DEAD: Mutex<Vec<String>> = Mutex::new(Vec::new());
static HEARD: Notify = Notify::const_new();

/// A thread or task. When it panics, this is dropped on the way out.
struct Life(String);

impl Drop for Life {
    fn drop(&mut self) {
        if thread::panicking() {
            dead().push(std::mem::take(&mut self.0));
            HEARD.notify_waiters();
        }
    }
}

fn dead() -> MutexGuard<'static, Vec<String>> {
    DEAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread. `name` has at most 15 bytes, or the system cuts it.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let life = Life(format!("the thread {name:?}"));
    Builder::new().name(name.to_owned()).spawn(move || {
        let _life = life;
        work()
    })
}

pub(crate) fn spawn_task<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> task::JoinHandle<T> {
    tokio::spawn(task(name, work))
}

/// Work that goes on for as long as the program, on a thread or task that is not started here.
pub(crate) async fn task<T>(name: &str, work: impl Future<Output = T>) -> T {
    let _life = Life(format!("the task {name:?}"));
    work.await
}

/// The name of the first of them that has panicked, if one has.
pub(crate) fn first_death() -> Option<String> {
    dead().first().cloned()
}

/// Waits until one of them has panicked; gives its name.
pub(crate) async fn death() -> String {
    loop {
        let heard = HEARD.notified();
        if let Some(name) = first_death() {
            return name;
        }
        heard.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_and_a_task_that_panic_are_told_of() {
        let thread = spawn("planted", || panic!("planted: this is part of a test")).expect("a thread can be had");
        assert!(thread.join().is_err());
        death().await;
        assert!(dead().contains(&"the thread \"planted\"".to_owned()));
        let task = spawn_task("planted", async { panic!("planted: this is part of a test") });
        assert!(task.await.is_err());
        assert!(dead().contains(&"the task \"planted\"".to_owned()));
    }

    #[tokio::test]
    async fn who_ends_or_is_ended_is_not_dead() {
        spawn("ended", || ()).expect("a thread can be had").join().expect("it does not panic");
        let aborted = spawn_task("aborted", std::future::pending::<()>());
        tokio::task::yield_now().await;
        aborted.abort();
        assert!(aborted.await.is_err());
        assert!(!dead().iter().any(|name| name.contains("ended") || name.contains("aborted")));
    }
}
