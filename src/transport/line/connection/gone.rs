//! Work for a peer that may go while it waits: what costs much is not done for one that is gone.

use std::io;
use std::pin::pin;

use tokio::time::sleep;

use crate::charge::Payer;
use crate::protocol::{AccountCommand, Command, FamilyCommand};
use crate::service::{Caller, Outcome};
use crate::transport::line::connection::{ACK_POLL_INTERVAL, Connection};
use crate::transport::stream::{PeerState, Stream};

/// Whether a command may wait long for its turn, and need not be carried out when the peer is gone.
pub(super) fn may_take_long(command: &Command) -> bool {
    use Command::{Auth, Conversations, History, Status};
    use FamilyCommand::{GroupLog, Register};
    matches!(command, Auth { .. } | History { .. } | Status { .. } | Conversations { .. })
        || matches!(command, Command::Family(GroupLog(_) | Register(_)))
        || makes_a_list(command)
}

/// Whether the command looks at many accounts, or reads a whole list from the disk. Such commands take turns, so that
/// they do not hold up others.
fn makes_a_list(command: &Command) -> bool {
    use AccountCommand::{People, Sessions};
    use FamilyCommand::{Accounts, OnlinePeople};
    matches!(command, Command::Show | Command::Account(Sessions | People(_)) | Command::Family(Accounts | OnlinePeople))
}

impl<S: Stream> Connection<'_, S> {
    /// Carries out a command, unless the peer resets the connection or its TCP gives up meanwhile: then no more is
    /// done. A peer that has only ended its stream still reads.
    pub(super) async fn unless_gone(&mut self, caller: Caller, command: Command) -> io::Result<Outcome> {
        let (service, peer, lists) = (self.service, self.peer.clone(), &self.settings.memory.lists);
        let lister = caller.holder().filter(|_| makes_a_list(&command));
        let mut work = pin!(async {
            let _turn = match lister {
                Some(holder) => Some(lists.take(Payer::Account(holder.user)).await),
                None => None,
            };
            service.handle(&peer, caller, command).await
        });
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return Ok(outcome),
                () = sleep(ACK_POLL_INTERVAL) => {
                    if self.stream.peer_state()? == PeerState::Gone {
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                }
            }
        }
    }
}
