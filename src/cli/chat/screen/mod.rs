//! `chatd chat`: a conversation that fills the screen. `state` has what is known, `update` changes it, `view` shows it;
//! these are pure. `network` sends events and `terminal` sends keys; this file joins them.

mod command;
mod draft;
mod draft_file;
mod event;
mod keys;
mod navigate;
mod network;
mod outbox;
mod rows;
mod search;
mod state;
mod terminal;
mod update;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use jiff::tz::TimeZone;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::interval;

use self::event::{ChatEvent, Effect};
use self::network::Network;
use self::outbox::{Outbox, WaitingMessage};
use self::state::ChatState;
use self::terminal::{Screen, keyboard};
use self::update::update;
use crate::cli::chat::account;
use crate::cli::chat::remote::Remote;
use crate::cli::chat::tokens::Logins;
use crate::cli::{output, runtime};
use crate::client::RemoteServer;
use crate::model::{Timestamp, Token, visible};

/// How often the screen looks at the clock.
const MINUTE: Duration = Duration::from_secs(20);
/// So many events are taken in before the screen is drawn again, at the most.
const AT_ONCE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Opens the conversation with this user, or of this group
    user: Option<String>,
    /// Takes the mouse: its wheel goes through the conversation, a click opens one. With Shift the terminal selects as
    /// ever
    #[arg(long)]
    mouse: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Chat {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            bail!("this wants a terminal on both sides; `chatd client`, `chatd send` and `chatd inbox` do not");
        }
        if std::env::var("TERM").is_ok_and(|term| term == "dumb") {
            bail!("this terminal cannot move its cursor (TERM=dumb); `chatd client` needs none that can");
        }
        let target = self.remote.target()?;
        let (me, token) = account::session(&target, self.remote.kept_as())?;
        let server = target.server()?;
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut state = ChatState::new(&me, &server.address.to_string(), TimeZone::system(), colours);
        let (outbox, effects) = KeptOutbox::take_up(&mut state, &Logins::at(&server.address));
        if let Some(user) = &self.user {
            navigate::open(&mut state, user);
        }
        let runtime = runtime(1)?;
        let ended = runtime.block_on(converse(&mut state, server, token, outbox, effects, self.mouse));
        runtime.shutdown_background();
        say_what_was_not_sent(&state);
        ended
    }
}

/// The outbox on the disk, where there is a place for it.
struct KeptOutbox {
    outbox: Option<Outbox>,
    /// Why something is not kept.
    trouble: Option<String>,
    /// As far as is known: the person is told once when they are not.
    drafts_are_kept: bool,
}

impl KeptOutbox {
    /// Also with the messages that an earlier program has left unsent.
    fn take_up(state: &mut ChatState, logins: &Logins) -> (KeptOutbox, Vec<Effect>) {
        match logins.outbox_file(&state.me).and_then(|place| Ok(Outbox::open(&place)?)) {
            Ok((outbox, waiting)) => {
                state.keeps_outbox = true;
                let effects = command::take_up(state, waiting, outbox.drafts.kept(), Timestamp::now());
                (KeptOutbox { outbox: Some(outbox), trouble: None, drafts_are_kept: true }, effects)
            }
            Err(why) => {
                let trouble = Some(format!("nothing typed is kept: {why:#}"));
                (KeptOutbox { outbox: None, trouble, drafts_are_kept: false }, Vec::new())
            }
        }
    }

    /// Notes what waits, before it is sent, and what waits no more.
    fn note(&mut self, state: &ChatState, effects: &[Effect]) {
        for effect in effects {
            // What is taken back is a draft before it waits no more, and what waits is a draft no more before it is
            // sent: killed between the two, the next program has the text once.
            if matches!(effect, Effect::Done { .. } | Effect::Quit) {
                self.note_drafts(state);
            }
            self.note_effect(effect);
            if matches!(effect, Effect::Send { .. }) {
                self.note_drafts(state);
            }
        }
    }

    /// Notes what is typed and not sent.
    fn note_drafts(&mut self, state: &ChatState) {
        let Some(outbox) = &mut self.outbox else { return };
        let kept = outbox.drafts.keep(state.drafts());
        if self.drafts_are_kept {
            let trouble = kept.as_ref().err().map(|why| format!("what is typed is not kept on the disk: {why}"));
            self.trouble = trouble.or(self.trouble.take());
        }
        self.drafts_are_kept = kept.is_ok();
    }

    fn note_effect(&mut self, effect: &Effect) {
        let Some(outbox) = &mut self.outbox else { return };
        let noted = match effect {
            Effect::Send { with, key, text } => outbox.add(&WaitingMessage {
                key: key.clone(),
                with: with.clone(),
                text: text.to_string(),
                at: Timestamp::now().0,
            }),
            Effect::Done { key } => outbox.done(key),
            _ => Ok(()),
        };
        if let Err(why) = noted {
            self.trouble = Some(format!("the outbox on the disk: {why}"));
        }
    }
}

/// What was typed and not sent stays on the screen of the shell, where no other program will send it.
fn say_what_was_not_sent(state: &ChatState) {
    match (state.keeps_outbox, state.unsent()) {
        (true, 0) => return,
        (true, 1) => return output::note("chatd: a message waits, the next `chatd chat` sends it"),
        (true, many) => {
            return output::note(format_args!("chatd: {many} messages wait, the next `chatd chat` sends them"));
        }
        (false, _) => {}
    }
    for conversation in &state.conversations {
        for message in conversation.outbox.iter().filter(|message| message.stored.is_none()) {
            output::note(format_args!("not sent to {}: {}", visible(&conversation.name), message.text));
        }
    }
}

/// The signals that end the program, and the one that stops it.
struct ChatSignals {
    end: [(u8, Signal); 3],
    stop: Signal,
}

impl ChatSignals {
    fn listen() -> io::Result<ChatSignals> {
        let end =
            |kind: SignalKind| Ok::<_, io::Error>((u8::try_from(kind.as_raw_value()).unwrap_or(0), signal(kind)?));
        Ok(ChatSignals {
            end: [end(SignalKind::interrupt())?, end(SignalKind::terminate())?, end(SignalKind::hangup())?],
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
        })
    }

    /// The number of the signal; 0: the program is to stop.
    async fn next(&mut self) -> u8 {
        let [(first, interrupt), (second, terminate), (third, hangup)] = &mut self.end;
        tokio::select! {
            _ = interrupt.recv() => *first,
            _ = terminate.recv() => *second,
            _ = hangup.recv() => *third,
            _ = self.stop.recv() => 0,
        }
    }
}

/// Until the person leaves.
async fn converse(
    state: &mut ChatState,
    server: RemoteServer,
    token: Token,
    mut outbox: KeptOutbox,
    effects: Vec<Effect>,
    mouse: bool,
) -> anyhow::Result<ExitCode> {
    let mut signals = ChatSignals::listen()?;
    let mut screen = Screen::open(mouse)?;
    (state.columns, state.rows) = screen.size()?;
    let mut keys = keyboard();
    let (events, mut news) = unbounded_channel();
    let (wanted, wants) = unbounded_channel();
    let network = Network { server, token, me: state.me.clone(), events };
    tokio::spawn(network.clone().follow());
    tokio::spawn(network.carry_out(wants));
    let mut clock = interval(MINUTE);
    for effect in effects {
        carry_out(effect, &mut screen, &wanted)?;
    }
    loop {
        outbox.note_drafts(state);
        state.note = outbox.trouble.take().or(state.note.take());
        state.now = Timestamp::now();
        screen.draw(state)?;
        let first = tokio::select! {
            biased;
            number = signals.next() => match number {
                0 => {
                    screen.suspend()?;
                    continue;
                }
                number => return Ok(ExitCode::from(128 + number)),
            },
            key = keys.recv() => match key {
                Some(key) => ChatEvent::Terminal(key),
                // The terminal is gone.
                None => return Ok(ExitCode::FAILURE),
            },
            Some(event) = news.recv() => event,
            _ = clock.tick() => ChatEvent::Tick(Timestamp::now()),
        };
        let mut first = Some(first);
        for _ in 0..AT_ONCE {
            let Some(event) = first.take().or_else(|| at_hand(&mut keys, &mut news)) else { break };
            let effects = update(state, event);
            outbox.note(state, &effects);
            for effect in effects {
                if !carry_out(effect, &mut screen, &wanted)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
}

/// What has come already: what the server says first, because much may be typed at once.
fn at_hand(
    keys: &mut UnboundedReceiver<ratatui::crossterm::event::Event>,
    news: &mut UnboundedReceiver<ChatEvent>,
) -> Option<ChatEvent> {
    news.try_recv().or_else(|_| keys.try_recv().map(ChatEvent::Terminal)).ok()
}

/// Does what the state wants done. `false`: the person leaves.
fn carry_out(effect: Effect, screen: &mut Screen, wanted: &UnboundedSender<Effect>) -> io::Result<bool> {
    match effect {
        Effect::Quit => return Ok(false),
        Effect::Redraw => screen.forget()?,
        Effect::Suspend => screen.suspend()?,
        Effect::Notify(text) => screen.notify(&text)?,
        Effect::Done { .. } => {}
        // Where the session has ended nobody takes it, and it stays in the outbox.
        other => drop(wanted.send(other)),
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
