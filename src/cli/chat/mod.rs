//! The commands of those who chat, and what they have in common.

pub(super) mod account;
pub(super) mod client;
pub(super) mod remote;
pub(super) mod render;
mod saved_files;
pub(super) mod screen;
pub(super) mod script;
pub(super) mod servers;
pub(super) mod tokens;
