//! The state of one process: accounts and sessions in memory, and what a commit changes in them.

pub(crate) mod directory;
pub(crate) mod event;
pub(crate) mod followers;
pub(crate) mod groups;
pub(crate) mod mailboxes;
pub(crate) mod stored;
