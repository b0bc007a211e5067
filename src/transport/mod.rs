//! How requests and replies travel: streams, TLS, who may be connected, and what proves that a reply arrived.

pub(crate) mod admission;
pub(crate) mod confirmation;
pub(crate) mod line;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod web;
