//! Who may log in: password hashes on their own threads, and how often somebody may try. Knows no protocol and no
//! store.

pub(crate) mod password;
pub(crate) mod throttle;
