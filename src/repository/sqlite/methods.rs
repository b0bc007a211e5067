//! The methods of the store. Each answers from memory, hands a change to the writer, or calls the file of its subject.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{broadcast, oneshot};
use tracing::{error, warn};

use super::change::{Change, Changed};
use super::writer::Job;
use super::{Role, SqliteRepository, accounts, following, history, stopped, stored, unread_accounts, unread_log};
use crate::clock::Steady;
use crate::model::{Address, MessageId, SendKey, SessionId, Timestamp, TokenHash, UserId, Username};
use crate::repository::{
    AddUserResult, Answer, Arrival, ConversationPage, ConversationQuery, Delivery, EndedSession, Error, FollowPage,
    FollowQuery, Following, HistoryQuery, InboxQuery, Lease, NewMessage, NewSession, NewUser, Pace, PerMessage,
    Removed, Repository, RoomInside, SendResult, Session, StoreStatus, StoredMessage, StoredReceipt, StoredSession,
    User,
};

impl Repository for SqliteRepository {
    fn user_named<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Arc<User>>> {
        Answer::ready(self.shared.directory().user_named(name))
    }

    fn recipient<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Address>> {
        let user = self.shared.directory().recipient(name).map(Address::User);
        Answer::ready(user.or_else(|| self.shared.groups().named(name).map(Address::Group)))
    }

    fn user(&self, id: UserId) -> Answer<'_, Option<Arc<User>>> {
        Answer::ready(self.shared.directory().user(id))
    }

    fn password_hash(&self, user: UserId) -> Answer<'_, Option<String>> {
        Answer::pending(async move { accounts::password_hash(&self.logins, user).await.map_err(unread_accounts) })
    }

    fn account(&self, name: Username) -> Answer<'_, Option<User>> {
        Answer::pending(async move { accounts::account(&self.logins, &name).await.map_err(unread_accounts) })
    }

    fn accounts(&self, after: UserId) -> Answer<'_, Vec<User>> {
        Answer::pending(async move { accounts::accounts(&self.logins, after).await.map_err(unread_accounts) })
    }

    fn stored(&self, users: Vec<UserId>) -> Answer<'_, Vec<u64>> {
        Answer::pending(async move {
            match self.role {
                Role::Server => Ok(users.into_iter().map(|user| self.shared.stored.of(user)).collect()),
                Role::Admin | Role::Founder => stored::on_disk(&self.logins, &users).await.map_err(unread_accounts),
            }
        })
    }

    fn add_user(&self, user: NewUser) -> Answer<'_, AddUserResult> {
        Answer::pending(async move {
            match self.change(Change::AddUser(user)).await? {
                Changed::User(added) => Ok(added),
                Changed::Rows(_) | Changed::Group(_) => Ok(AddUserResult::Added),
            }
        })
    }

    fn set_password(&self, user: UserId, password_hash: String) -> Answer<'_, ()> {
        Answer::pending(async move { self.rows(Change::SetPassword(user, password_hash)).await.map(drop) })
    }

    fn set_disabled(&self, user: UserId, disabled: bool) -> Answer<'_, ()> {
        Answer::pending(async move { self.rows(Change::SetDisabled(user, disabled)).await.map(drop) })
    }

    fn remove_user(&self, user: UserId) -> Answer<'_, Removed> {
        Answer::pending(async move { Ok(Removed { unread: self.rows(Change::RemoveUser(user)).await? }) })
    }

    fn session(&self, token: TokenHash, now: Timestamp, unused_since: Timestamp) -> Answer<'_, Option<Session>> {
        Answer::ready(self.shared.directory().session(&token, now, unused_since))
    }

    fn logins(&self, after: SessionId, of: Option<UserId>) -> Answer<'_, Vec<StoredSession>> {
        Answer::pending(async move { accounts::logins(&self.logins, after, of).await.map_err(unread_accounts) })
    }

    fn addresses(&self, user: UserId) -> Answer<'_, Vec<IpAddr>> {
        Answer::ready(self.shared.directory().addresses(user))
    }

    fn online(&self) -> Answer<'_, Vec<Username>> {
        Answer::pending(async move { Ok(self.online_in_pieces().await) })
    }

    fn open_session(&self, session: NewSession) -> Answer<'_, bool> {
        Answer::pending(async move {
            let uses = self.shared.directory().unstored_uses(session.user);
            Ok(self.rows(Change::OpenSession(session, uses)).await? > 0)
        })
    }

    fn end_session(&self, session: SessionId) -> Answer<'_, bool> {
        Answer::pending(async move { Ok(self.rows(Change::LogOut(session)).await? > 0) })
    }

    fn end_sessions(&self, sessions: Vec<SessionId>) -> Answer<'_, u64> {
        Answer::pending(async move { self.rows(Change::EndSessions(sessions)).await })
    }

    fn tidy_sessions(&self, unused_since: Timestamp) -> Answer<'_, u64> {
        Answer::pending(self.tidy_in_pieces(unused_since))
    }

    fn send(&self, messages: PerMessage<NewMessage>) -> Answer<'_, PerMessage<SendResult>> {
        Answer::pending(async move {
            let _turn = self.heavy_turn(&messages).await;
            if messages.len() > 1 && messages.iter().any(|message| message.to.group().is_some()) {
                return self.send_in_parts(messages).await;
            }
            self.send_together(messages).await
        })
    }

    fn send_once(&self, message: NewMessage, key: SendKey) -> Answer<'_, SendResult> {
        Answer::pending(self.send_under_key(message, key, None))
    }

    fn lease(&self, recipient: UserId, want: InboxQuery) -> Answer<'_, Delivery> {
        Answer::pending(async move {
            let logged = |error: sqlx::Error| {
                error!(%error, "an inbox could not be read");
                Error::new(error)
            };
            let taken = self.take(recipient, want).await.map_err(logged)?;
            // From here on the messages are put back if anything goes wrong.
            let mut lease = Lease::new(recipient, taken.len(), self.hold(recipient, taken.clone()));
            if let Some(session) = want.session {
                lease.end_with(session, &self.shared.leases);
                // It may have ended before the lease was known to end with it.
                if !self.shared.directory().is_open(session) {
                    return Ok(Delivery::default());
                }
            }
            let delivery = self.fetch(recipient, &taken, want).await.map_err(logged)?;
            Ok(Delivery { lease: (!lease.is_empty()).then_some(lease), ..delivery })
        })
    }

    fn is_open(&self, session: SessionId) -> bool {
        self.shared.directory().is_open(session)
    }

    fn ended_sessions(&self) -> broadcast::Receiver<EndedSession> {
        self.shared.ended_sessions.subscribe()
    }

    fn arrival(&self, recipient: UserId) -> Answer<'_, Arrival> {
        Answer::ready(self.shared.mailboxes.arrival(recipient))
    }

    fn confirmed(&self) -> Answer<'_, ()> {
        Answer::pending(async move { self.rows(Change::Nothing).await.map(drop) })
    }

    fn conversation(&self, one: UserId, other: Address, page: HistoryQuery) -> Answer<'_, Vec<StoredMessage>> {
        Answer::pending(async move {
            history::conversation(&self.readers, &self.shared.damage, one, other, page).await.map_err(unread_log)
        })
    }

    fn receipts(&self, sender: UserId, recipient: UserId, messages: usize) -> Answer<'_, Vec<StoredReceipt>> {
        Answer::pending(async move {
            history::receipts(&self.readers, sender, recipient, messages).await.map_err(unread_log)
        })
    }

    fn follow(&self, user: UserId) -> Answer<'_, Following> {
        Answer::ready(self.shared.followers.follow(user))
    }

    fn last_message(&self, user: UserId) -> Answer<'_, MessageId> {
        Answer::pending(async move { following::last_message(&self.readers, user).await.map_err(unread_log) })
    }

    fn messages_after(&self, user: UserId, page: FollowQuery) -> Answer<'_, FollowPage> {
        Answer::pending(async move {
            following::messages_after(&self.readers, &self.shared.damage, user, page).await.map_err(unread_log)
        })
    }

    fn conversations(&self, user: UserId, page: ConversationQuery) -> Answer<'_, ConversationPage> {
        Answer::pending(self.conversations_of(user, page))
    }

    fn unread_senders(&self, recipient: UserId) -> Answer<'_, Vec<Address>> {
        Answer::pending(self.unread_senders(recipient))
    }

    fn read(&self, recipient: UserId, senders: Vec<Address>, to: MessageId) -> Answer<'_, usize> {
        Answer::pending(self.read_up_to(recipient, senders, to))
    }

    fn prune(&self, read_before: Timestamp) -> Answer<'_, u64> {
        Answer::pending(async move {
            let pruned = self.prune_in_pieces(read_before).await?;
            self.remove_unused_files().await?;
            Ok(pruned)
        })
    }

    fn give_back(&self, pace: Pace) -> Answer<'_, RoomInside> {
        Answer::pending(self.give_back_in_pieces(pace))
    }

    fn snapshot(&self, process: u32) -> Answer<'_, ()> {
        Answer::pending(async move {
            let (answer, copied) = oneshot::channel();
            self.jobs.push(Job::Snapshot(process, answer)).await.map_err(|_| stopped())?;
            copied.await.map_err(|_| stopped())?
        })
    }

    fn clock(&self) -> &Steady {
        &self.shared.time
    }

    fn status(&self) -> Answer<'_, StoreStatus> {
        let (users, sessions) = self.shared.directory().counts();
        let (unread_messages, unread_bytes) = self.shared.mailboxes.total();
        Answer::ready(StoreStatus {
            unread_messages,
            unread_bytes,
            sessions: sessions as u64,
            users: users as u64,
            free_bytes: self.shared.free_bytes.load(Ordering::Relaxed),
            has_room: self.shared.has_room.load(Ordering::Relaxed),
            accepted: self.shared.accepted.get(),
            delivered: self.shared.delivered.get(),
            commits: self.shared.commits.get(),
            damaged: self.shared.damage.messages.get(),
            lost: self.lost,
        })
    }

    fn answers(&self) -> Answer<'_, ()> {
        Answer::pending(async move {
            let (answer, answered) = oneshot::channel();
            self.jobs.push(Job::Change(Change::Nothing, answer)).await.map_err(|_| stopped())?;
            // What the answer is does not matter here.
            answered.await.map(drop).map_err(|_| stopped())
        })
    }

    fn failed(&self) -> Answer<'_, Error> {
        Answer::pending(async move { Ok(self.shared.failure().await) })
    }

    fn close(&self) -> Answer<'_, ()> {
        Answer::pending(async move {
            self.readers.pool().close().await;
            self.logins.close().await;
            // The writer ends last, alone, so that it can do all of the last checkpoint and hears how that went.
            self.stop_checkpoints.cancel();
            self.checkpointer.close();
            self.checkpointer.wait().await;
            if let Some(lock) = self.lock().as_mut().filter(|_| !self.shared.has_failed())
                && let Err(error) = lock.sign_off()
            {
                // SQLite removes the WAL now. Without the note, the next start may take this for a loss.
                warn!(%error, "it could not be noted that the database is being closed");
            }
            // Where the writer has stopped already there is nothing to be told.
            let _ = self.jobs.push(Job::Close).await;
            self.writer.close();
            self.writer.wait().await;
            self.let_go();
            self.shared.why_failed().map_or(Ok(()), Err)
        })
    }
}
