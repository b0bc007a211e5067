//! How one connection spells requests and replies. The wire of the original server depends only on the line. In the
//! text protocol the connection has a session, and a reply has words of its request.

use std::collections::VecDeque;

use super::family::{FamilyDialogue, FamilySettings};
use super::parts::Cursor;
use super::rendering::{Rendering, Spelling};
use super::text::{self, ReplyContext};
use super::{Refusal, Reply, Request, json};
use crate::model::Token;

/// A connection's way to spell. Requests are read and replies rendered in the same order, one for one.
#[derive(Debug)]
pub enum Dialect {
    /// [`json`].
    Json,
    /// [`text`].
    Text(Dialogue),
    /// [`json`] and the words of the [`family`](super::family).
    Family(FamilyDialogue),
}

/// What the text dialect remembers of a connection.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// The session that the connection has logged in with.
    session: Option<Token>,
    /// The requests that have no reply yet.
    echoes: VecDeque<ReplyContext>,
}

impl Dialect {
    /// The wire of the original server.
    pub fn json() -> Dialect {
        Dialect::Json
    }

    /// The wire of the original server with the words of its family.
    pub fn family(settings: FamilySettings) -> Dialect {
        Dialect::Family(FamilyDialogue::new(settings))
    }

    /// The text protocol, with nobody logged in.
    pub fn text() -> Dialect {
        Dialect::Text(Dialogue::default())
    }

    /// Reads one line.
    pub fn parse(&mut self, line: &[u8]) -> Result<Request, Refusal> {
        match self {
            Dialect::Json => json::parse(line),
            Dialect::Family(dialogue) => dialogue.parse(line),
            Dialect::Text(dialogue) => {
                let (echo, request) = text::parse(line, dialogue.session);
                dialogue.echoes.push_back(echo);
                request
            }
        }
    }

    /// The token at the beginning of a long line, or why the line is refused.
    pub fn parse_head(&self, head: &[u8]) -> Result<Token, Refusal> {
        match self {
            Dialect::Json => json::parse_head(head),
            Dialect::Family(dialogue) => dialogue.parse_head(head),
            Dialect::Text(dialogue) => text::parse_head(head, dialogue.session),
        }
    }

    /// Whether a long line, by its beginning, brings a file.
    pub fn brings_a_file(&self, head: &[u8]) -> bool {
        matches!(self, Dialect::Family(dialogue) if dialogue.brings_a_file(head))
    }

    /// Whether a long line, by its beginning, is an HTTP request line.
    pub fn begins_http(head: &[u8]) -> bool {
        super::grammar::begins_http(head)
    }

    /// Takes note of a line that is refused unread.
    pub fn pass(&mut self) {
        match self {
            Dialect::Json => {}
            Dialect::Text(dialogue) => dialogue.echoes.push_back(ReplyContext::Unknown),
            Dialect::Family(dialogue) => dialogue.pass(),
        }
    }

    /// Appends the reply and its end.
    pub fn render(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        out.reserve(64);
        let spelling = self.spelling(reply);
        Cursor::default().advance(reply, &spelling, out, usize::MAX);
    }

    /// The same in pieces.
    pub fn rendering(&mut self, reply: Reply) -> Rendering {
        let spelling = self.spelling(&reply);
        Rendering::new(reply, spelling)
    }

    /// How the reply to the oldest request that has none is spelled.
    fn spelling(&mut self, reply: &Reply) -> Spelling {
        match self {
            Dialect::Json => Spelling::Json,
            Dialect::Text(dialogue) => dialogue.spelling(reply),
            Dialect::Family(dialogue) => dialogue.spelling(reply).map_or(Spelling::Json, Spelling::Family),
        }
    }

    /// Appends a refusal in place of a reply. The reply was not rendered, or it was taken back.
    pub fn render_instead(&self, refusal: Refusal, out: &mut Vec<u8>) {
        match self {
            Dialect::Json | Dialect::Family(_) => json::render(&refusal.into(), out),
            Dialect::Text(_) => {
                out.extend_from_slice(text::render(&ReplyContext::Unknown, &refusal.into()).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

impl Dialogue {
    /// How the reply to the oldest request that has none is spelled.
    fn spelling(&mut self, reply: &Reply) -> Spelling {
        let echo = self.echoes.pop_front().unwrap_or(ReplyContext::Unknown);
        self.note(reply);
        Spelling::Text(echo)
    }

    /// A login begins the connection's session; the logout of that same session ends it.
    fn note(&mut self, reply: &Reply) {
        match reply {
            Reply::LoggedIn { token } => self.session = Some(*token),
            Reply::LoggedOut { token, .. } if self.session == Some(*token) => self.session = None,
            _ => {}
        }
    }
}
