//! Requests and replies as lines over a stream of bytes, for both dialects.

pub(crate) mod connection;
pub(crate) mod framer;
