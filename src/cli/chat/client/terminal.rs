//! The client on a terminal: prompt, answers, and the questions at the end.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::cli::chat::client::conversation::{Answered, Conversation, failure, login_without_password};
use crate::cli::chat::client::lines::{LineEditor, Typed};
use crate::cli::chat::client::live::{Display, Watch};
use crate::cli::chat::client::prompt;
use crate::cli::chat::client::prompt::{Names, PromptHelper};
use crate::cli::chat::client::shown::ShownMessages;
use crate::cli::chat::render;
use crate::cli::output;
use crate::client::{ClientError, RemoteServer, is_empty};
use crate::model::{Password, Token, visible};
use crate::protocol::text::{self, ReplyContext};
use crate::protocol::{Command, Refusal, Reply, Request, Send, SenderMessages};

const HELP: &str = "auth USER [PASSWORD]   log in; without a password it is asked for unseen
send USER TEXT         send a message
inbox                  what has come, as the program of 2020 showed it
show                   who is logged in
history USER [BEFORE]  what you wrote to each other; with a message's number, what came before it
status USER            which of your messages USER has read
logout                 end the session
help, exit             this text; the end (Ctrl-D too), which asks whether the session ends
Messages are shown as they come. Tab completes commands and names, the arrow keys bring back what was typed.";
/// An answer that takes longer is worth a word.
const LONG: Duration = Duration::from_secs(1);
/// How long the end of the sessions may take.
const GRACE: Duration = Duration::from_secs(5);

/// Carries out what the person types, until they leave.
pub(super) fn converse(runtime: &Runtime, server: &RemoteServer) -> anyhow::Result<()> {
    // First of all, so that what is typed meanwhile waits and is not shown.
    let mut terminal = Terminal::open(runtime)?;
    let mut conversation = Conversation::new(server.clone());
    runtime.block_on(conversation.connect())?;
    output::print(format_args!("Connected to {}. Type help for help, Ctrl-D to leave.", server.address))?;
    let mut watch: Option<Watch> = None;
    loop {
        terminal.notice_end(&mut conversation, &mut watch);
        let token = conversation.token();
        if watch.as_ref().map(|watch| watch.token) != token {
            let start = |token| {
                Watch::start(runtime.handle(), server, token, conversation.username(), terminal.display.clone())
            };
            watch = token.map(start);
            terminal.display.learn(runtime.block_on(conversation.online()));
        }
        let line = match terminal.lines.line(&prompt::command(token.map(|token| token.reveal()).as_deref()))? {
            Typed::Line(line) => line,
            Typed::Abandoned => continue,
            Typed::End => break,
        };
        terminal.notice_end(&mut conversation, &mut watch);
        terminal.lines.remember(&line);
        match line.split_whitespace().next() {
            None => {}
            Some("help") => output::print(HELP)?,
            Some("exit" | "quit") => break,
            command => {
                // It would report the end of the session as if nobody had asked for it.
                watch = watch.filter(|_| command != Some("logout"));
                let shown = match terminal.carry_out(runtime, &mut conversation, &line)? {
                    Ok(answered) => terminal.take_in(answered, conversation.username()),
                    Err(error) => visible(&failure(&error)).into_owned(),
                };
                output::print(format_args!("{shown}\n"))?;
            }
        }
    }
    terminal.notice_end(&mut conversation, &mut watch);
    terminal.part(runtime, &mut conversation, watch)?;
    if terminal.lines.end() {
        output::print("What was typed behind the end was not carried out.")?;
    }
    runtime.block_on(conversation.end());
    Ok(())
}

/// Says so when the answer takes long. The server may be starting again.
async fn patiently<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    match timeout(LONG, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            output::note("(no answer yet)");
            work.await
        }
    }
}

struct Terminal {
    lines: LineEditor,
    display: Display,
}

impl Terminal {
    fn open(runtime: &Runtime) -> anyhow::Result<Terminal> {
        let (names, ended) = (Names::default(), Arc::<AtomicBool>::default());
        let (lines, print) = LineEditor::open(runtime, PromptHelper::new(names.clone(), ended.clone()))?;
        let (printer, clock, shown) = (Arc::new(Mutex::new(print)), TimeZone::system(), ShownMessages::default());
        Ok(Terminal { lines, display: Display { printer, clock, shown, names, ended } })
    }

    /// Stops using a session that has ended.
    fn notice_end(&self, conversation: &mut Conversation, watch: &mut Option<Watch>) {
        if self.display.ended.load(Ordering::Relaxed)
            && let Some(watch) = watch.take()
        {
            conversation.has_ended(watch.token);
        }
    }

    /// Carries out what was typed. A login without a password asks for it.
    fn carry_out(
        &mut self,
        runtime: &Runtime,
        conversation: &mut Conversation,
        line: &str,
    ) -> anyhow::Result<Result<Answered, ClientError>> {
        if let Some(name) = login_without_password(line.as_bytes())
            // With Ctrl-C or Ctrl-D the person gives up the login.
            && let Typed::Line(password) = self.lines.password("Password: ")?
        {
            return Ok(runtime.block_on(patiently(conversation.log_in(name, Password::attempt(&password)))));
        }
        match text::parse(line.as_bytes(), conversation.token()).1 {
            Ok(Request { command: Command::Inbox, token: Some(token) }) if conversation.token() == Some(token) => {
                Ok(runtime.block_on(patiently(self.inbox(conversation, line, token))))
            }
            Ok(Request { command: Command::Send(Send { recipient, text }), token })
            | Ok(Request { command: Command::SendOnce { recipient, text, .. }, token })
                if conversation.token() == token =>
            {
                self.display.shown.is_typed(recipient, text);
                let answered = runtime.block_on(patiently(conversation.say(line.as_bytes())));
                if answered.as_ref().is_ok_and(|answered| !answered.worked()) {
                    self.display.shown.is_not_sent();
                }
                Ok(answered)
            }
            _ => Ok(runtime.block_on(patiently(conversation.say(line.as_bytes())))),
        }
    }

    /// What was shown and what waits still. It is asked for with numbers, so that nothing is in it twice that the other
    /// connection shows at this moment.
    async fn inbox(&self, conversation: &mut Conversation, line: &str, token: Token) -> Result<Answered, ClientError> {
        let mut answered = conversation.fetch(token).await?;
        if matches!(&answered.reply, Reply::Refused(Refusal::UnknownCommand)) || is_empty(&answered.reply) {
            // This may name senders of whom nothing waits.
            answered = conversation.say(line.as_bytes()).await?;
        }
        let now = match answered.reply {
            Reply::Fetched(messages) => messages,
            Reply::Inbox(senders) if senders.iter().any(|from| !from.messages.is_empty()) => {
                senders.into_iter().flat_map(SenderMessages::into_fetched).collect()
            }
            Reply::Inbox(drained) => {
                let shown = self.display.shown.take_before(Vec::new());
                answered.reply = Reply::Inbox(if shown.is_empty() { drained } else { shown });
                return Ok(answered);
            }
            _ => return Ok(answered),
        };
        answered.reply = Reply::Inbox(self.display.shown.take_before(now));
        Ok(answered)
    }

    /// Asks whether the sessions that were opened are to end with the client. Without an answer they stay.
    fn part(&mut self, runtime: &Runtime, conversation: &mut Conversation, watch: Option<Watch>) -> anyhow::Result<()> {
        let users: Vec<&str> = conversation.opened().collect();
        let question = match users[..] {
            [] => return Ok(()),
            [user] => format!("End the session of {}? [Y/n] ", visible(user)),
            _ => format!("End the sessions of {}? [Y/n] ", visible(&users.join(", "))),
        };
        let ends = loop {
            let Typed::Line(answer) = self.lines.line(&question)? else { break false };
            match answer.trim().to_lowercase().as_str() {
                "" | "y" | "yes" => break true,
                "n" | "no" => break false,
                _ => output::print(format_args!("Not carried out, because this is the end: {}", visible(&answer)))?,
            }
        };
        drop(watch);
        if !ends {
            output::print("It stays open, for whoever has its token.")?;
            return Ok(());
        }
        let ended = runtime.block_on(patiently(async { timeout(GRACE, conversation.end_sessions()).await }));
        match ended {
            Ok(Ok(())) => output::print("It has ended.")?,
            Ok(Err(why)) => output::print(format_args!("It could not be ended: {}", visible(&why)))?,
            Err(_) => output::print("It could not be ended: no answer")?,
        }
        Ok(())
    }

    /// Learns names from an answer, and gives what is shown of it to the user `reader`.
    fn take_in(&mut self, mut answered: Answered, reader: &str) -> String {
        match (&answered.echo, &mut answered.reply) {
            (ReplyContext::Send(name), Reply::Sent) => self.display.learn([name.clone()]),
            (_, Reply::Online(names)) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                self.display.learn(names);
            }
            (_, Reply::History(messages)) if !messages.is_empty() => {
                return render::history(messages, reader, &self.display.clock).trim_end().to_owned();
            }
            (_, Reply::Status(receipts)) if !receipts.is_empty() => {
                return render::status(receipts, &self.display.clock).trim_end().to_owned();
            }
            _ => {}
        }
        visible(&answered.line()).into_owned()
    }
}
