//! The kinds of store that the contract of the store is held against: `repository`, `group_store`, `following`,
//! `send_keys`, `leases` and `stored` say what it is, and each of its tests is given a place of each kind.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chatd::internals::repository::sqlite::{self, Role, SqliteRepository};
use chatd::internals::repository::{self, Repository, StoreOptions};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::cluster::Cluster;
use crate::repository::{crash, quick_folder};

/// Makes a test of each of these functions for each kind of store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test]
            fn $test() {
                crate::stores::run(super::$test(crate::stores::Place::sqlite()));
            })+
        }

        mod on_postgres {
            $(#[test]
            fn $test() {
                if let Some(place) = crate::stores::Place::postgres(1) {
                    crate::stores::run(super::$test(place));
                }
            })+
        }

        mod on_two_nodes {
            $(#[test]
            fn $test() {
                if let Some(place) = crate::stores::Place::postgres(2) {
                    crate::stores::run(super::$test(place));
                }
            })+
        }
    };
}
pub(crate) use on_every_store;

/// Where a store lies, for as long as a test lasts.
pub enum Place {
    /// A directory of its own.
    Sqlite(tempfile::TempDir),
    /// A database of its own, and how many nodes have it open beside each other.
    Postgres(&'static Cluster, String, usize),
}

/// What can be asked as a store.
pub trait Opened: Sync {
    fn store(&self) -> &dyn Repository;
}

impl Opened for SqliteRepository {
    fn store(&self) -> &dyn Repository {
        self
    }
}

impl Opened for Nodes {
    fn store(&self) -> &dyn Repository {
        &**self
    }
}

impl<T: Opened + Send> Opened for Arc<T> {
    fn store(&self) -> &dyn Repository {
        (**self).store()
    }
}

/// A store that is open, in one process or in several beside each other: each call goes to the next of them, so that
/// whatever one does, another answers for.
pub struct Nodes {
    open: Vec<Arc<dyn Repository>>,
    next: AtomicUsize,
}

impl Deref for Nodes {
    type Target = dyn Repository;

    fn deref(&self) -> &(dyn Repository + 'static) {
        if self.open.len() > 1 {
            // What one node was given before is done before another is asked: it is not said when that is, else.
            block_in_place(|| Handle::current().block_on(self.settled()));
        }
        &*self.open[self.next.fetch_add(1, Ordering::Relaxed) % self.open.len()]
    }
}

impl Nodes {
    async fn settled(&self) {
        for node in &self.open {
            // One that was closed has settled all.
            let _ = node.confirmed().await;
        }
    }

    /// An orderly stop of all.
    pub async fn stop(self) {
        for node in self.open {
            node.close().await.expect("it closes");
        }
    }
}

impl Place {
    pub fn sqlite() -> Place {
        Place::Sqlite(quick_folder())
    }

    /// `None` where no PostgreSQL is installed.
    pub fn postgres(nodes: usize) -> Option<Place> {
        let cluster = Cluster::get()?;
        Some(Place::Postgres(cluster, cluster.database(), nodes))
    }

    pub fn url(&self) -> String {
        match self {
            Place::Postgres(_, url, _) => url.clone(),
            Place::Sqlite(folder) => format!("sqlite://{}", folder.path().join("chat.db").display()),
        }
    }

    pub async fn open(&self, options: &StoreOptions) -> Nodes {
        let count = if let Place::Postgres(_, _, nodes) = self { *nodes } else { 1 };
        let mut open = Vec::new();
        for _ in 0..count {
            let store = repository::open(&self.url(), options, Role::Server).await.expect("it opens");
            open.push(store.repository);
        }
        Nodes { open, next: AtomicUsize::new(0) }
    }

    /// An orderly stop, and a start.
    pub async fn reopen(&self, nodes: Nodes, options: &StoreOptions) -> Nodes {
        nodes.stop().await;
        self.open(options).await
    }

    /// A start that finds what a process leaves that is killed now.
    pub async fn crash(&mut self, nodes: Nodes, options: &StoreOptions) -> Nodes {
        match self {
            Place::Sqlite(folder) => {
                let copy = crash(folder.path());
                let former = std::mem::replace(folder, copy);
                nodes.stop().await;
                drop(former);
            }
            // As if the nodes had stood still for an hour: what they held is others', and they hear it with their next
            // beat.
            Place::Postgres(cluster, url, _) => {
                nodes.settled().await;
                cluster.sql_at(url, "UPDATE node SET beat_at = beat_at - interval '1 hour'");
                nodes.stop().await;
            }
        }
        self.open(options).await
    }

    /// Whether what was left of a store that was stopped is whole; gives how many messages in it are unread, where that
    /// can be told from outside.
    pub async fn verify(&self, options: &StoreOptions) -> Option<i64> {
        match self {
            Place::Sqlite(folder) => {
                let found = sqlite::verify::verify(&folder.path().join("chat.db"), options).await;
                Some(found.expect("it is whole").unread)
            }
            Place::Postgres(cluster, url, _) => {
                let counted = "SELECT coalesce(sum(received - read), 0) FROM mailbox JOIN hand USING (account)";
                let found = "SELECT count(*) FROM hand CROSS JOIN LATERAL unread_mail(account)";
                assert_eq!(cluster.sql_at(url, found), cluster.sql_at(url, counted), "as many as are counted");
                let messages = "SELECT count(DISTINCT id) FROM hand CROSS JOIN LATERAL unread_mail(account)";
                Some(cluster.sql_at(url, messages).parse().expect("a number"))
            }
        }
    }
}

/// Runs a test on PostgreSQL, with one node and with two, where it is installed.
pub fn run_on_postgres<F: Future<Output = ()>>(test: impl Fn(Place) -> F) {
    for place in [1, 2].into_iter().filter_map(Place::postgres) {
        run(test(place));
    }
}

/// Runs a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(test)
}
