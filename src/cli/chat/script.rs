//! The client for scripts: `chatd login`, `logout`, `send`, `inbox`. Each is one line in a crontab; the exit status
//! tells success.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::cli::chat::account;
use crate::cli::chat::account::RemoteAccount;
use crate::cli::chat::remote;
use crate::cli::chat::remote::Remote;
use crate::cli::chat::render;
use crate::cli::chat::saved_files::SaveDirectory;
use crate::cli::output;
use crate::client::link::Link;
use crate::client::{self, is_empty};
use crate::model::{FileName, LookupName, visible};
use crate::protocol::text::{self, ReplyContext};
use crate::protocol::{
    Command, ConversationKind, FetchedMessage, HistoryEntry, InboxFile, Refusal, Reply, Send, python,
};

/// How long one request waits for mail.
const WAIT: Duration = Duration::from_secs(50);
/// Input beyond this is no message, in bytes; the server's own limit is lower.
const INPUT_BYTES: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(crate) struct LoginCommand {
    /// The user name [default: with --as the one that was kept, else $CHATD_USER]
    user: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct SendMessage {
    #[command(flatten)]
    remote: Remote,
    /// Sends this file, before the message if there is one; may stand several times
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Who is to have it: a user or a group
    user: String,
    /// The message; without one, and without a file, it is read from standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    text: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Inbox {
    #[command(flatten)]
    remote: Remote,
    /// Waits until there is a message
    #[arg(long)]
    wait: bool,
    /// Saves files that came in this directory, over no other file, and says where
    #[arg(long, value_name = "DIR")]
    save_files: Option<PathBuf>,
    /// One JSON object a line for each message with its number and time, ASCII only, the text exactly as it was sent
    #[arg(long)]
    json: bool,
}

impl LoginCommand {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let target = self.remote.target_of_login()?;
        let user = self.user.clone().or_else(|| target.user.clone());
        let user = user.map_or_else(remote::user, |user| Ok(Some(user)))?;
        let user = user.context("who? `chatd login USER`, or CHATD_USER")?;
        account::run(&target, Some(&user), async |account| {
            let password = match account.password() {
                Some(password) => password,
                None => remote::ask_password(&user)?,
            };
            account.log_in_for_good(password, self.remote.kept_as()).await
        })
    }
}

impl Logout {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        account::run(&self.remote.target()?, None, RemoteAccount::log_out)
    }
}

impl SendMessage {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let typed = if self.text.is_empty() && self.file.is_empty() { input()? } else { self.text.join(" ") };
        let text = as_sent(&typed);
        if text.is_none() && self.file.is_empty() {
            bail!("there is nothing to send");
        }
        let recipient = LookupName::of(&self.user);
        let files = self.files()?;
        account::run(&self.remote.target()?, None, async |account| {
            for (name, path) in &files {
                let send = async |link: &mut Link, token| {
                    let data = File::open(path).map_err(client::ClientError::File)?;
                    link.send_file(token, &recipient, name, data).await
                };
                let shown = visible(&path.to_string_lossy()).into_owned();
                self.must_be_sent(account.ask(send).await, &shown).with_context(|| shown)?;
            }
            let Some(text) = &text else { return Ok(()) };
            let send = Command::Send(Send { recipient: recipient.clone(), text: text.as_str().into() });
            let asked = account.ask(async |link, token| link.call(&send.clone().with(token)).await).await;
            self.must_be_sent(asked, "the message")
        })
    }

    /// The files, with the names that they have on the way. One that cannot be sent is told of before another is.
    fn files(&self) -> anyhow::Result<Vec<(FileName, &Path)>> {
        let name = |path: &PathBuf| {
            let told = || visible(&path.to_string_lossy()).into_owned();
            let is_folder = File::open(path).and_then(|file| file.metadata()).map(|file| file.is_dir());
            if is_folder.with_context(told)? {
                bail!("{}: that is a directory", told());
            }
            // A name is one word on the wire.
            let word = |name: &OsStr| name.to_string_lossy().replace(char::is_whitespace, "_");
            let name = path.file_name().map(word).and_then(|name| FileName::parse(&name));
            name.with_context(|| format!("{}: no file can have that name on the way", told()))
        };
        self.file.iter().map(|path| Ok((name(path)?, path.as_path()))).collect()
    }

    fn must_be_sent(&self, asked: anyhow::Result<Reply>, what: &str) -> anyhow::Result<()> {
        let reply = asked.map_err(|error| match error.downcast_ref() {
            Some(client::ClientError::Lost(_)) => error.context(format!("{what} may have been sent, or not")),
            _ => error,
        });
        match reply? {
            Reply::Sent => Ok(()),
            // To send it again would double it for all the others.
            some @ Reply::SentToSome { .. } => {
                output::note(text::render(&ReplyContext::Send(self.user.clone()), &some));
                Ok(())
            }
            Reply::Refused(Refusal::UnknownCommand) => bail!("the server takes no files (protocol.family = false)"),
            other => bail!("{}", text::render(&ReplyContext::Send(self.user.clone()), &other)),
        }
    }
}

impl Inbox {
    /// Prints a page before it asks for the next. Only the next request confirms a page. So after a full disk, a closed
    /// pipe or a kill in between, the messages are still on the server.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        output::require()?;
        let directory = self.save_files.as_deref().map(SaveDirectory::open).transpose()?;
        let page = Page { json: self.json, directory };
        account::run(&self.remote.target()?, None, async |account| {
            let mut reply = account.mail(Duration::ZERO).await?;
            while self.wait && is_empty(&reply) {
                reply = account.mail(WAIT).await?;
            }
            let came = !is_empty(&reply);
            while !is_empty(&reply) {
                let Reply::Fetched(messages) = reply else { bail!("{}", text::render(&ReplyContext::Inbox, &reply)) };
                let page = page.clone();
                // On its own thread, because a full pipe may block for any time.
                account.unless_interrupted(spawn_blocking(move || page.print(messages))).await???;
                reply = account.mail(Duration::ZERO).await?;
            }
            if came {
                account.ask(async |link, token| link.call(&Command::Ack.with(token)).await).await?;
            }
            Ok(())
        })
    }
}

/// How messages are printed, and where files are saved.
#[derive(Clone)]
struct Page {
    json: bool,
    directory: Option<SaveDirectory>,
}

impl Page {
    /// Saves files and prints all. What is printed of a file is true then.
    fn print(&self, messages: Vec<FetchedMessage>) -> anyhow::Result<()> {
        let mut page = String::new();
        for FetchedMessage { entry, file } in messages {
            let save = |file: &InboxFile| self.directory.as_ref().map(|to| to.save(&file.name, &file.data)).transpose();
            let saved = file.as_ref().map(save).transpose()?.flatten();
            page += &self.shown(&entry, file.as_ref(), saved.as_deref());
        }
        Ok(output::print(page)?)
    }

    fn shown(&self, entry: &HistoryEntry, file: Option<&InboxFile>, saved: Option<&Path>) -> String {
        if !self.json {
            return file.map_or_else(|| render::readable(entry), |file| render::file(entry, file, saved));
        }
        let HistoryEntry { message, from, to, kind, .. } = entry;
        let mut line = json!({
            "from": from.username.as_str(), "msg_from": from.display_name, "msg_to": to.display_name,
            "msg": &*message.text,
        });
        // An old server tells no more.
        if message.id.0 > 0 {
            line["id"] = message.id.0.into();
            line["time"] = message.sent_at.to_string().into();
            line["to"] = to.username.as_str().into();
        }
        if *kind == ConversationKind::Group {
            line["kind"] = "group".into();
        }
        if let Some(file) = file {
            line["file_name"] = file.name.as_str().into();
            line["saved"] = saved.map(|path| path.to_string_lossy()).into();
        }
        python::ascii(&line) + "\n"
    }
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

/// A text as the wire has it: lines with LF between them, because CR LF would end the request; no empty lines at the
/// end; the blanks of the text protocol around it. `None` for an empty text.
pub(crate) fn as_sent(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    let text = lines.join("\n");
    let text = text.trim_end_matches('\n');
    (!text.trim().is_empty()).then(|| format!(" {text} \r\n"))
}

#[cfg(test)]
mod tests {
    use crate::cli::chat::script::as_sent;

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
