//! chatd: a persistent chat service. One binary, an embedded database, a line protocol over TCP.
//!
//! ```text
//! bytes → transport → protocol → Request → service → repository
//! bytes ← transport ← protocol ← Reply   ← service ←──────┘
//! ```
//!
//! In reading order; `tests/it/tidy/imports.rs` says which may use which.
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`] | names, tokens, messages: parsed once, never raw strings |
//! | [`protocol`] | requests, replies, and the line dialects that spell them: [`protocol::json`], [`protocol::text`] |
//! | [`repository`] | the trait of the store, its memory, and the backend [`repository::sqlite`] |
//! | [`auth`] | argon2id on threads of its own; how often one may try |
//! | [`charge`] | who is charged for what, and the memory of long lines and replies |
//! | [`fair`] | queues in which turns go round |
//! | [`service`] | the rules: a request and who asks in, an outcome out |
//! | [`transport`] | how it travels: lines over TCP and TLS, slots, and the proof that a reply arrived |
//! | [`server`] | accept, admit, drain |
//! | [`client`] | the other end of the wire |
//! | [`acme`] | the certificate that comes by itself |
//! | [`admin`] | the administrator's own socket, both ends |
//! | [`config`] | the settings, whose manual is `chat.toml` |
//! | [`release`] | the version of the program, of its schema and of its wire |
//! | [`clock`] | the time, as those who decide by it are given it |
//! | [`ops`] | what an operator sees: log, journal, metrics, systemd; the threads that must not die |
//! | [`cli`] | the command line: `serve`, `admin` and `chat` |
#![deny(unsafe_code)]
// All output goes through `cli::output` and the log, which do not panic where the stream is broken.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![warn(missing_docs, unreachable_pub)]
// The documentation is for people who work on chatd: it is built with `--document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]

mod acme;
mod admin;
mod auth;
mod charge;
mod cli;
pub mod client;
mod clock;
mod config;
mod fair;
#[doc(hidden)]
pub mod internals;
pub mod model;
mod ops;
pub mod protocol;
mod release;
mod repository;
mod server;
mod service;
mod transport;

#[doc(hidden)]
pub use crate::cli::run;
