//! The first start: a link by which the first account is made in a browser.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::cli::output;
use crate::ops::vital;
use crate::transport::web::Web;

/// Prints the link. It is on standard output alone, because it is good for an account, and a log is kept. Its secret
/// stands behind the `#`, so that no browser sends it in an address.
pub(super) fn print_link((scheme, address): (&'static str, SocketAddr), web: &Arc<Web>) {
    let secret = web.open_setup().reveal();
    let host = match address.ip().is_unspecified() {
        true => SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    };
    let text = format!(
        "There is no account yet. Within an hour this link makes the first one, which may administer, in a browser:\n\n    \
         {scheme}://{host}/#setup={secret}\n\n\
         It works once, on this machine or over https. `chatd user add` makes accounts, too."
    );
    // On its own thread: when Ctrl-S has stopped the terminal, this waits, and the server still serves.
    let _ = vital::spawn("setup", move || output::done(text));
}
