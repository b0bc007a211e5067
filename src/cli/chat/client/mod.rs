//! `chatd client`: the program that speaks the text protocol. With a terminal on both sides it has a prompt, edits
//! lines and shows messages as they come; otherwise each line of input gives one line of output and nothing else is
//! written, and the exit status says whether all of it was done.

mod conversation;
mod lines;
mod live;
mod prompt;
mod shown;
mod terminal;
mod tty;

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use crate::cli::chat::client::conversation::{Conversation, failure, login_without_password};
use crate::cli::chat::remote;
use crate::cli::chat::remote::Remote;
use crate::cli::{output, runtime};
use crate::client::ClientError;
use crate::model::visible;

#[derive(Debug, Args)]
pub(crate) struct Client {
    #[command(flatten)]
    remote: Remote,
}

impl Client {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let server = self.remote.target()?.server()?;
        let runtime = runtime(1)?;
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            terminal::converse(&runtime, &server)?;
            return Ok(ExitCode::SUCCESS);
        }
        match runtime.block_on(converse(Conversation::new(server)))? {
            true => Ok(ExitCode::SUCCESS),
            false => Ok(ExitCode::FAILURE),
        }
    }
}

/// Reads lines and prints answers, each before it reads the next line. `auth messi` takes the password of the
/// environment. `false`: something that a line asked for was not done.
async fn converse(mut conversation: Conversation) -> anyhow::Result<bool> {
    let mut all_worked = true;
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let answered = match (login_without_password(&line), remote::password()?) {
            (Some(name), Some(password)) => conversation.log_in(name, password).await,
            _ => conversation.say(&line).await,
        };
        let (worked, shown) = match answered {
            Ok(answered) => (answered.worked(), answered.line()),
            Err(error @ ClientError::Unreachable { .. }) => return Err(error.into()),
            Err(error) => (false, failure(&error)),
        };
        all_worked &= worked;
        output::print(format_args!("{}\n", visible(&shown)))?;
        line.clear();
    }
    conversation.end().await;
    Ok(all_worked)
}
