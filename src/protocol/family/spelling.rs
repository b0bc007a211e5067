//! How the replies to the family's words are spelled: each is a list of parts, as the family's clients read it.

use super::FamilyReply;
use crate::protocol::Reply;
use crate::protocol::json::{self, JsonSpelling};
use crate::protocol::parts::{Place, Spell, Step};
use crate::protocol::python::{escape, string};

/// A part of a reply.
#[derive(Debug)]
pub(in crate::protocol) enum Part {
    /// As it stands here.
    Words(&'static str),
    /// The session of the reply.
    Token,
    /// The user of the session that has ended.
    Username,
    /// The names of the reply, as a list of texts.
    Names,
    /// The same in one text, with this behind each.
    Followed(&'static str),
    /// The same in one text, with this between them.
    Joined(&'static str),
    /// The name in the request.
    Named,
    /// Messages by sender, as in an inbox.
    Log,
    FileName,
    /// The bytes of a file, as they came.
    FileData,
    /// Names of files, by sender.
    Files,
    /// A list of people, each an object with these of their keys.
    People(&'static [PersonKey]),
}

/// What a reply says about a person.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) enum PersonKey {
    Username,
    DisplayName,
    Country,
}

/// The parts of one reply, and the name that its request has.
#[derive(Debug)]
pub(in crate::protocol) struct FamilySpelling {
    pub(super) parts: &'static [Part],
    pub(super) named: String,
}

use Part::{Followed, Joined, Names, People, Words};

pub(in crate::protocol) const LOGIN: &[Part] = &[
    Words(r#"{"status": "OK", "tokenid": "#),
    Part::Token,
    Words(r#", "token": "#),
    Part::Token,
    Words(r#", "token_id": "#),
    Part::Token,
];

pub(in crate::protocol) const LOGOUT: &[Part] = &[
    Words(r#"{"status": "OK", "messages": "#),
    Part::Token,
    Words(r#", "message": "Logout berhasil", "tokenid": "", "username": "#),
    Part::Username,
];

pub(super) const REGISTERED: &[Part] =
    &[Words(r#"{"status": "OK", "tokenid": "#), Part::Token, Words(r#", "message": "User Berhasil Didaftarkan""#)];

/// Who is there: what all have, and what stands behind it.
macro_rules! online {
    ($($more:expr),*) => {
        &[Words(r#"{"status": "OK", "messages": "#), Names, Words(r#", "message": "#), Followed(", "), $($more),*]
    };
}

pub(super) const ONLINE: &[Part] = online!();
pub(super) const LIST: &[Part] = online!(Words(r#", "user": "#), Names);
pub(super) const LISTUSER: &[Part] = online!(
    Words(r#", "listuseraktif": "#),
    Followed(" "),
    Words(r#", "user": "#),
    Names,
    Words(r#", "useraktif": "#),
    Names
);
pub(super) const LIST_USER: &[Part] = online!(Words(r#", "list_user": "#), Names);
pub(super) const ACTIVE_USERS: &[Part] = online!(Words(r#", "active users": "#), Names);
pub(super) const ACTIVE_LIST: &[Part] =
    online!(Words(r#", "activeusers": "#), People(&[PersonKey::Username, PersonKey::DisplayName, PersonKey::Country]));
pub(super) const ACTIVES: &[Part] =
    online!(Words(r#", "active": "#), People(&[PersonKey::Username, PersonKey::DisplayName]));
pub(super) const SHOW_USERS: &[Part] = &[
    Words(r#"{"status": "OK", "messages": {"users": "#),
    People(&[PersonKey::Username]),
    Words(r#"}, "message": "#),
    Followed(", "),
];

pub(super) const ACCOUNTS: &[Part] = &[
    Words(r#"{"status": "OK", "messages": "#),
    Names,
    Words(r#", "message": "#),
    Joined(" "),
    Words(r#", "users": "#),
    People(&[PersonKey::Username]),
    Words(r#", "userlist": "#),
    Names,
];

pub(super) const GROUP_MADE: &[Part] =
    &[Words(r#"{"status": "OK", "message": "Add group berhasil", "messages": "#), Part::Named];
pub(super) const GROUP_JOINED: &[Part] =
    &[Words(r#"{"status": "OK", "message": "Join group berhasil", "messages": "#), Part::Named];
pub(super) const GROUP_LEFT: &[Part] =
    &[Words(r#"{"status": "OK", "message": "Leave group berhasil", "messages": "#), Part::Named];
pub(super) const INVITED: &[Part] = &[Words(r#"{"status": "OK", "message": "User berhasil ditambahkan""#)];
pub(super) const GROUPS: &[Part] = &[
    Words(r#"{"status": "OK", "messages": "#),
    Names,
    Words(r#", "message": "#),
    Names,
    Words(r#", "groups": "#),
    Names,
    Words(r#", "grouplist": "#),
    Names,
];
pub(super) const GROUP_LOG: &[Part] =
    &[Words(r#"{"status": "OK", "messages": "#), Part::Log, Words(r#", "message": "#), Part::Log];

pub(super) const FILE_SENT: &[Part] = &[Words(r#"{"status": "OK", "message": "File Sent""#)];
pub(super) const DOWNLOAD: &[Part] = &[Words(r#"{"status": "OK", "message": "#), Part::FileData];
pub(super) const DOWNLOAD_BY_NAME: &[Part] = &[
    Words(r#"{"status": "OK", "messages": "#),
    Part::FileName,
    Words(r#", "filename": "#),
    Part::FileName,
    Words(r#", "data": "#),
    Part::FileData,
];
pub(super) const FILES: &[Part] = &[Words(r#"{"status": "OK", "messages": "#), Part::Files];

impl Spell for FamilySpelling {
    /// The first part stands for it.
    fn begin(&self, _: &Reply, _: &mut Vec<u8>) {}

    fn step(&self, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
        let Some(part) = self.parts.get(at.part) else { return Step::Over };
        let is_over = match part {
            Words(words) => {
                out.extend_from_slice(words.as_bytes());
                true
            }
            Part::Token => {
                if let Reply::LoggedIn { token } | Reply::LoggedOut { token, .. } = reply {
                    string(&token.reveal(), out);
                }
                true
            }
            Part::Username => {
                if let Reply::LoggedOut { username, .. } = reply {
                    string(username.as_str(), out);
                }
                true
            }
            Part::Named => {
                string(&self.named, out);
                true
            }
            Part::Log => {
                let Reply::Family(FamilyReply::GroupLog(senders)) = reply else { return Step::Over };
                match json::inbox(senders, &[], at, out) {
                    Step::Over => true,
                    step => return step,
                }
            }
            Part::FileName | Part::FileData | Part::Files => match file(part, reply, at, out) {
                Step::Over => true,
                step => return step,
            },
            Names => list(reply, at, out, |person, out| string(person.username, out)),
            People(keys) => list(reply, at, out, |person, out| person.spell(keys, out)),
            Followed(behind) => text(reply, at, out, "", behind),
            Joined(between) => text(reply, at, out, between, ""),
        };
        if is_over {
            at.next_part();
        }
        Step::Item
    }

    fn end(&self, out: &mut Vec<u8>) {
        JsonSpelling.end(out);
    }
}

/// Appends the next part of a list of files.
fn file(part: &Part, reply: &Reply, at: &mut Place, out: &mut Vec<u8>) -> Step {
    match (part, reply) {
        (Part::FileName, Reply::Family(FamilyReply::File { name, .. })) => {
            string(name, out);
            Step::Over
        }
        (Part::FileData, Reply::Family(FamilyReply::File { data, .. })) => json::long_text(data, at, out),
        (Part::Files, Reply::Family(FamilyReply::Files(files))) => json::files(files, at, out),
        _ => Step::Over,
    }
}

/// One of the people of a reply, with what it says about them.
struct Listed<'a> {
    username: &'a str,
    display_name: &'a str,
    country: &'a str,
}

impl Listed<'_> {
    /// The one at this place.
    fn of(reply: &Reply, place: usize) -> Option<Listed<'_>> {
        let (username, display_name, country) = match reply {
            Reply::Online(names) | Reply::Groups(names) | Reply::Family(FamilyReply::Accounts(names)) => {
                (names.get(place)?.as_str(), "", "")
            }
            Reply::Family(FamilyReply::OnlinePeople(people)) => {
                let person = people.get(place)?;
                (person.username.as_str(), &*person.display_name, &*person.country)
            }
            _ => return None,
        };
        Some(Listed { username, display_name, country })
    }

    /// Appends an object with these keys.
    fn spell(&self, keys: &[PersonKey], out: &mut Vec<u8>) {
        out.push(b'{');
        for (place, key) in keys.iter().enumerate() {
            let (key, value) = match key {
                PersonKey::Username => ("username", self.username),
                PersonKey::DisplayName => ("nama", self.display_name),
                PersonKey::Country => ("negara", self.country),
            };
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            string(key, out);
            out.extend_from_slice(b": ");
            string(value, out);
        }
        out.push(b'}');
    }
}

/// Appends the next item of a list; gives whether the list is over.
fn list(reply: &Reply, at: &mut Place, out: &mut Vec<u8>, spell: impl FnOnce(&Listed<'_>, &mut Vec<u8>)) -> bool {
    let person = Listed::of(reply, at.item);
    out.extend_from_slice(match (&person, at.item) {
        (Some(_), 0) => b"[",
        (Some(_), _) => b", ",
        (None, 0) => b"[]",
        (None, _) => b"]",
    });
    at.item += 1;
    person.inspect(|person| spell(person, out)).is_none()
}

/// Appends the next name to a text; gives whether the text is over.
fn text(reply: &Reply, at: &mut Place, out: &mut Vec<u8>, between: &str, behind: &str) -> bool {
    if at.item == 0 {
        out.push(b'"');
    }
    let Some(person) = Listed::of(reply, at.item) else {
        out.push(b'"');
        return true;
    };
    if at.item > 0 {
        escape(between, out);
    }
    escape(person.username, out);
    escape(behind, out);
    at.item += 1;
    false
}
