//! The methods of the store.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sqlx::Connection;
use tokio::sync::{broadcast, oneshot};
use tracing::warn;

use super::accounts::slack;
use super::own_account::ADD;
use super::sends::PgSend;
use super::{PostgresRepository, closed, in_time, unavailable};
use crate::clock::Steady;
use crate::model::{Address, FileId, MessageId, SendKey, SessionId, Timestamp, TokenHash, UserId, Username};
use crate::repository::{
    AddUserResult, Answer, Arrival, ConversationPage, ConversationQuery, Delivery, EndedSession, Error, FollowPage,
    FollowQuery, Following, HistoryQuery, InboxQuery, NewMessage, NewSession, NewUser, Pace, PerMessage, Removed,
    Repository, RoomInside, SendResult, Session, StoreStatus, StoredMessage, StoredReceipt, StoredSession, User,
};

const PASSWORD_HASH: &str = "SELECT password_hash FROM account WHERE id = $1 AND owner IS NULL AND removed_at IS NULL";
const STORED: &str = "SELECT coalesce(m.stored, 0) FROM unnest($1::bigint[]) WITH ORDINALITY AS u (id, place)
    LEFT JOIN mailbox m ON m.account = u.id ORDER BY u.place";
const OPEN_SESSION: &str = "SELECT open_session($1, $2, $3, $4, $5, $6, $7, $8)";
const END_SESSIONS: &str = "DELETE FROM session WHERE id = ANY ($1)";
/// Some at a time: each is told to all nodes.
const TIDY: &str = "DELETE FROM session WHERE id IN
    (SELECT id FROM session WHERE scope IS NULL AND last_used_at < $1 ORDER BY id LIMIT 500)";
const OLD_KEYS: &str = "DELETE FROM send_key WHERE sent_at < now_ms() - 7 * 86400000::bigint";
const TARGET: &str = "SELECT target FROM message WHERE id = $1";
/// How many messages are removed at a time.
const PRUNED: i64 = 1_000;
/// What a node leaves when it stops.
const LEAVE: &str = "WITH gone AS (DELETE FROM node WHERE id = $1), ours AS (DELETE FROM writer WHERE id = $1)
    UPDATE flight SET node = 0, session = NULL WHERE node = $1";

impl PostgresRepository {
    /// Hands messages to the writer, and waits for what becomes of them.
    pub(super) async fn queue(
        &self,
        messages: PerMessage<NewMessage>,
        key: Option<SendKey>,
        file: Option<(FileId, u64)>,
    ) -> Result<PerMessage<SendResult>, Error> {
        let is_fit = |message: &NewMessage| (0..=Timestamp::LAST.0).contains(&message.sent_at.0);
        if messages.is_empty() || !messages.iter().all(is_fit) {
            return Ok(messages.iter().map(|_| SendResult::Unfit).collect());
        }
        let (answer, queued) = oneshot::channel();
        let sends = self.sends.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        sends.send(PgSend { messages, key, file, answer }).await.map_err(|_| closed())?;
        queued.await.map_err(|_| closed())?
    }

    /// The same for one message under a key.
    pub(super) async fn queue_once(
        &self,
        message: NewMessage,
        key: SendKey,
        file: Option<(FileId, u64)>,
    ) -> Result<SendResult, Error> {
        let to = message.to;
        let sent = self.queue([message].into(), Some(key), file).await?.first().copied().ok_or_else(closed)?;
        let SendResult::Stored { id, .. } = sent else { return Ok(sent) };
        // The number is that of another message where the key was used before.
        let ask = || sqlx::query_scalar(TARGET).bind(id.0).fetch_optional(self.shared.servers.reads());
        match SendResult::under_key(id, self.look(ask).await?, to) {
            SendResult::Stored { .. } => Ok(sent),
            used => Ok(used),
        }
    }

    /// Has a function of one account's number done that returns nothing or a number, and looks at what it ended.
    async fn change(&self, sql: &'static str, user: UserId) -> Result<i64, Error> {
        let mut db = self.connection().await?;
        let count = sqlx::query_scalar(sql).bind(user.0).fetch_one(&mut *db).await.map_err(unavailable)?;
        self.follow_feed().await?;
        Ok(count)
    }

    async fn open_one(&self, new: NewSession) -> Result<bool, Error> {
        let mut db = self.connection().await?;
        let opened: Option<i64> = sqlx::query_scalar(OPEN_SESSION)
            .bind(new.user.0)
            .bind(new.token.0.to_vec())
            .bind(&*new.address)
            .bind(new.created_at.0)
            .bind(new.label.as_str())
            .bind(i64::try_from(new.most).unwrap_or(i64::MAX))
            .bind(&new.checked)
            .bind(&new.rehashed)
            .fetch_one(&mut *db)
            .await
            .map_err(unavailable)?;
        self.follow_feed().await?;
        Ok(opened.is_some())
    }

    async fn tidy(&self, unused_since: Timestamp) -> Result<u64, Error> {
        let before = unused_since.0.saturating_sub(slack(self.shared.time.steady(), unused_since));
        let mut count = 0;
        loop {
            let mut db = self.connection().await?;
            let ended = sqlx::query(TIDY).bind(before).execute(&mut *db).await.map_err(unavailable)?.rows_affected();
            drop(db);
            self.follow_feed().await?;
            count += ended;
            if ended == 0 {
                return Ok(count);
            }
        }
    }

    async fn prune_all(&self, read_before: Timestamp) -> Result<u64, Error> {
        self.settled().await?;
        let mut count = 0;
        loop {
            let mut db = self.connection().await?;
            let pruned = sqlx::query_scalar("SELECT prune_some($1, $2)").bind(read_before.0).bind(PRUNED);
            let pruned: i64 = pruned.fetch_one(&mut *db).await.map_err(unavailable)?;
            if pruned == 0 {
                sqlx::query(OLD_KEYS).execute(&mut *db).await.map_err(unavailable)?;
                break;
            }
            count += u64::try_from(pruned).unwrap_or(0);
        }
        self.remove_unused_files().await?;
        Ok(count)
    }

    async fn leave(&self) -> sqlx::Result<()> {
        let mut db = self.shared.servers.connect().await?;
        sqlx::query(LEAVE).bind(self.shared.node()).execute(&mut db).await?;
        db.close().await
    }

    async fn leave_cluster(&self) -> Result<(), Error> {
        self.is_closed.store(true, Ordering::Relaxed);
        drop(self.sends.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.writer.close();
        self.writer.wait().await;
        self.settled().await.or_else(|error| if self.settling.is_none() { Ok(()) } else { Err(error) })?;
        self.stop.cancel();
        if self.shared.node() != 0
            && let Err(error) = in_time(self.leave(), self.shared.options.busy_timeout).await
        {
            warn!(%error, "PostgreSQL did not hear that this node leaves: others wait for 5 seconds");
        }
        self.shared.servers.close().await;
        Ok(())
    }
}

impl Repository for PostgresRepository {
    fn user_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Arc<User>>> {
        self.within(self.find_user_named(name))
    }

    fn recipient<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Address>> {
        match self.shared.cache().named(name) {
            Some(address) => Answer::ready(Some(address)),
            None => self.within(self.find_address(name)),
        }
    }

    fn user(&self, id: UserId) -> Answer<'_, Option<Arc<User>>> {
        match self.shared.cache().user(id) {
            Some(user) => Answer::ready(Some(user)),
            None => self.within(self.find_user(id)),
        }
    }

    fn password_hash(&self, user: UserId) -> Answer<'_, Option<String>> {
        self.within(async move {
            self.look(|| sqlx::query_scalar(PASSWORD_HASH).bind(user.0).fetch_optional(self.shared.servers.reads()))
                .await
        })
    }

    fn account(&self, name: Username) -> Answer<'_, Option<User>> {
        self.within(async move { self.find_account(&name).await })
    }

    fn stored(&self, users: Vec<UserId>) -> Answer<'_, Vec<u64>> {
        self.within(async move {
            let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
            let stored: Vec<i64> =
                self.look(|| sqlx::query_scalar(STORED).bind(&ids).fetch_all(self.shared.servers.reads())).await?;
            Ok(stored.into_iter().map(|bytes| u64::try_from(bytes).unwrap_or(0)).collect())
        })
    }

    fn accounts(&self, after: UserId) -> Answer<'_, Vec<User>> {
        self.within(self.accounts_after(after))
    }

    fn add_user(&self, user: NewUser) -> Answer<'_, AddUserResult> {
        self.within(async move { Ok(self.add(ADD, user, None).await?.unwrap_or(AddUserResult::Added)) })
    }

    fn set_password(&self, user: UserId, password_hash: String) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            let set = sqlx::query("SELECT set_password($1, $2)").bind(user.0).bind(password_hash);
            set.execute(&mut *db).await.map_err(unavailable)?;
            self.follow_feed().await
        })
    }

    fn set_disabled(&self, user: UserId, disabled: bool) -> Answer<'_, ()> {
        self.within(async move {
            let mut db = self.connection().await?;
            let set = sqlx::query("SELECT set_disabled($1, $2)").bind(user.0).bind(disabled);
            set.execute(&mut *db).await.map_err(unavailable)?;
            self.follow_feed().await
        })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Removed> {
        Answer::pending(async move {
            self.settled().await?;
            let unread = self.change("SELECT remove_account($1)", user).await?;
            Ok(Removed { unread: u64::try_from(unread).unwrap_or(0) })
        })
    }

    fn session(&self, token: TokenHash, now: Timestamp, unused_since: Timestamp) -> Answer<'_, Option<Session>> {
        self.within(self.find_session(token, now, unused_since))
    }

    fn logins(&self, after: SessionId, of: Option<UserId>) -> Answer<'_, Vec<StoredSession>> {
        self.within(self.logins_after(after, of))
    }

    fn addresses(&self, user: UserId) -> Answer<'_, Vec<IpAddr>> {
        self.within(self.addresses_of(user))
    }

    fn online(&self) -> Answer<'_, Vec<Username>> {
        self.within(self.find_online())
    }

    fn open_session(&self, session: NewSession) -> Answer<'_, bool> {
        self.within(self.open_one(session))
    }

    fn end_session(&self, session: SessionId) -> Answer<'_, bool> {
        self.within(async move {
            let mut db = self.connection().await?;
            let ended = sqlx::query_scalar("SELECT log_out($1)").bind(session.0).fetch_one(&mut *db).await;
            let ended = ended.map_err(unavailable)?;
            self.follow_feed().await?;
            Ok(ended)
        })
    }

    fn end_sessions(&self, sessions: Vec<SessionId>) -> Answer<'_, u64> {
        Answer::pending(async move {
            let ids: Vec<i64> = sessions.iter().map(|session| session.0).collect();
            let mut db = self.connection().await?;
            let ended = sqlx::query(END_SESSIONS).bind(ids).execute(&mut *db).await.map_err(unavailable)?;
            self.follow_feed().await?;
            Ok(ended.rows_affected())
        })
    }

    fn tidy_sessions(&self, unused_since: Timestamp) -> Answer<'_, u64> {
        Answer::pending(self.tidy(unused_since))
    }

    fn is_open(&self, session: SessionId) -> bool {
        !self.shared.cache().has_ended(session)
    }

    fn ended_sessions(&self) -> broadcast::Receiver<EndedSession> {
        self.shared.ended_sessions.subscribe()
    }

    fn send(&self, messages: PerMessage<NewMessage>) -> Answer<'_, PerMessage<SendResult>> {
        Answer::pending(self.queue(messages, None, None))
    }

    fn send_once(&self, message: NewMessage, key: SendKey) -> Answer<'_, SendResult> {
        Answer::pending(self.queue_once(message, key, None))
    }

    fn lease(&self, recipient: UserId, want: InboxQuery) -> Answer<'_, Delivery> {
        self.within(async move {
            self.settled().await?;
            self.deliver(recipient, want).await
        })
    }

    fn arrival(&self, recipient: UserId) -> Answer<'_, Arrival> {
        Answer::ready(self.shared.hints.arrival(recipient))
    }

    fn confirmed(&self) -> Answer<'_, ()> {
        self.within(async move {
            self.settled().await?;
            // The server is there, too.
            self.look(|| sqlx::query("SELECT 1").execute(self.shared.servers.reads())).await.map(drop)
        })
    }

    fn conversation(&self, one: UserId, other: Address, page: HistoryQuery) -> Answer<'_, Vec<StoredMessage>> {
        self.within(self.look_back(one, other, page))
    }

    fn receipts(&self, sender: UserId, recipient: UserId, messages: usize) -> Answer<'_, Vec<StoredReceipt>> {
        self.within(self.receipts_of(sender, recipient, messages))
    }

    fn follow(&self, user: UserId) -> Answer<'_, Following> {
        Answer::ready(self.shared.followers.follow(user))
    }

    fn last_message(&self, _: UserId) -> Answer<'_, MessageId> {
        self.within(self.last_of_log())
    }

    fn messages_after(&self, user: UserId, page: FollowQuery) -> Answer<'_, FollowPage> {
        self.within(self.all_after(user, page))
    }

    fn conversations(&self, user: UserId, page: ConversationQuery) -> Answer<'_, ConversationPage> {
        self.within(self.conversations_of(user, page))
    }

    fn unread_senders(&self, recipient: UserId) -> Answer<'_, Vec<Address>> {
        self.within(self.unread_by(recipient))
    }

    fn read(&self, recipient: UserId, senders: Vec<Address>, to: MessageId) -> Answer<'_, usize> {
        self.within(self.read_up_to(recipient, senders, to))
    }

    fn prune(&self, read_before: Timestamp) -> Answer<'_, u64> {
        Answer::pending(self.prune_all(read_before))
    }

    fn give_back(&self, _: Pace) -> Answer<'_, RoomInside> {
        // The server's own vacuum sees to it.
        Answer::ready(RoomInside { given_bytes: 0, free_bytes: 0, can_be_given: true })
    }

    fn snapshot(&self, _: u32) -> Answer<'_, ()> {
        let why = "a database on PostgreSQL is copied by pg_basebackup and WAL archiving, not by chatd";
        Answer::Ready(Some(Err(Error::new(why))))
    }

    fn clock(&self) -> &Steady {
        &self.shared.time
    }

    fn status(&self) -> Answer<'_, StoreStatus> {
        self.within(async move {
            let totals = self.look(|| self.sums.get(self.shared.servers.reads())).await?;
            Ok(StoreStatus {
                unread_messages: totals.unread_messages,
                unread_bytes: totals.unread_bytes,
                sessions: totals.sessions,
                users: totals.users,
                // The server's disk is not seen from here.
                free_bytes: u64::MAX,
                has_room: true,
                accepted: self.shared.accepted.get(),
                delivered: self.shared.delivered.get(),
                commits: self.shared.commits.get(),
                damaged: 0,
                lost: 0,
            })
        })
    }

    fn answers(&self) -> Answer<'_, ()> {
        // A server that is away is no reason to start this process anew.
        Answer::Ready(Some(if self.is_closed.load(Ordering::Relaxed) { Err(closed()) } else { Ok(()) }))
    }

    fn failed(&self) -> Answer<'_, Error> {
        Answer::pending(std::future::pending())
    }

    fn close(&self) -> Answer<'_, ()> {
        Answer::pending(self.leave_cluster())
    }
}
