//! What an administrator asks of invites.

use std::time::Duration;

use super::protocol::{AdminReply, InviteQuestion, ListedInvite};
use super::{shown_or_none, store};
use crate::model::{InviteId, TokenHash};
use crate::repository::{NewInvite, Repository, StoredInvite};

/// Answers a question. An error is a line for the administrator.
pub(super) async fn execute(repository: &dyn Repository, question: InviteQuestion) -> Result<AdminReply, String> {
    Ok(match question {
        InviteQuestion::Add { code, label, milliseconds } => {
            let lasts = Duration::from_millis(milliseconds);
            let new = NewInvite { code: TokenHash(code), label: shown_or_none(&label)?, lasts };
            AdminReply::Done { count: repository.add_invite(new).await.map_err(store)?.0.unsigned_abs() }
        }
        InviteQuestion::List { after } => {
            let invites = repository.invites(InviteId(after)).await.map_err(store)?;
            AdminReply::Invites { invites: invites.into_iter().map(listed).collect() }
        }
        InviteQuestion::Remove { id } => {
            AdminReply::Done { count: repository.remove_invite(InviteId(id)).await.map_err(store)?.into() }
        }
    })
}

fn listed(invite: StoredInvite) -> ListedInvite {
    let StoredInvite { id, label, created_at, expires_at } = invite;
    ListedInvite { id: id.0, label, created_at: created_at.0, expires_at: expires_at.0 }
}
