//! `chatd chat`: a conversation that fills the screen. `state` is what is known, `update` how it changes, `view` what
//! is seen of it; these are pure. `network` feeds events to it, `terminal` keys, and here the two meet.

mod command;
mod draft;
mod event;
mod keys;
mod navigate;
mod network;
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
use self::state::ChatState;
use self::terminal::{Screen, keyboard};
use self::update::update;
use crate::cli::chat::account;
use crate::cli::chat::remote::Remote;
use crate::cli::{output, runtime};
use crate::client::RemoteServer;
use crate::model::{Timestamp, Token, visible};

/// How often the screen looks at the clock.
const MINUTE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Opens the conversation with this user
    user: Option<String>,
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
        if let Some(user) = &self.user {
            navigate::open(&mut state, user);
        }
        let runtime = runtime(1)?;
        let ended = runtime.block_on(converse(&mut state, server, token));
        runtime.shutdown_background();
        say_what_was_not_sent(&state);
        ended
    }
}

/// What was typed and not sent stays on the screen of the shell.
fn say_what_was_not_sent(state: &ChatState) {
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
async fn converse(state: &mut ChatState, server: RemoteServer, token: Token) -> anyhow::Result<ExitCode> {
    let mut signals = ChatSignals::listen()?;
    let mut screen = Screen::open()?;
    (state.columns, state.rows) = screen.size()?;
    let mut keys = keyboard();
    let (events, mut news) = unbounded_channel();
    let (wanted, wants) = unbounded_channel();
    let network = Network { server, token, me: state.me.clone(), events };
    tokio::spawn(network.clone().follow());
    tokio::spawn(network.carry_out(wants));
    let mut clock = interval(MINUTE);
    loop {
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
        let mut next = Some(first);
        while let Some(event) = next {
            for effect in update(state, event) {
                if !carry_out(effect, &mut screen, &wanted)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            next = at_hand(&mut keys, &mut news);
        }
    }
}

/// What has come already is taken in before the screen is drawn again.
fn at_hand(
    keys: &mut UnboundedReceiver<ratatui::crossterm::event::Event>,
    news: &mut UnboundedReceiver<ChatEvent>,
) -> Option<ChatEvent> {
    keys.try_recv().map(ChatEvent::Terminal).or_else(|_| news.try_recv()).ok()
}

/// Does what the state wants done. `false`: the person leaves.
fn carry_out(effect: Effect, screen: &mut Screen, wanted: &UnboundedSender<Effect>) -> io::Result<bool> {
    match effect {
        Effect::Quit => return Ok(false),
        Effect::Redraw => screen.forget()?,
        Effect::Suspend => screen.suspend()?,
        Effect::Notify(text) => screen.notify(&text)?,
        // Where the session has ended nobody takes it, and it stays in the outbox.
        other => drop(wanted.send(other)),
    }
    Ok(true)
}
