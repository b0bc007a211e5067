//! The writer of a node: it takes whatever waits, sends it with one statement, and answers each. A batch has a number,
//! so that one whose answer was lost is asked for again and is done once. What is to groups, under keys, or to
//! somebody with little room goes one by one, in a statement of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashSet;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, warn};

use super::sends::{self, BatchAnswer, MailLimits, PgSend, Plain};
use super::{AGAIN, PgShared, in_time, is_away, servers};
use crate::model::{MessageId, UserId};
use crate::repository::{Error, PerMessage, SendResult};

/// How many requests go into one statement.
const BATCH: usize = 256;
/// How many pairs of people the writer remembers of whom it is known that they have written to each other.
const PAIRS: usize = 500_000;

/// Why a batch has no answer.
enum BatchFailure {
    /// Whether it was done is not known.
    Unknown(sqlx::Error),
    /// It was not done.
    Refused(sqlx::Error),
}

struct NodeWriter {
    shared: Arc<PgShared>,
    db: Option<PgConnection>,
    /// The number under which the database knows this writer, and that of its last batch.
    id: i64,
    number: i64,
    /// Who has written to whom.
    pairs: FxHashSet<(i64, i64)>,
    limits: MailLimits,
}

/// Sends until there is nobody any more who could bring something.
pub(super) async fn run(shared: Arc<PgShared>, mut waiting: mpsc::Receiver<PgSend>) {
    let limits = MailLimits::of(&shared.options);
    let mut writer = NodeWriter { shared, db: None, id: 0, number: 0, pairs: FxHashSet::default(), limits };
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (each, plain) = batch.drain(..).partition(is_special);
        let tight = writer.send_plain(plain).await;
        writer.send_each(each).await;
        writer.send_each(tight).await;
    }
}

fn is_special(send: &PgSend) -> bool {
    send.key.is_some() || send.messages.iter().any(|message| message.to.group().is_some())
}

impl NodeWriter {
    /// Sends messages between people; gives those that are to be sent one by one.
    async fn send_plain(&mut self, mut sends: Vec<PgSend>) -> Vec<PgSend> {
        let mut tight = Vec::new();
        while !sends.is_empty() {
            let plain = Plain::of(&sends, &self.pairs);
            match self.batch(|id, number, limits| plain.statement(id, number, limits)).await {
                Ok(answer) if answer.ids.is_none() => {
                    let accounts: HashSet<i64> = answer.reached.unwrap_or_default().into_iter().collect();
                    let concerns = |send: &PgSend| sends::concerns(send, &accounts);
                    let (those, rest): (Vec<_>, Vec<_>) = sends.into_iter().partition(concerns);
                    if those.is_empty() {
                        // Nothing would ever change.
                        return rest.into_iter().chain(tight).collect();
                    }
                    tight.extend(those);
                    sends = rest;
                }
                Ok(answer) => {
                    self.remember(&plain);
                    self.tell(&sends, &[]);
                    self.answer(sends, &answer);
                    break;
                }
                Err(BatchFailure::Refused(error)) if sends.len() > 1 => {
                    // One of them cannot be stored, and the others can.
                    warn!(%error, "a batch was refused, so its messages are sent one by one");
                    tight.append(&mut sends);
                }
                Err(failure) => {
                    fail(sends, failure);
                    break;
                }
            }
        }
        tight
    }

    /// Sends messages of all kinds, each on its own. One that cannot be stored fails alone.
    async fn send_each(&mut self, sends: Vec<PgSend>) {
        for part in sends::without_equal_keys(sends) {
            let each = sends::Each::of(&part);
            match self.batch(|id, number, limits| each.statement(id, number, limits)).await {
                Ok(answer) => {
                    self.tell(&part, answer.reached.as_deref().unwrap_or_default());
                    self.answer(part, &answer);
                }
                Err(BatchFailure::Refused(error)) if part.len() > 1 => {
                    warn!(%error, "a batch was refused, so its messages are sent one by one");
                    for send in part {
                        let alone = [send];
                        let each = sends::Each::of(&alone);
                        let sent = self.batch(|id, number, limits| each.statement(id, number, limits)).await;
                        let alone = alone.into_iter().collect::<Vec<_>>();
                        match sent {
                            Ok(answer) => {
                                self.tell(&alone, answer.reached.as_deref().unwrap_or_default());
                                self.answer(alone, &answer);
                            }
                            Err(failure) => fail(alone, failure),
                        }
                    }
                }
                Err(failure) => fail(part, failure),
            }
        }
    }

    /// Has a statement done once, and asks for its answer until that is there or the time is over.
    async fn batch<'q>(
        &mut self,
        statement: impl Fn(i64, i64, MailLimits) -> sends::BatchStatement<'q>,
    ) -> Result<BatchAnswer, BatchFailure> {
        if self.id != self.shared.node() {
            self.id = self.shared.node();
            self.number = 0;
        }
        self.number += 1;
        let begun = Instant::now();
        let mut was_asked = false;
        // Time for a second server, where the first one stands still.
        let patience = self.shared.options.busy_timeout / 2;
        loop {
            let (id, number, limits) = (self.id, self.number, self.limits);
            let answer = match self.connected().await {
                Ok(db) => {
                    was_asked = true;
                    in_time(statement(id, number, limits).fetch_one(db), patience).await
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => {
                    self.shared.commits.observe(begun.elapsed());
                    return Ok(answer);
                }
                Err(error) if is_away(&error) => {
                    self.db = None;
                    if begun.elapsed() >= self.shared.options.busy_timeout {
                        return Err(match was_asked {
                            true => BatchFailure::Unknown(error),
                            false => BatchFailure::Refused(error),
                        });
                    }
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(BatchFailure::Refused(error)),
            }
        }
    }

    async fn connected(&mut self) -> sqlx::Result<&mut PgConnection> {
        if self.db.is_none() {
            let former = self.db.replace(self.shared.servers.connect().await?);
            if let Some(former) = former {
                servers::close(former).await;
            }
        }
        self.db.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    fn remember(&mut self, plain: &Plain<'_>) {
        if self.pairs.len() > PAIRS {
            self.pairs.clear();
        }
        self.pairs.extend(plain.fresh_pairs());
    }

    /// Wakes those whom it concerns, here and on other nodes.
    fn tell(&self, sends: &[PgSend], reached: &[i64]) {
        let mut users: Vec<UserId> = reached.iter().map(|id| UserId(*id)).collect();
        for message in sends.iter().flat_map(|send| &send.messages) {
            users.push(message.sender);
            users.extend(message.to.user());
        }
        users.sort_unstable();
        users.dedup();
        self.shared.tell_of_mail(&users);
    }

    fn answer(&self, sends: Vec<PgSend>, answer: &BatchAnswer) {
        let ids = answer.ids.as_deref().unwrap_or_default();
        let missing = answer.missing.as_deref().unwrap_or_default();
        let mut results = ids.iter().enumerate().map(|(place, id)| result(*id, missing.get(place).copied()));
        for send in sends {
            let its: PerMessage<SendResult> = results.by_ref().take(send.messages.len()).collect();
            self.shared.accepted.add(its.iter().filter(|it| matches!(it, SendResult::Stored { .. })).count());
            // Whoever asked may have gone.
            let _ = send.answer.send(Ok(its));
        }
    }
}

fn result(id: i64, missing: Option<i64>) -> SendResult {
    match id {
        -1 => SendResult::InboxFull,
        -2 => SendResult::NotAMember,
        -3 => SendResult::StoredFull,
        id => {
            let not_delivered = missing.and_then(|missing| usize::try_from(missing).ok()).unwrap_or(0);
            SendResult::Stored { id: MessageId(id), not_delivered }
        }
    }
}

fn fail(sends: Vec<PgSend>, failure: BatchFailure) {
    let why = match failure {
        BatchFailure::Unknown(error) => {
            error!(%error, "PostgreSQL did not answer: whether a batch of messages is stored is not known");
            Error::new(format!("PostgreSQL did not answer in time: the message may be stored or not ({error})"))
        }
        BatchFailure::Refused(error) => {
            error!(%error, "messages were not stored");
            Error::new(error)
        }
    };
    for send in sends {
        let _ = send.answer.send(Err(why.clone()));
    }
}
