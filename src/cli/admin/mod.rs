//! The commands of the administrator.

pub(super) mod administration;
pub(super) mod config;
mod copy;
pub(super) mod db;
pub(super) mod group;
pub(super) mod health;
mod invite;
pub(super) mod manual;
pub(super) mod quickstart;
pub(super) mod session;
mod snapshot;
pub(super) mod user;
