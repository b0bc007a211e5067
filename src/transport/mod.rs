//! How requests and replies travel: streams, TLS, who may be connected, and what proves that a reply arrived.

pub mod admission;
pub mod confirmation;
pub mod line;
pub mod stream;
pub mod tls;
