//! All accounts and sessions at once, as a start reads them: in the order of their numbers, each once. Nothing need be
//! looked for then, which halves the time that a million of both take.

use super::{AccountSessions, Directory, LiveSession, NONE, Position, hash, index, place};
use crate::model::UserId;
use crate::repository::User;
use crate::repository::memory::event::SessionRecord;

/// A directory that is being filled.
#[derive(Debug)]
pub(crate) struct Loader {
    directory: Directory,
    /// The numbers of the accounts, each at its place.
    ids: Vec<UserId>,
}

impl Loader {
    /// An empty one with room for so many.
    pub(crate) fn with_capacity(users: usize, sessions: usize) -> Loader {
        Loader { directory: Directory::with_capacity(users, sessions), ids: Vec::with_capacity(users) }
    }

    /// Adds an account; its number is greater than those before it.
    pub(crate) fn user(&mut self, user: User) {
        let at = place(self.ids.len());
        self.ids.push(user.id);
        let (number, name) = (hash(user.id), (!user.removed).then(|| hash(user.username.as_str())));
        self.directory.accounts.push(AccountSessions { user: user.into(), oldest: NONE, newest: NONE });
        let Directory { accounts, numbers, names, .. } = &mut self.directory;
        numbers.insert_unique(number, at, |at| hash(accounts[index(*at)].user.id));
        if let Some(name) = name {
            names.insert_unique(name, at, |at| hash(accounts[index(*at)].user.username.as_str()));
        }
    }

    /// Adds a session, after all accounts; its number is greater than those before it. One of nobody is left out.
    pub(crate) fn session(&mut self, record: SessionRecord) {
        let SessionRecord { id, user, token, last_used_at, address, grant } = record;
        let Some(account) = self.place_of(user) else { return };
        let at = place(self.directory.sessions.len());
        let has_login = self.directory.oldest_of(account).is_some();
        let Directory { accounts, sessions, tokens, logins, oldest, grants, .. } = &mut self.directory;
        let of = &mut accounts[index(account)];
        let older = std::mem::replace(&mut of.newest, at);
        match sessions.get_mut(index(older)) {
            Some(older) => older.newer = at,
            None => of.oldest = at,
        }
        match grant {
            Some(grant) => {
                grants.insert(id, grant);
            }
            None if !has_login => {
                oldest.insert(id, account);
            }
            None => {}
        }
        let last_use = last_used_at.0.into();
        sessions.push(LiveSession {
            token,
            id,
            stored_use: last_used_at,
            last_use,
            account,
            older,
            newer: NONE,
            address,
        });
        tokens.insert_unique(hash(token), at, |at| hash(sessions[index(*at)].token));
        logins.insert_unique(hash(id), at, |at| hash(sessions[index(*at)].id));
    }

    pub(crate) fn finish(self) -> Directory {
        self.directory
    }

    fn place_of(&self, id: UserId) -> Option<Position> {
        // No account was ever deleted by us, so the numbers have no gaps, as a rule.
        let first = self.ids.first()?.0;
        let guess = usize::try_from(id.0.checked_sub(first)?).ok()?;
        if self.ids.get(guess) == Some(&id) {
            return Some(place(guess));
        }
        self.ids.binary_search(&id).ok().map(place)
    }
}
