//! A program that answers each message with its text: `cargo run --example echo -- HOST:PORT`, as CHATD_USER with
//! CHATD_PASSWORD. It says whom it answered. Ctrl-C ends it, and its session too.

use std::env;
use std::error::Error;
use std::time::Duration;

use chatd::client::link::Link;
use chatd::client::{RemoteServer, ServerAddress};
use chatd::model::{LookupName, Password, Token};
use chatd::protocol::{Command, ConversationKind, HistoryEntry, Reply, Request, Send};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: ServerAddress = env::args().nth(1).ok_or("usage: echo HOST:PORT")?.parse()?;
    let username = LookupName::of(&env::var("CHATD_USER")?);
    let password = Password::parse(&env::var("CHATD_PASSWORD")?)?;
    // A link connects anew when the connection is lost, as by a restart of the server. The token stays good.
    let mut link = Link::new(RemoteServer { address, tls: None });
    let login = Request { token: None, command: Command::Auth { username, password } };
    let token = match link.call(&login).await? {
        Reply::LoggedIn { token } => token,
        other => return Err(format!("no login: {other:?}").into()),
    };
    let result = tokio::select! {
        result = answer_all(&mut link, token) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    link.call(&Command::Logout.with(token)).await?;
    link.close().await;
    result
}

async fn answer_all(link: &mut Link, token: Token) -> Result<(), Box<dyn Error>> {
    loop {
        let messages = match link.mail(token, Duration::from_secs(60)).await? {
            Reply::Fetched(messages) => messages,
            other => return Err(format!("no mail: {other:?}").into()),
        };
        for HistoryEntry { message, from, to, kind, .. } in messages.into_iter().map(|message| message.entry) {
            // What was sent to a group is answered there.
            let recipient = if kind == ConversationKind::Group { to.username } else { from.username };
            let send = Send { recipient: LookupName::of(recipient.as_str()), text: message.text };
            link.call(&Command::Send(send).with(token)).await?;
            println!("answered {}", recipient.as_str());
        }
    }
}
