//! Messages as the two statements that send them take them: columns, with each account that they concern once and in
//! the order of the numbers.

use std::collections::{BTreeMap, HashSet};

use rustc_hash::FxHashSet;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryAs;
use tokio::sync::oneshot;

use crate::model::{FileId, SendKey};
use crate::repository::memory::stored::PER_MESSAGE;
use crate::repository::{Error, NewMessage, PerMessage, SendResult, StoreOptions};

const PLAIN: &str =
    "SELECT ids, missing, reached FROM send_plain($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
const EACH: &str =
    "SELECT ids, missing, reached FROM send_each($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
/// How long a key is kept, in milliseconds.
const KEPT: i64 = 7 * 24 * 3_600_000;

/// A request to send.
pub(super) struct PgSend {
    pub messages: PerMessage<NewMessage>,
    pub key: Option<SendKey>,
    /// A file that all of them bring, and its bytes.
    pub file: Option<(FileId, u64)>,
    pub answer: oneshot::Sender<Result<PerMessage<SendResult>, Error>>,
}

/// What a statement says of its messages.
#[derive(sqlx::FromRow)]
pub(super) struct BatchAnswer {
    pub ids: Option<Vec<i64>>,
    /// Of each, how many members did not get it.
    pub missing: Option<Vec<i64>>,
    /// Members of groups; without `ids` the accounts that have little room.
    pub reached: Option<Vec<i64>>,
}

pub(super) type BatchStatement<'q> = QueryAs<'q, Postgres, BatchAnswer, PgArguments>;

/// What an account may have, as the database counts.
#[derive(Clone, Copy)]
pub(super) struct MailLimits {
    messages: i64,
    bytes: i64,
    stored: i64,
}

impl MailLimits {
    pub(super) fn of(options: &StoreOptions) -> MailLimits {
        let number = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        MailLimits {
            messages: number(options.inbox_messages),
            bytes: number(options.inbox_bytes),
            stored: number(options.stored_bytes),
        }
    }
}

/// Whether a request has to do with one of these accounts.
pub(super) fn concerns(send: &PgSend, accounts: &HashSet<i64>) -> bool {
    send.messages.iter().any(|it| accounts.contains(&it.sender.0) || accounts.contains(&it.to.number()))
}

/// The columns that both statements have.
#[derive(Default)]
struct SendColumns<'a> {
    senders: Vec<i64>,
    targets: Vec<i64>,
    texts: Vec<&'a [u8]>,
    files: Vec<Option<i64>>,
    attached: Vec<Option<i64>>,
}

impl<'a> SendColumns<'a> {
    fn of(sends: &'a [PgSend]) -> SendColumns<'a> {
        let mut all = SendColumns::default();
        for send in sends {
            let attached = send.file.map(|(_, bytes)| i64::try_from(bytes).unwrap_or(i64::MAX));
            for message in &send.messages {
                all.senders.push(message.sender.0);
                all.targets.push(message.to.number());
                all.texts.push(message.text.as_bytes());
                all.files.push(send.file.map(|(file, _)| file.0));
                all.attached.push(attached);
            }
        }
        all
    }

    fn size(&self, place: usize) -> i64 {
        let text = i64::try_from(self.texts[place].len()).unwrap_or(i64::MAX);
        text.saturating_add(self.attached[place].unwrap_or(0))
    }
}

/// What comes to one account, and what it is charged.
#[derive(Default)]
struct Coming {
    count: i64,
    bytes: i64,
    charge: i64,
}

/// Messages between people.
pub(super) struct Plain<'a> {
    columns: SendColumns<'a>,
    accounts: BTreeMap<i64, Coming>,
    /// Places, from 1, of messages between two of whom it is not known that they have written to each other.
    fresh: Vec<i64>,
}

impl<'a> Plain<'a> {
    pub(super) fn of(sends: &'a [PgSend], known: &FxHashSet<(i64, i64)>) -> Plain<'a> {
        let columns = SendColumns::of(sends);
        let (mut accounts, mut fresh): (BTreeMap<i64, Coming>, _) = (BTreeMap::new(), Vec::new());
        for (place, (sender, target)) in columns.senders.iter().zip(&columns.targets).enumerate() {
            let size = columns.size(place);
            let recipient = accounts.entry(*target).or_default();
            recipient.count += 1;
            recipient.bytes = recipient.bytes.saturating_add(size);
            let charge = size.saturating_add(i64::try_from(PER_MESSAGE).unwrap_or(i64::MAX));
            let sending = accounts.entry(*sender).or_default();
            sending.charge = sending.charge.saturating_add(charge);
            if !known.contains(&(*target, *sender)) {
                fresh.push(i64::try_from(place + 1).unwrap_or(i64::MAX));
            }
        }
        Plain { columns, accounts, fresh }
    }

    /// Recipients and senders who are known to each other now.
    pub(super) fn fresh_pairs(&self) -> impl Iterator<Item = (i64, i64)> {
        let places = self.fresh.iter().filter_map(|place| usize::try_from(place - 1).ok());
        places.map(|place| (self.columns.targets[place], self.columns.senders[place]))
    }

    pub(super) fn statement<'q>(&self, writer: i64, number: i64, limits: MailLimits) -> BatchStatement<'q> {
        let column = |of: fn(&Coming) -> i64| self.accounts.values().map(of).collect::<Vec<i64>>();
        sqlx::query_as(PLAIN)
            .bind(writer)
            .bind(number)
            .bind(self.columns.senders.clone())
            .bind(self.columns.targets.clone())
            .bind(owned(&self.columns.texts))
            .bind(self.columns.files.clone())
            .bind(self.columns.attached.clone())
            .bind(self.accounts.keys().copied().collect::<Vec<i64>>())
            .bind(column(|it| it.count))
            .bind(column(|it| it.bytes))
            .bind(column(|it| it.charge))
            .bind(self.fresh.clone())
            .bind(limits.messages)
            .bind(limits.bytes)
            .bind(limits.stored)
    }
}

fn owned(texts: &[&[u8]]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.to_vec()).collect()
}

/// Messages of all kinds.
pub(super) struct Each<'a> {
    columns: SendColumns<'a>,
    grouped: Vec<bool>,
    keys: Vec<Option<&'a str>>,
}

impl<'a> Each<'a> {
    pub(super) fn of(sends: &'a [PgSend]) -> Each<'a> {
        let all = || sends.iter().flat_map(|send| send.messages.iter().map(move |message| (send, message)));
        Each {
            columns: SendColumns::of(sends),
            grouped: all().map(|(_, message)| message.to.group().is_some()).collect(),
            keys: all().map(|(send, _)| send.key.as_ref().map(SendKey::as_str)).collect(),
        }
    }

    pub(super) fn statement<'q>(&self, writer: i64, number: i64, limits: MailLimits) -> BatchStatement<'q> {
        sqlx::query_as(EACH)
            .bind(writer)
            .bind(number)
            .bind(self.columns.senders.clone())
            .bind(self.columns.targets.clone())
            .bind(owned(&self.columns.texts))
            .bind(self.columns.files.clone())
            .bind(self.columns.attached.clone())
            .bind(self.grouped.clone())
            .bind(self.keys.iter().map(|key| key.map(str::to_owned)).collect::<Vec<Option<String>>>())
            .bind(KEPT)
            .bind(limits.messages)
            .bind(limits.bytes)
            .bind(limits.stored)
    }
}

/// How many messages go one by one in one statement, at the most: all who send wait meanwhile.
const TOGETHER: usize = 32;

/// Parts of requests, in none of which there are two of one sender under one key: the second is to find the first.
pub(super) fn without_equal_keys(sends: Vec<PgSend>) -> Vec<Vec<PgSend>> {
    let mut parts: Vec<Vec<PgSend>> = Vec::new();
    let mut keys = HashSet::new();
    let mut count = 0;
    for send in sends {
        let key = send.key.clone().zip(send.messages.first().map(|message| message.sender));
        let is_there = key.is_some_and(|key| !keys.insert(key));
        let key = send.key.clone().zip(send.messages.first().map(|message| message.sender));
        if is_there || count >= TOGETHER || parts.is_empty() {
            keys = key.into_iter().collect();
            count = 0;
            parts.push(Vec::new());
        }
        count += send.messages.len();
        if let Some(part) = parts.last_mut() {
            part.push(send);
        }
    }
    parts
}
