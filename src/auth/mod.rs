//! Who may log in: password hashes on threads of their own, and how often one may try. Knows no protocol and no store.

pub(crate) mod password;
pub(crate) mod throttle;
