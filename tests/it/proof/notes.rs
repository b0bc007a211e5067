//! What a crowd has written down of what it asked and was told, and what these notes must add up to: lost 0, phantom 0,
//! altered 0, wrong person 0, out of order 0, and twice only where a fault could do that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// A moment in the order of all that the crowd asked and was told.
pub type Moment = u64;

/// What a sender knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// OK was said.
    Stored,
    /// An error was said, or nothing: it may be stored or not.
    Unknown,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    User(usize),
    Group(usize),
}

impl To {
    pub fn name(self) -> String {
        match self {
            To::User(user) => format!("user{user}"),
            To::Group(group) => format!("group{group}"),
        }
    }
}

/// A message that somebody asked to be sent.
#[derive(Clone, Debug)]
pub struct Invoked {
    pub to: To,
    pub text: String,
    pub fate: Fate,
    pub asked: Moment,
    /// When the reply was there; the end of time if there was none.
    pub answered: Moment,
    /// It was sent under a key, and is sent again until there is a reply.
    pub has_key: bool,
    /// It is a file: the text is its name, in which the SHA-256 of its bytes stands.
    pub is_file: bool,
    /// It was sent again. What comes after it may be stored before it: the first time it may have been refused, because
    /// its sender was not in the group then.
    pub is_again: bool,
}

/// A time in which it is certain whether somebody is in a group: it begins when that was said, and ends when the
/// opposite was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Certain {
    pub is_member: bool,
    pub since: Moment,
    pub until: Moment,
}

/// A message that a follower was shown.
#[derive(Clone, Debug)]
pub struct Followed {
    pub id: i64,
    pub text: String,
}

/// A message that a reader was handed.
#[derive(Clone, Debug)]
pub struct Read {
    pub reader: usize,
    /// The sender's user name.
    pub sender: String,
    /// Whom it is for, as the message says.
    pub to: String,
    pub text: String,
}

/// What all have written down.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// By sender, in the order asked.
    pub sent: BTreeMap<usize, Vec<Invoked>>,
    /// In the order read by each reader.
    pub read: Vec<Read>,
    /// Readers whose connection broke after they had asked, and before which of the notes of readers: what they were
    /// handed out before may come again.
    pub broken: BTreeMap<usize, Vec<usize>>,
    /// So many of the notes of readers are from before the last stop in good order: none of it may come again.
    pub settled: usize,
    /// Readers who do not wait for replies: their next connection may be handed newer messages first.
    pub impatient: BTreeSet<usize>,
    /// By group and user.
    pub members: BTreeMap<(usize, usize), Vec<Certain>>,
    /// By follower, in the order shown.
    pub followed: BTreeMap<usize, Vec<Followed>>,
}

/// What the notes add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub acknowledged: usize,
    pub unknown: usize,
    /// Messages to groups, once for each member who was certain to be in it.
    pub to_members: usize,
    /// Messages that were acknowledged under a key.
    pub under_keys: usize,
    /// Files that were acknowledged.
    pub files: usize,
    /// Messages that followers were to be shown.
    pub to_followers: usize,
    pub lost: usize,
    pub phantom: usize,
    pub altered: usize,
    pub wrong_person: usize,
    /// Twice although no connection of that reader broke in between, or the server had stopped in good order since; or
    /// under two numbers.
    pub doubled: usize,
    /// Twice, and a fault may have done it.
    pub redelivered: usize,
    pub out_of_order: usize,
    /// The messages that were lost or doubled, and for whom.
    pub named: Vec<String>,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { acknowledged, unknown, to_members, under_keys, files, to_followers, .. } = self;
        write!(f, "{acknowledged} acknowledged ({under_keys} under keys, {files} files), {unknown} unknown, ")?;
        write!(f, "{to_members} for members of groups, {to_followers} for followers: ")?;
        let Sums { lost, phantom, altered, wrong_person, doubled, out_of_order, redelivered, .. } = self;
        write!(f, "lost {lost}, phantom {phantom}, altered {altered}, wrong person {wrong_person}, ")?;
        write!(f, "doubled {doubled}, out of order {out_of_order}; redelivered {redelivered}")
    }
}

impl Sums {
    fn add_if_lost(&mut self, was_told: bool, user: usize, invoked: &Invoked) {
        if !was_told {
            self.lost += 1;
            self.named.push(format!("lost for user{user}: {invoked:?}"));
        }
    }

    /// Fails unless all that must be 0 is 0.
    pub fn must_hold(&self) {
        let Sums { lost, phantom, altered, wrong_person, doubled, out_of_order, .. } = self;
        let wrong = [lost, phantom, altered, wrong_person, doubled, out_of_order];
        assert!(wrong.iter().all(|count| **count == 0), "{self}\n{}", self.named.join("\n"));
    }
}

/// The number in a text, by which it is found again.
pub fn nonce_of(text: &str) -> Option<u64> {
    text.split(':').nth(1)?.parse().ok()
}

/// A message by its number: who sent it, its place among the sender's, and what was asked.
type Asked<'a> = HashMap<u64, (usize, usize, &'a Invoked)>;

impl Notes {
    /// A connection of this reader broke just now.
    pub fn note_broken(&mut self, reader: usize) {
        let place = self.read.len();
        self.broken.entry(reader).or_default().push(place);
    }

    /// Whether what a reader was handed at one place of the notes may have come again at another.
    fn may_come_again(&self, reader: usize, before: usize, now: usize) -> bool {
        let is_between = |place: &usize| before < *place && *place <= now;
        self.broken.get(&reader).is_some_and(|places| places.iter().any(is_between)) && !is_between(&self.settled)
    }

    fn asked(&self) -> Asked<'_> {
        let mut asked = HashMap::new();
        for (sender, sent) in &self.sent {
            for (place, invoked) in sent.iter().enumerate() {
                let nonce = nonce_of(&invoked.text).expect("every text has one");
                asked.insert(nonce, (*sender, place, invoked));
            }
        }
        asked
    }

    /// Whether somebody was a member all the time in which a message may have been stored; `None`: nobody can tell.
    fn was_member(&self, group: usize, user: usize, message: &Invoked) -> Option<bool> {
        let certain = self.members.get(&(group, user))?;
        let all_the_time = |certain: &&Certain| certain.since < message.asked && message.answered < certain.until;
        certain.iter().find(all_the_time).map(|certain| certain.is_member)
    }

    /// Whether somebody must be told of a message of another's; `None`: it may be either.
    fn is_for(&self, user: usize, message: &Invoked) -> Option<bool> {
        match message.to {
            To::User(recipient) => Some(recipient == user),
            To::Group(group) => self.was_member(group, user, message),
        }
    }

    /// The notes of readers: nothing that nobody sent, each as it was sent, for whom it was sent, once, in order.
    fn add_reads(&self, asked: &Asked<'_>, sums: &mut Sums) -> HashSet<(u64, usize)> {
        let mut last_place: HashMap<(u64, usize), usize> = HashMap::new();
        let mut last: HashMap<(usize, usize), usize> = HashMap::new();
        for (number, Read { reader, sender: sender_name, to, text }) in self.read.iter().enumerate() {
            let Some((nonce, (sender, place, invoked))) = nonce_of(text).and_then(|nonce| asked.get_key_value(&nonce))
            else {
                sums.phantom += 1;
                continue;
            };
            sums.altered += usize::from(invoked.text != *text);
            // Who writes to a group does not get it back.
            let is_own = matches!(invoked.to, To::Group(_)) && sender == reader;
            let is_theirs = self.is_for(*reader, invoked) != Some(false) && !is_own;
            let is_right = is_theirs && invoked.to.name() == *to && To::User(*sender).name() == *sender_name;
            sums.wrong_person += usize::from(!is_right);
            if let Some(before) = last_place.insert((*nonce, *reader), number) {
                match self.may_come_again(*reader, before, number) {
                    true => sums.redelivered += 1,
                    false => {
                        sums.doubled += 1;
                        sums.named.push(format!("doubled for user{reader} (notes {before}, {number}): {invoked:?}"));
                    }
                }
                continue;
            }
            // What is read for the first time comes after all that this sender had sent before to this reader; where
            // one user reads on several connections, their notes interleave.
            if !self.impatient.contains(reader) && !invoked.is_again {
                let last = last.entry((*sender, *reader)).or_default();
                sums.out_of_order += usize::from(*place + 1 < *last);
                *last = (*place + 1).max(*last);
            }
        }
        last_place.into_keys().collect()
    }

    /// The notes of followers: each message that they sent or that was for them, once, in the order of its number.
    fn add_followed(&self, asked: &Asked<'_>, sums: &mut Sums) {
        for (follower, followed) in &self.followed {
            let mut shown = HashSet::new();
            let mut last = 0;
            for Followed { id, text } in followed {
                sums.out_of_order += usize::from(*id <= last);
                last = *id;
                // It brings a file, and the message log does not say which.
                if text.is_empty() {
                    continue;
                }
                let Some((nonce, (sender, _, invoked))) = nonce_of(text).and_then(|nonce| asked.get_key_value(&nonce))
                else {
                    sums.phantom += 1;
                    continue;
                };
                sums.altered += usize::from(invoked.text != *text);
                sums.wrong_person += usize::from(sender != follower && self.is_for(*follower, invoked) == Some(false));
                sums.doubled += usize::from(!shown.insert(*nonce));
            }
            for (nonce, (sender, _, invoked)) in asked {
                let is_for = sender == follower || self.is_for(*follower, invoked) == Some(true);
                // The message log has nothing but the message that brings a file.
                if invoked.fate == Fate::Stored && is_for && !invoked.is_file {
                    sums.to_followers += 1;
                    sums.add_if_lost(shown.contains(nonce), *follower, invoked);
                }
            }
        }
    }

    /// Adds all up, where every inbox was read empty and every follower has come to the end.
    pub fn add_up(&self, users: usize) -> Sums {
        let mut sums = Sums::default();
        let asked = self.asked();
        let read = self.add_reads(&asked, &mut sums);
        self.add_followed(&asked, &mut sums);
        for (nonce, (sender, _, invoked)) in &asked {
            if invoked.fate == Fate::Unknown {
                sums.unknown += 1;
                continue;
            }
            sums.acknowledged += 1;
            sums.under_keys += usize::from(invoked.has_key);
            sums.files += usize::from(invoked.is_file);
            match invoked.to {
                To::User(user) => sums.add_if_lost(read.contains(&(*nonce, user)), user, invoked),
                To::Group(group) => {
                    let is_one = |user: &usize| user != sender && self.was_member(group, *user, invoked) == Some(true);
                    for member in (0..users).filter(is_one) {
                        sums.to_members += 1;
                        sums.add_if_lost(read.contains(&(*nonce, member)), member, invoked);
                    }
                }
            }
        }
        sums
    }
}
