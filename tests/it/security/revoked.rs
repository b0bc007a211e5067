//! Requests whose session ends while they wait for their turn.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use chatd::internals::repository::Repository;
use chatd::internals::service::{Peer, TokenState};
use chatd::model::LookupName;
use chatd::protocol::{Command, Refusal, Send};

use super::turns::service;
use crate::leases::log_in;
use crate::repository::{ALL, OPTIONS, add_users, lease, open, quick_folder, send, texts};

/// As where a reader or a full pipe keeps them waiting: the session lived when they were authenticated.
#[tokio::test]
async fn a_request_whose_session_ended_while_it_waited_gets_nothing_and_does_nothing() {
    let folder = quick_folder();
    let repository = Arc::new(open(folder.path(), &OPTIONS).await);
    let users = add_users(&repository, 2).await;
    send(&repository, users[1], users[0], "secret").await;
    let service = service(repository.clone());
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let peer = Peer { address, is_here: true, reply_bytes: 1 << 20, is_encrypted: false };
    let other = || LookupName::of("user1");
    let commands = [
        Command::Send(Send { recipient: other(), text: "too late".into() }),
        Command::Inbox,
        Command::Wait { at_most: Duration::from_secs(3_600) },
        Command::Show,
        Command::Ack,
        Command::History { username: other(), before: None, count: None },
        Command::Status { username: other() },
        Command::Logout,
    ];
    for command in commands {
        let (token, _) = log_in(&repository, users[0], 9).await;
        let caller = service.authenticate(Some(token)).await;
        assert_eq!(caller.token(), TokenState::Living, "{command:?}");
        repository.set_disabled(users[0], true).await.expect("the store works");
        repository.set_disabled(users[0], false).await.expect("the store works");
        let outcome = service.handle(&peer, caller, command.clone()).await;
        assert_eq!(outcome.reply, Refusal::UnknownToken.into(), "{command:?}");
        assert_eq!(outcome.token, TokenState::Dead, "{command:?}");
    }
    assert_eq!(texts(&lease(&repository, users[0], ALL).await), ["secret"], "it waits still");
    assert!(lease(&repository, users[1], ALL).await.senders.is_empty(), "nothing was sent");
}
