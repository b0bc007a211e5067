//! Requests and replies as lines over a stream of bytes, for both dialects.

pub mod connection;
pub mod framer;
