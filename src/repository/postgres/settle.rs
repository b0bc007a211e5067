//! The ends of leases: each was read, or waits again. They are told to the database in their order, several at once,
//! and again until it has heard of them.

use std::sync::Arc;

use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::warn;

use super::{AGAIN, PgShared, is_away};
use crate::model::UserId;
use crate::repository::{Error, Hold};

const SETTLE: &str = "SELECT settle($1, $2, $3, $4)";
/// How many go into one statement.
const BATCH: usize = 256;

/// The end of a lease, or somebody who waits for all before him.
pub(super) enum SettleJob {
    /// A lease is over.
    End(EndedLease),
    /// Answered when all before it is done.
    Flush(oneshot::Sender<()>),
}

/// A lease that is over.
pub(super) struct EndedLease {
    pub node: i64,
    pub account: UserId,
    pub lease: i64,
    pub is_read: bool,
    /// Who hears that it was read.
    pub senders: Vec<UserId>,
}

/// What a lease holds of the database.
pub(super) struct HeldInFlight {
    pub lease: EndedLease,
    pub settling: mpsc::UnboundedSender<SettleJob>,
}

impl HeldInFlight {
    fn end(self, is_read: bool) {
        // Where nobody takes it any more, the node has let go of all it held.
        let _ = self.settling.send(SettleJob::End(EndedLease { is_read, ..self.lease }));
    }
}

impl Hold for HeldInFlight {
    fn confirm(self: Box<Self>) {
        self.end(true);
    }

    fn release(self: Box<Self>) {
        self.end(false);
    }
}

/// Asks for all that was given before to be done.
pub(super) async fn flushed(settling: &mpsc::UnboundedSender<SettleJob>) -> Result<(), Error> {
    let (answer, done) = oneshot::channel();
    settling.send(SettleJob::Flush(answer)).map_err(|_| super::closed())?;
    done.await.map_err(|_| super::closed())
}

/// Goes on until there is nobody any more who could hold something.
pub(super) async fn run(shared: Arc<PgShared>, mut waiting: mpsc::UnboundedReceiver<SettleJob>) {
    let mut db: Option<PgConnection> = None;
    let mut jobs = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut jobs, BATCH).await > 0 {
        let (mut ended, mut waiters) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                SettleJob::End(lease) => ended.push(lease),
                SettleJob::Flush(waiter) => waiters.push(waiter),
            }
        }
        if !ended.is_empty() {
            settle(&shared, &mut db, ended).await;
        }
        // Whoever asked may have gone.
        waiters.into_iter().for_each(|waiter| _ = waiter.send(()));
    }
}

async fn settle(shared: &PgShared, db: &mut Option<PgConnection>, mut ended: Vec<EndedLease>) {
    // Two nodes that lock in one order do not wait for each other.
    ended.sort_by_key(|lease| lease.account);
    let column = |of: fn(&EndedLease) -> i64| ended.iter().map(of).collect::<Vec<i64>>();
    let (nodes, accounts, leases) = (column(|it| it.node), column(|it| it.account.0), column(|it| it.lease));
    let is_read: Vec<bool> = ended.iter().map(|lease| lease.is_read).collect();
    let counts: Vec<i64> = loop {
        if db.is_none() {
            *db = shared.servers.connect().await.ok();
        }
        if let Some(connection) = db {
            let asked = sqlx::query_scalar(SETTLE).bind(&nodes).bind(&accounts).bind(&leases).bind(&is_read);
            match asked.fetch_one(connection).await {
                Ok(counts) => break counts,
                Err(error) if is_away(&error) => *db = None,
                Err(error) => {
                    // Their node's end gives them back.
                    warn!(%error, "leases could not be ended");
                    return;
                }
            }
        }
        sleep(AGAIN).await;
    };
    for (lease, count) in ended.iter().zip(counts) {
        if lease.is_read {
            shared.delivered.add(usize::try_from(count).unwrap_or(0));
            let mut users = lease.senders.clone();
            users.push(lease.account);
            shared.tell_of_reading(&users);
        } else {
            shared.tell_of_mail(&[lease.account]);
        }
    }
}
