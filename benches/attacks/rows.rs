//! The attacks, one a row.

use super::innocent::Step::{Arrive, History, HistoryOld, Inbox, InboxLong, Login, Send, SendLong, SendToFriend};
use super::world::World;
use super::{Attack, conversations, crowds, mailboxes};
use anyhow::Result;

fn nothing(_: &World) -> Result<()> {
    Ok(())
}

/// Places for small crowds.
const FEW_PLACES: &str = "limits.connections_per_address = 100\nlimits.unauthenticated_connections = 100\n";

/// What most rows have.
const USUAL: Attack = Attack {
    label: "",
    what: "",
    steps: &[Send, Inbox, History],
    settings: "",
    brief_settings: "",
    has_dear_passwords: false,
    accounts: &[],
    has_own_network: false,
    prepare: nothing,
    restarts: false,
    attack: nothing,
    check: nothing,
};

pub static ROWS: [Attack; 17] = [
    Attack {
        label: "9",
        what: "88,000 small messages: asked for, read and given back, again and again",
        accounts: &mailboxes::SENDERS,
        prepare: mailboxes::fill_one,
        attack: mailboxes::take_and_reset,
        ..USUAL
    },
    Attack {
        label: "9-first",
        what: "four users ask for their first inbox after a start, 65,000 messages each",
        accounts: &mailboxes::SENDERS_AND_READERS,
        prepare: mailboxes::fill_some,
        brief_settings: "database.tail_messages = 64\n",
        restarts: true,
        attack: mailboxes::first_inboxes,
        ..USUAL
    },
    Attack {
        label: "10",
        what: "1,000 connections send 400 kB of requests without sense and read nothing",
        steps: &[Send, Inbox, History, Arrive],
        brief_settings: FEW_PLACES,
        attack: crowds::errors_unread,
        ..USUAL
    },
    Attack {
        label: "10-inside",
        what: "the same with a token, 990 connections",
        steps: &[Send, Inbox, History, Arrive],
        brief_settings: FEW_PLACES,
        attack: crowds::errors_unread_inside,
        ..USUAL
    },
    Attack {
        label: "11",
        what: "1,000 silent connections from the innocent user's own address",
        steps: &[Send, Arrive, Login],
        brief_settings: FEW_PLACES,
        attack: crowds::silent,
        check: crowds::is_healthy,
        ..USUAL
    },
    Attack {
        label: "12",
        what: "12,000 connections of one account with a living token, from 12 addresses",
        steps: &[Send, Arrive, Login],
        brief_settings: "limits.connections = 200\nlimits.connections_per_account = 100\n",
        attack: crowds::one_account,
        ..USUAL
    },
    Attack {
        label: "12-network",
        what: "11,000 connections of eleven accounts with living tokens, from as many addresses of one IPv6 /64",
        steps: &[Send, Arrive, Login],
        brief_settings: "limits.connections = 200\nlimits.connections_per_address = 100\n",
        accounts: &mailboxes::SENDERS,
        has_own_network: true,
        attack: crowds::one_network,
        ..USUAL
    },
    Attack {
        label: "13-lines",
        what: "128 connections begin a long line and never end it",
        steps: &[SendLong, Send, Inbox],
        brief_settings: "limits.buffered_bytes = 67108864\n",
        attack: crowds::endless_lines,
        ..USUAL
    },
    Attack {
        label: "13-replies",
        what: "6 connections read replies of 48 MB slowly",
        steps: &[InboxLong],
        prepare: conversations::write_long,
        attack: conversations::read_slowly,
        ..USUAL
    },
    Attack {
        label: "14",
        what: "60 connections ask for replies of 48 MB and read them",
        prepare: conversations::write_long,
        attack: conversations::ask_for_long,
        ..USUAL
    },
    Attack {
        label: "14-names",
        what: "200 connections ask for the list of 200,000 who are logged in and read it",
        prepare: crowds::log_many_in,
        restarts: true,
        attack: crowds::list_all,
        ..USUAL
    },
    Attack {
        label: "15",
        what: "32 connections ask for old history of a million messages",
        steps: &[Send, Inbox, HistoryOld],
        brief_settings: "database.tail_messages = 64\n",
        prepare: conversations::write_much,
        attack: conversations::ask_for_old,
        ..USUAL
    },
    Attack {
        label: "15-reset",
        what: "old history is asked for, and the connection reset, 200 times a second",
        steps: &[Send, Inbox, HistoryOld],
        brief_settings: "database.tail_messages = 64\n",
        prepare: conversations::write_much,
        attack: conversations::ask_for_old_and_reset,
        ..USUAL
    },
    Attack {
        label: "15-backlog",
        what: "old history is asked for by 800 connections at once, which are reset, twice a second",
        steps: &[Send, Inbox, HistoryOld],
        brief_settings: "database.tail_messages = 64\n",
        prepare: conversations::write_much,
        attack: conversations::ask_for_old_and_leave,
        ..USUAL
    },
    Attack {
        label: "16",
        what: "one user sends 2 MiB texts to oneself and reads them",
        steps: &[Send, Inbox],
        brief_settings: "limits.stored_bytes = 8388608\n",
        attack: mailboxes::fill_the_disk,
        ..USUAL
    },
    Attack {
        label: "17",
        what: "250 addresses guess passwords, 5 at once each",
        steps: &[Login],
        has_dear_passwords: true,
        attack: crowds::guess,
        ..USUAL
    },
    Attack {
        label: "18",
        what: "one user keeps somebody's mailbox full",
        steps: &[SendToFriend, Inbox],
        brief_settings: "limits.inbox_messages = 2000\n",
        prepare: mailboxes::fill_the_friends,
        attack: mailboxes::squat,
        ..USUAL
    },
];
