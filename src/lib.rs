//! chatd: a persistent chat service. One binary, an embedded database, a line protocol over TCP.
//!
//! ```text
//! socket → frame → protocol → Request → service → repository
//! socket ← frame ← protocol ← Reply   ← service ←──────┘
//! ```
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod cli;
pub mod client;
pub mod config;
pub mod connections;
pub mod delivery;
pub mod frame;
pub mod journal;
pub mod metrics;
pub mod model;
pub mod password;
pub mod protocol;
pub mod repository;
pub mod seldom;
pub mod server;
pub mod service;
pub mod session;
pub mod socket;
pub mod systemd;
pub mod throttle;
pub mod tls;
