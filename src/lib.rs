//! chatd: a persistent chat service. One binary, an embedded database, a line protocol over TCP.
//!
//! ```text
//! socket → frame → protocol → Request → service → repository
//! socket ← frame ← protocol ← Reply   ← service ←──────┘
//! ```
//!
//! In reading order; `tests/it/imports.rs` says which may use which.
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`] | names, tokens, messages: parsed once, never raw strings |
//! | [`frame`] | bytes to lines, with hard limits |
//! | [`protocol`] | requests and replies with no spelling; [`protocol::json`] and [`protocol::text`] spell them |
//! | [`repository`] | the trait of the store; [`repository::sqlite`] behind it, with [`repository::batch`] (group commit), [`repository::mailbox`] (who has what waiting, who holds it) and [`repository::memory`] (accounts and sessions in memory, and what a commit changes in them) |
//! | [`password`], [`throttle`] | argon2id on threads of its own; how often one may try |
//! | [`charge`] | who is charged for what, and the memory of long lines and replies |
//! | [`fair`] | queues in which turns go round |
//! | [`service`] | the rules: a request and who asks in, a reply out |
//! | [`socket`], [`tls`] | the byte stream under a connection, and what TCP knows of the peer |
//! | [`delivery`] | what a connection has handed out, and what proves that it arrived |
//! | [`session`] | one connection, from first byte to last |
//! | [`connections`], [`server`] | who is connected, counted; listen, limit, drain |
//! | [`client`] | the other end of the wire |
//! | [`admin`] | the administrator's own socket, both ends |
//! | [`config`] | the settings, whose manual is `chat.toml` |
//! | [`log_limit`], [`log_queue`], [`journal`] | the log: how many lines, how they travel, and systemd's journal |
//! | [`metrics`], [`systemd`] | what else an operator sees |
//! | [`vital`] | the threads and tasks that must not die |
//! | [`cli`] | the command line, one file for each noun |
#![deny(unsafe_code)]
// All output goes through `cli::output` and the log, which do not panic where the stream is broken.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![warn(missing_docs)]

pub mod admin;
pub mod charge;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod connections;
pub mod delivery;
pub mod fair;
pub mod frame;
pub mod journal;
pub mod log_limit;
pub mod log_queue;
pub mod metrics;
pub mod model;
pub mod password;
pub mod protocol;
pub mod repository;
pub mod server;
pub mod service;
pub mod session;
pub mod socket;
pub mod systemd;
pub mod throttle;
pub mod tls;
pub mod vital;
