//! The state of one process: accounts and sessions in memory, and what a commit changes in them.

pub mod directory;
pub mod event;
pub mod mailboxes;
pub mod stored;
