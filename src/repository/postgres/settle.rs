//! The ends of leases: each was read, or waits again. They are told to the database in their order, several at once,
//! and again until it has heard of them.

use std::slice;
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{error, warn};

use super::{AGAIN, PgShared, in_time, is_away};
use crate::model::UserId;
use crate::repository::{Error, Hold};

const SETTLE: &str = "SELECT settle($1, $2, $3, $4)";
/// How many go into one statement.
const BATCH: usize = 256;

/// The end of a lease, or somebody who waits for all before him.
pub(super) enum SettleJob {
    /// A lease is over.
    End(EndedLease),
    /// Answered when all before it is done; dropped where that failed.
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

/// Asks for all that was given before to be done. An error where some of it could not be done.
pub(super) async fn flushed(settling: &mpsc::UnboundedSender<SettleJob>) -> Result<(), Error> {
    let (answer, done) = oneshot::channel();
    settling.send(SettleJob::Flush(answer)).map_err(|_| super::closed())?;
    done.await.map_err(|_| Error::new("the store is closed, or a lease could not be ended"))
}

/// Goes on until there is nobody any more who could hold something.
pub(super) async fn run(shared: Arc<PgShared>, mut waiting: mpsc::UnboundedReceiver<SettleJob>) {
    let mut settler = Settler { shared, db: None };
    let mut jobs = Vec::with_capacity(BATCH);
    // How many of the jobs were already waiting when a lease was given up.
    let mut doubtful = 0_usize;
    while waiting.recv_many(&mut jobs, BATCH).await > 0 {
        let (mut ended, mut waiters) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                SettleJob::End(lease) => ended.push(lease),
                // Dropped, it tells its owner of the failure.
                SettleJob::Flush(waiter) => waiters.extend((doubtful == 0).then_some(waiter)),
            }
            doubtful = doubtful.saturating_sub(1);
        }
        if !settler.settle(ended).await {
            waiters.clear();
            doubtful = waiting.len();
        }
        // Whoever asked may have gone.
        waiters.into_iter().for_each(|waiter| _ = waiter.send(()));
    }
}

/// Tells the database of leases that are over.
struct Settler {
    shared: Arc<PgShared>,
    db: Option<PgConnection>,
}

impl Settler {
    /// Ends these leases. `false`: one of them had to be given up.
    async fn settle(&mut self, mut ended: Vec<EndedLease>) -> bool {
        if ended.is_empty() {
            return true;
        }
        // Two nodes that lock in one order do not wait for each other.
        ended.sort_by_key(|lease| lease.account);
        let Err(error) = self.end(&ended).await else { return true };
        warn!(%error, "leases could not be ended together; each is tried alone");
        let mut are_all_ended = true;
        for lease in &ended {
            let begun = Instant::now();
            while let Err(error) = self.end(slice::from_ref(lease)).await {
                if begun.elapsed() >= self.shared.options.busy_timeout {
                    error!(%error, account = lease.account.0, "a lease could not be ended: its messages come again later");
                    are_all_ended = false;
                    break;
                }
                sleep(AGAIN).await;
            }
        }
        are_all_ended
    }

    /// Ends these in one statement, which is asked again until the server has answered it.
    async fn end(&mut self, ended: &[EndedLease]) -> sqlx::Result<()> {
        let column = |of: fn(&EndedLease) -> i64| ended.iter().map(of).collect::<Vec<i64>>();
        let (nodes, accounts, leases) = (column(|it| it.node), column(|it| it.account.0), column(|it| it.lease));
        let is_read: Vec<bool> = ended.iter().map(|lease| lease.is_read).collect();
        let counts: Vec<i64> = loop {
            if self.db.is_none() {
                self.db = self.shared.servers.connect().await.ok();
            }
            if let Some(db) = &mut self.db {
                let asked = sqlx::query_scalar(SETTLE).bind(&nodes).bind(&accounts).bind(&leases).bind(&is_read);
                match in_time(asked.fetch_one(db), self.shared.options.busy_timeout / 2).await {
                    Err(error) if is_away(&error) => self.db = None,
                    answer => break answer?,
                }
            }
            sleep(AGAIN).await;
        };
        for (lease, count) in ended.iter().zip(counts) {
            if lease.is_read {
                self.shared.delivered.add(usize::try_from(count).unwrap_or(0));
                let mut users = lease.senders.clone();
                users.push(lease.account);
                self.shared.tell_of_reading(&users);
            } else {
                self.shared.tell_of_mail(&[lease.account]);
            }
        }
        Ok(())
    }
}
