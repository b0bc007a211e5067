//! What a telnet says to another telnet, told apart from what a person types (RFC 854, RFC 855). It is not answered: to
//! a telnet, that is a peer without options.

use memchr::memchr;

const IAC: u8 = 255;
/// The first and the last of WILL, WON'T, DO, DON'T.
const WILL: u8 = 251;
const DONT: u8 = 254;
/// The beginning and the end of a subnegotiation. The end is the first of all commands.
const SB: u8 = 250;
const SE: u8 = 240;

/// Where in a telnet's talk the stream is. IAC is no part of UTF-8, so no text is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TelnetState {
    /// In what the person types.
    #[default]
    Text,
    /// After IAC.
    Command,
    /// After IAC and one of WILL, WON'T, DO, DON'T: the option comes.
    Option,
    Subnegotiation,
    /// In a subnegotiation, after IAC.
    SubnegotiationCommand,
}

impl TelnetState {
    /// Appends to `text` what of the bytes is typed.
    pub(super) fn strip(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if *self == TelnetState::Text {
                let Some(place) = memchr(IAC, bytes) else { return text.extend_from_slice(bytes) };
                text.extend_from_slice(&bytes[..place]);
                bytes = &bytes[place..];
            }
            let (byte, rest) = (bytes[0], &bytes[1..]);
            bytes = rest;
            *self = match (*self, byte) {
                (TelnetState::Text, _) => TelnetState::Command,
                // Twice, it means the byte itself.
                (TelnetState::Command, IAC) => {
                    text.push(IAC);
                    TelnetState::Text
                }
                (TelnetState::Command, WILL..=DONT) => TelnetState::Option,
                (TelnetState::Command, SB) => TelnetState::Subnegotiation,
                // What is no command was no telnet's IAC.
                (TelnetState::Command, ..SE) => {
                    text.extend_from_slice(&[IAC, byte]);
                    TelnetState::Text
                }
                (TelnetState::Command | TelnetState::Option, _) => TelnetState::Text,
                (TelnetState::Subnegotiation, IAC) => TelnetState::SubnegotiationCommand,
                (TelnetState::SubnegotiationCommand, SE) => TelnetState::Text,
                (TelnetState::Subnegotiation | TelnetState::SubnegotiationCommand, _) => TelnetState::Subnegotiation,
            };
        }
    }
}
