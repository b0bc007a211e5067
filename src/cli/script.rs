//! The client for scripts: `chatd login`, `logout`, `send`, `inbox`. Each is one line in a crontab; the exit status
//! tells success. The token is kept between runs.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::mail::readable;
use super::output::{self, Unprinted};
use super::remote::{self, Remote};
use super::state::Logins;
use crate::client::link::Link;
use crate::client::{self, is_empty};
use crate::model::{Password, Token};
use crate::protocol::text::{self, Echo};
use crate::protocol::{FromSender, Refusal, Reply, Request, Send, json};

/// How long one request waits for mail.
const WAIT: Duration = Duration::from_secs(50);
/// Input beyond this is no message, in bytes; the server's own limit is lower.
const INPUT_BYTES: u64 = 16 << 20;

#[derive(Debug, Args)]
pub struct Login {
    /// The user name [default: $CHATD_USER]
    user: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct Logout {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct SendMessage {
    #[command(flatten)]
    remote: Remote,
    /// Who is to have it
    user: String,
    /// The message; without one it is read from standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    text: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Inbox {
    #[command(flatten)]
    remote: Remote,
    /// Waits until there is a message
    #[arg(long)]
    wait: bool,
    /// One JSON object a line for each message, ASCII only, the text exactly as it was sent
    #[arg(long)]
    json: bool,
}

impl Login {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let user = self.user.clone().map_or_else(remote::user, |user| Ok(Some(user)))?;
            let user = user.context("who? `chatd login USER`, or CHATD_USER")?;
            let mut account = Account::of(&self.remote, Some(user.clone()))?;
            let password = match remote::password()? {
                Some(password) => password,
                None => {
                    let typed = rpassword::prompt_password(format!("Password of {user}: "));
                    let hint = "no terminal to ask for the password (see CHATD_PASSWORD_FILE)";
                    Password::attempt(&typed.context(hint)?)
                }
            };
            account.log_in(password).await?;
            account.logins.make_current(&user)?;
            Ok(account.end().await)
        })
    }
}

impl Logout {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let mut account = Account::of(&self.remote, None)?;
            let token = account.logins.token(&account.user)?;
            let token = token.with_context(|| format!("{} is not logged in", account.user))?;
            match account.link.call(&Request::Logout { token }).await? {
                // A session that ended before is as ended as it can be.
                Reply::LoggedOut { .. } | Reply::Refused(Refusal::UnknownToken) => {
                    account.logins.forget(&account.user)?
                }
                other => bail!("{}", text::render(&Echo::Logout, &other)),
            }
            Ok(account.end().await)
        })
    }
}

impl SendMessage {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let typed = if self.text.is_empty() { input()? } else { self.text.join(" ") };
        let Some(text) = as_sent(&typed) else { bail!("there is nothing to send") };
        block_on(async {
            let mut account = Account::of(&self.remote, None)?;
            let send = |token| Request::Send(Send { token, recipient: self.user.clone(), text: text.as_str().into() });
            let asked = account.ask(async |link, token| link.call(&send(token)).await).await;
            let reply = asked.map_err(|error| match error.downcast_ref() {
                Some(client::Error::Lost(_)) => error.context("the message may have been sent, or not"),
                _ => error,
            });
            match reply? {
                Reply::Sent => Ok(account.end().await),
                other => bail!("{}", text::render(&Echo::Send(self.user.clone()), &other)),
            }
        })
    }
}

impl Inbox {
    /// A page is printed before the next is asked for, and asking for the next is what takes a page off the server's
    /// queue. So whatever goes wrong in between, a full disk or a closed pipe or the end of this process, leaves the
    /// messages there.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        output::require()?;
        block_on(async {
            let mut account = Account::of(&self.remote, None)?;
            let mut reply = account.mail(Duration::ZERO).await?;
            while self.wait && is_empty(&reply) {
                reply = account.mail(WAIT).await?;
            }
            let came = !is_empty(&reply);
            while !is_empty(&reply) {
                let Reply::Inbox(senders) = &reply else { bail!("{}", text::render(&Echo::Inbox, &reply)) };
                self.print(senders)?;
                reply = account.mail(Duration::ZERO).await?;
            }
            if came {
                account.ask(async |link, token| link.call(&Request::Ack { token }).await).await?;
            }
            Ok(account.end().await)
        })
    }

    fn print(&self, senders: &[FromSender]) -> Result<(), Unprinted> {
        if !self.json {
            return output::print(readable(senders));
        }
        let mut lines = String::new();
        for from in senders {
            for message in &from.messages {
                let line = json!({
                    "from": from.username.as_str(), "msg_from": from.sender, "msg_to": from.recipient,
                    "msg": &*message.text,
                });
                lines.push_str(&json::ascii(&line));
                lines.push('\n');
            }
        }
        output::print(lines)
    }
}

/// A user at a server.
struct Account {
    link: Link,
    logins: Logins,
    user: String,
}

impl Account {
    /// The user named, or that of the environment, or the one who logged in last.
    fn of(remote: &Remote, user: Option<String>) -> anyhow::Result<Account> {
        let server = remote.server()?;
        let logins = Logins::at(&server.address)?;
        let user = match user.map_or_else(remote::user, |user| Ok(Some(user)))? {
            Some(user) => user,
            None => logins.current_user()?.context("not logged in: `chatd login USER`, or CHATD_USER")?,
        };
        Ok(Account { link: Link::new(server), logins, user })
    }

    /// Asks with the token that was kept, and where that has ended with a new one.
    async fn ask(
        &mut self,
        say: impl AsyncFn(&mut Link, Token) -> Result<Reply, client::Error>,
    ) -> anyhow::Result<Reply> {
        if let Some(token) = self.logins.token(&self.user)? {
            match say(&mut self.link, token).await? {
                Reply::Refused(Refusal::UnknownToken) => self.logins.forget(&self.user)?,
                reply => return Ok(reply),
            }
        }
        let hint = || format!("{0} is not logged in: `chatd login {0}`, or CHATD_PASSWORD_FILE", self.user);
        let token = self.log_in(remote::password()?.with_context(hint)?).await?;
        Ok(say(&mut self.link, token).await?)
    }

    /// What has come, or comes in time.
    async fn mail(&mut self, patience: Duration) -> anyhow::Result<Reply> {
        self.ask(async |link, token| link.mail(token, patience).await).await
    }

    async fn log_in(&mut self, password: Password) -> anyhow::Result<Token> {
        let request = Request::Auth { username: self.user.clone(), password };
        match self.link.call(&request).await? {
            Reply::LoggedIn { token } => {
                self.logins.keep(&self.user, token)?;
                Ok(token)
            }
            other => bail!("{}: {}", self.user, text::render(&Echo::Auth(self.user.clone()), &other)),
        }
    }

    async fn end(self) -> ExitCode {
        self.link.close().await;
        ExitCode::SUCCESS
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// All of standard input; what is no UTF-8 becomes U+FFFD, because the wire carries only text.
fn input() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        output::note("The message, Ctrl-D after the last line:");
    }
    let mut bytes = Vec::new();
    io::stdin().lock().take(INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INPUT_BYTES {
        bail!("the input is too long for a message");
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text as it travels: the lines of it with LF between them, for CR LF would end the request; no empty lines at the
/// end; the blanks that the document has around it. `None` for one with nothing in it.
fn as_sent(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    let text = lines.join("\n");
    let text = text.trim_end_matches('\n');
    (!text.trim().is_empty()).then(|| format!(" {text} \r\n"))
}

#[cfg(test)]
mod tests {
    use super::as_sent;

    #[test]
    fn lines_are_joined_by_lf() {
        let sent = |text| as_sent(text).unwrap_or_default();
        assert_eq!(sent("halo"), " halo \r\n");
        assert_eq!(sent("halo\n"), " halo \r\n");
        assert_eq!(sent("a\r\nb\r\r\n\nc\r\n\r\n"), " a\nb\n\nc \r\n");
        assert_eq!(sent("a\rb"), " a\rb \r\n");
        for nothing in ["", "\n", " \r\n\t\n"] {
            assert_eq!(as_sent(nothing), None, "{nothing:?}");
        }
    }
}
