//! What an inbox takes: mail that waits is handed out under a lease of this node, and put in the order of the reply.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::error;

use super::settle::{EndedLease, HeldInFlight, SettleJob, flushed};
use super::{AGAIN, PgShared, PostgresRepository, closed, is_away, unavailable};
use crate::model::{Address, GroupId, Message, MessageId, Timestamp, UserId};
use crate::repository::{AddressedMessage, Delivery, Error, Hold, InboxQuery, Lease};

const HAND_OUT: &str = "SELECT id, target, sender, sent_at, text FROM hand_out($1, $2, $3, $4, $5, $6)";
const ALL_SENDERS: &str = "SELECT first_id, sender FROM correspondent WHERE recipient = $1";
const SENDERS: &str = "SELECT first_id, sender FROM correspondent WHERE recipient = $1 AND sender = ANY ($2)";
const READ: &str = "SELECT read_upto($1, $2, $3)";
/// The node is dead by the database's clock.
const DEAD: &str = "CH003";

type MailRow = (i64, i64, i64, i64, Vec<u8>);

/// A number as the database has it.
pub(super) fn limit(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A text as it was sent; the database has been given UTF-8 and nothing else.
pub(super) fn text(bytes: Vec<u8>) -> std::sync::Arc<str> {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()).into()
}

/// One request for what waits. It runs as a task of its own, because what the database hands out needs a lease, also
/// when whoever asked is gone.
struct HandOut {
    shared: Arc<PgShared>,
    settling: mpsc::UnboundedSender<SettleJob>,
    recipient: UserId,
    want: InboxQuery,
}

impl HandOut {
    async fn run(self) -> Result<(Vec<MailRow>, Lease), Error> {
        let begun = Instant::now();
        let mut held = self.new_lease();
        loop {
            let EndedLease { node, lease, .. } = held.lease;
            match self.ask(node, lease).await {
                Ok(rows) => {
                    let mut senders: Vec<UserId> =
                        rows.iter().filter(|row| row.1 == self.recipient.0).map(|row| UserId(row.2)).collect();
                    senders.sort_unstable();
                    senders.dedup();
                    held.lease.senders = senders;
                    let lease = Lease::new(self.recipient, rows.len(), Box::new(held));
                    return Ok((rows, lease));
                }
                Err(error) => {
                    let is_dead = error.as_database_error().is_some_and(|it| it.code().as_deref() == Some(DEAD));
                    let gives_up = !(is_dead || is_away(&error)) || begun.elapsed() >= self.shared.options.busy_timeout;
                    // It may have been done all the same. So the same lease is asked for again, or it is over.
                    if gives_up || node != self.shared.node() {
                        Box::new(std::mem::replace(&mut held, self.new_lease())).release();
                    }
                    if gives_up {
                        error!(%error, "an inbox could not be read");
                        return Err(Error::new(error));
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// A lease of this node, which has no messages yet.
    fn new_lease(&self) -> HeldInFlight {
        let (node, account) = (self.shared.node(), self.recipient);
        let lease = self.shared.next_lease.fetch_add(1, Ordering::Relaxed);
        let lease = EndedLease { node, account, lease, is_read: false, senders: Vec::new() };
        HeldInFlight { lease, settling: self.settling.clone() }
    }

    async fn ask(&self, node: i64, lease: i64) -> sqlx::Result<Vec<MailRow>> {
        self.must_be_alive()?;
        let rows = sqlx::query_as(HAND_OUT)
            .bind(self.recipient.0)
            .bind(node)
            .bind(lease)
            .bind(self.want.session.map(|session| session.0))
            .bind(limit(self.want.messages))
            .bind(i64::try_from(self.want.bytes).unwrap_or(i64::MAX))
            .fetch_all(self.shared.servers.reads())
            .await?;
        // After a pause of this process another node may have them.
        self.must_be_alive()?;
        Ok(rows)
    }

    fn must_be_alive(&self) -> sqlx::Result<()> {
        let is_alive = self.shared.cache().is_alive();
        is_alive.then_some(()).ok_or_else(|| sqlx::Error::Protocol("this node was away from PostgreSQL".to_owned()))
    }
}

impl PostgresRepository {
    /// Hands out what waits.
    pub(super) async fn deliver(&self, recipient: UserId, want: InboxQuery) -> Result<Delivery, Error> {
        let settling = self.settling.clone().ok_or_else(closed)?;
        let hand_out = HandOut { shared: self.shared.clone(), settling, recipient, want };
        let (rows, mut lease) = tokio::spawn(hand_out.run()).await.map_err(Error::new)??;
        if let Some(session) = want.session {
            lease.end_with(session, &self.shared.leases);
            if self.shared.cache().has_ended(session) {
                return Ok(Delivery::default());
            }
        }
        let delivery = self.in_order(recipient, rows, want).await?;
        Ok(Delivery { lease: (!lease.is_empty()).then_some(lease), ..delivery })
    }

    /// By sender, in the order of their first message ever; what somebody wrote to a group counts from here on.
    async fn in_order(&self, recipient: UserId, rows: Vec<MailRow>, want: InboxQuery) -> Result<Delivery, Error> {
        let mut among: Vec<i64> = rows.iter().map(|row| row.2).collect();
        among.sort_unstable();
        among.dedup();
        let mut first: Vec<(i64, i64)> = if want.drained_senders {
            self.look(|| sqlx::query_as(ALL_SENDERS).bind(recipient.0).fetch_all(self.shared.servers.reads())).await?
        } else if among.len() > 1 {
            self.look(|| sqlx::query_as(SENDERS).bind(recipient.0).bind(&among).fetch_all(self.shared.servers.reads()))
                .await?
        } else {
            Vec::new()
        };
        first.extend(rows.iter().filter(|row| row.1 != recipient.0 || among.len() < 2).map(|row| (row.0, row.2)));
        first.sort_unstable();
        let mut seen = HashSet::new();
        let order = first.into_iter().map(|(_, sender)| sender).chain(among);
        let order: Vec<i64> = order.filter(|sender| seen.insert(*sender)).collect();
        let place: HashMap<i64, usize> = order.iter().enumerate().map(|(place, sender)| (*sender, place)).collect();
        let mut senders: Vec<(UserId, Vec<AddressedMessage>)> =
            order.iter().map(|sender| (UserId(*sender), Vec::new())).collect();
        for (id, target, sender, sent_at, bytes) in rows {
            let message = Message { id: MessageId(id), sent_at: Timestamp(sent_at), text: text(bytes) };
            let to = if target == recipient.0 { Address::from(recipient) } else { GroupId(target).into() };
            senders[place[&sender]].1.push(AddressedMessage { message, to });
        }
        Ok(Delivery { senders, lease: None })
    }

    /// Takes what these wrote up to a message off the queue.
    pub(super) async fn read_up_to(
        &self,
        recipient: UserId,
        senders: Vec<Address>,
        to: MessageId,
    ) -> Result<usize, Error> {
        // What this connection has confirmed is read before.
        self.settled().await?;
        let shares: Vec<i64> = senders.iter().map(|sender| sender.number()).collect();
        // To read twice what was read changes nothing, but the number would be lost.
        let mut db = self.connection().await?;
        let read: i64 = sqlx::query_scalar(READ)
            .bind(recipient.0)
            .bind(&shares)
            .bind(to.0)
            .fetch_one(&mut *db)
            .await
            .map_err(unavailable)?;
        let read = usize::try_from(read).unwrap_or(0);
        if read > 0 {
            self.shared.delivered.add(read);
            let mut users: Vec<UserId> = senders.iter().filter_map(|sender| sender.user()).collect();
            users.push(recipient);
            self.shared.tell_of_reading(&users);
        }
        Ok(read)
    }

    /// Ready when all leases that ended before are ended in the database.
    pub(super) async fn settled(&self) -> Result<(), Error> {
        match &self.settling {
            Some(settling) => flushed(settling).await,
            None => Ok(()),
        }
    }
}
