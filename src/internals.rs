//! What the tests, the benches and the fuzz targets use. Other programs should not, because it changes with every
//! version. They can use [`client`](crate::client).

#![allow(missing_docs, reason = "the items say it where they stand")]

pub mod auth {
    pub mod password {
        pub use crate::auth::password::{Cost, Passwords, hash};
    }
    pub mod throttle {
        pub use crate::auth::throttle::{Rate, Rates, Throttle};
    }
}

pub mod charge {
    pub use crate::charge::{HTTP_HEAD, HTTP_SHORT_BODY, Memory, READ, READ_UNAUTHENTICATED, UNCHARGED, UNREAD};
}

pub mod clock {
    pub use crate::clock::{Clock, TimeSource};
}

pub mod config {
    pub use crate::config::{Config, Listen, load};
    pub mod range {
        pub use crate::config::range::RANGES;
    }
}

pub mod repository {
    pub use crate::repository::{
        AccountRepository, AddressedMessage, ConversationQuery, CopiedTable, CopyStep, DatabaseAddress, Delivery,
        FileQuery, FileRepository, FollowQuery, Grant, Group, GroupLimits, GroupMember, GroupRepository, GroupResult,
        HistoryQuery, InboxQuery, Lease, NewFile, NewGroup, NewInvite, NewMessage, NewSession, NewToken, NewUser, Pace,
        PasswordChange, PushRepository, PushSubscription, ReadCount, ReceivedFile, Repository, SendResult, SentFile,
        Store, StoreOptions, StoreStatus, copy, open,
    };
    pub mod sqlite {
        pub use crate::repository::sqlite::{Role, SqliteRepository, open};
        pub mod verify {
            pub use crate::repository::sqlite::verify::verify;
        }
    }
}

pub mod service {
    pub use crate::service::{Peer, RegisterRule, Rules, Service, TokenState};
}

pub mod transport {
    pub mod admission {
        pub use crate::transport::admission::{ConnectionLimits, Connections};
    }
    pub mod confirmation {
        pub use crate::transport::confirmation::{QUIET_AFTER_END, Unconfirmed};
    }
    pub mod line {
        pub mod connection {
            pub use crate::transport::line::connection::{ConnectionSettings, run};
        }
        pub mod framer {
            pub use crate::transport::line::framer::{Ending, Frame, LineLimits, Lines};
        }
    }
    pub mod stream {
        pub use crate::transport::stream::{PeerState, Stream};
    }
}
