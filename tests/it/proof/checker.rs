//! A crowd of senders and readers, who write down what they asked and what they were told. Some of what they send goes
//! to groups, of which people are members at times; some goes under keys, and is sent again where no reply came; some
//! are files. Some readers do not wait for the replies. Some people follow the message log at a place of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::notes::{Certain, Fate, Followed, Invoked, Moment, Notes, Read, Sums, To};
use crate::support::{Folder, PATIENCE, SENT, Server};

/// Groups, of which each user makes one until there are so many, and stays in it.
const GROUPS: usize = 4;
/// So many of the users follow the message log.
const FOLLOWERS: usize = 3;
const DONE: &str = "{\"status\": \"OK\", \"message\": \"Done\"}";
const FILE_SENT: &str = "{\"status\": \"OK\", \"message\": \"File Sent\"}";

/// The accounts of a crowd, and all that it has noted so far.
#[derive(Clone)]
pub struct Crowd {
    tokens: Arc<Vec<String>>,
    notes: Arc<Mutex<Notes>>,
    nonce: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    dark: Arc<AtomicBool>,
}

/// A crowd at work.
pub struct AtWork {
    enough: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl AtWork {
    /// Lets everybody finish what is in hand, and waits.
    pub fn stop(self) {
        self.enough.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("nobody in the crowd panics"));
    }
}

/// A message as a file. Most are short, and some are in several pieces. Its name is the text, which says what its bytes
/// are: a message without its file, or with another, is one that nobody sent.
fn as_file(invoked: Invoked) -> Invoked {
    let length = if fastrand::u8(..8) == 0 { fastrand::usize(..300_000) } else { fastrand::usize(..2_000) };
    let mut words = invoked.text.split(':');
    let (sender, nonce) = (words.next().expect("it has three"), words.next().expect("it has three"));
    let begun = format!("{sender}:{nonce}:{length}");
    let text = format!("{begun}:{}", sum(&bytes_of(&begun)));
    Invoked { text, is_file: true, has_key: false, ..invoked }
}

/// The bytes of the file of this name: as many as it says, and other ones for each number.
fn bytes_of(name: &str) -> Vec<u8> {
    let mut numbers = name.split(':').skip(1).map(|word| word.parse::<u64>().unwrap_or(0));
    let (nonce, length) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut random = fastrand::Rng::with_seed(nonce);
    (0..length).map(|_| random.u8(..)).collect()
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a file that came; with other bytes than it says it is another.
fn file_as_read(name: &str, content: &str) -> String {
    let bytes = Base64::decode_vec(content).unwrap_or_default();
    match name.ends_with(&sum(&bytes)) {
        true => name.to_owned(),
        false => format!("{name} with other bytes"),
    }
}

fn name(user: usize) -> String {
    To::User(user).name()
}

impl Crowd {
    /// Makes `count` accounts and the groups in `folder` and logs each in; the tokens are good for all that follows.
    pub fn new(folder: &Folder, count: usize) -> Crowd {
        (0..count).for_each(|user| folder.add_user(&name(user), &name(user), ""));
        let server = Server::start(folder);
        let tokens = (0..count).map(|user| server.login(&name(user)).1).collect();
        let crowd = Crowd {
            tokens: Arc::new(tokens),
            notes: Arc::default(),
            nonce: Arc::default(),
            clock: Arc::default(),
            refused: Arc::default(),
            dark: Arc::default(),
        };
        let mut client = server.connect();
        for group in 0..GROUPS.min(count) {
            let made = client.ask(&format!("group {} create {}", crowd.tokens[group], To::Group(group).name()));
            assert_eq!(made, DONE);
            for user in 0..count {
                crowd.note_membership(group, user, user == group);
            }
        }
        drop(client);
        assert_eq!(server.stop(), Some(0));
        crowd
    }

    fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// It was just said whether somebody is a member.
    fn note_membership(&self, group: usize, user: usize, is_member: bool) {
        let since = self.now();
        let mut notes = self.notes();
        let certain = notes.members.entry((group, user)).or_default();
        match certain.last_mut() {
            Some(last) if last.until == Moment::MAX && last.is_member == is_member => {}
            Some(last) if last.until == Moment::MAX => panic!("{group} {user}: it is {is_member} after {last:?}"),
            _ => certain.push(Certain { is_member, since, until: Moment::MAX }),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody in the crowd panics")
    }

    /// How many sends were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.notes().sent.values().flatten().filter(|sent| sent.fate == Fate::Stored).count()
    }

    /// From here on no reply counts: at a power cut none would have come.
    pub fn lights_out(&self, dark: bool) {
        self.dark.store(dark, Ordering::SeqCst);
    }

    /// How many sends were answered with an error so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// `senders` and `readers` go to work at this server, until they are stopped or it is gone.
    pub fn work(&self, address: SocketAddr, senders: usize, readers: usize) -> AtWork {
        self.work_at([address, address], senders, readers)
    }

    /// The same at two servers: some send at the first and change the groups, and the others read at the second.
    pub fn work_at(&self, [address, other]: [SocketAddr; 2], senders: usize, readers: usize) -> AtWork {
        let enough = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        // Two connections of one user have no order between them.
        assert!(senders.max(readers) <= self.tokens.len());
        for number in 0..senders {
            let (crowd, enough) = (self.clone(), enough.clone());
            threads.push(thread::spawn(move || _ = crowd.send(address, number, &enough)));
        }
        for number in 0..readers {
            let (crowd, enough) = (self.clone(), enough.clone());
            threads.push(thread::spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    if crowd.read(other, number, &enough).is_none() {
                        return;
                    }
                }
            }));
        }
        for user in 0..FOLLOWERS.min(self.tokens.len()) {
            let (crowd, enough) = (self.clone(), enough.clone());
            threads.push(thread::spawn(move || _ = crowd.follow(other, user, &enough)));
        }
        let (crowd, stop) = (self.clone(), enough.clone());
        threads.push(thread::spawn(move || _ = crowd.join_and_leave(address, &stop)));
        AtWork { enough, threads }
    }

    /// Each sender is one user on one connection, so that its order is that of its requests; some are pipelined.
    fn send(&self, address: SocketAddr, sender: usize, enough: &AtomicBool) -> Option<()> {
        let mut connection = Connection::open(address)?;
        self.send_again(&mut connection, sender)?;
        while !enough.load(Ordering::Relaxed) {
            let together = fastrand::usize(1..4);
            let mut asked = String::new();
            let first = {
                let mut notes = self.notes();
                let sent = notes.sent.entry(sender).or_default();
                for _ in 0..together {
                    let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
                    let invoked = Invoked {
                        to: match fastrand::u8(..4) {
                            0 => To::Group(fastrand::usize(..GROUPS.min(self.tokens.len()))),
                            _ => To::User(fastrand::usize(..self.tokens.len())),
                        },
                        text: format!("{sender}:{nonce}:{}", "é\\\"".repeat(fastrand::usize(..20))),
                        fate: Fate::Unknown,
                        asked: self.now(),
                        answered: Moment::MAX,
                        has_key: fastrand::u8(..4) == 0,
                        is_file: false,
                        is_again: false,
                    };
                    let invoked = if fastrand::u8(..12) == 0 { as_file(invoked) } else { invoked };
                    asked += &self.request(sender, &invoked);
                    sent.push(invoked);
                }
                sent.len() - together
            };
            connection.write(&asked)?;
            for place in first..first + together {
                let reply = connection.reply()?;
                self.note_reply(sender, place, &reply);
            }
        }
        Some(())
    }

    /// A message that has no reply may be stored; under its key it is stored once, however often it is sent. All of
    /// them are sent again before anything new.
    fn send_again(&self, connection: &mut Connection, sender: usize) -> Option<()> {
        let unknown: Vec<(usize, String)> = {
            let mut notes = self.notes();
            let sent = notes.sent.get_mut(&sender).into_iter().flatten().enumerate();
            let unknown = sent.filter(|(_, invoked)| invoked.has_key && invoked.answered == Moment::MAX);
            let again = unknown.map(|(place, invoked)| {
                invoked.is_again = true;
                (place, self.request(sender, invoked))
            });
            again.collect()
        };
        for (place, request) in unknown {
            connection.write(&request)?;
            let reply = connection.reply()?;
            self.note_reply(sender, place, &reply);
        }
        Some(())
    }

    fn request(&self, sender: usize, Invoked { to, text, has_key, is_file, .. }: &Invoked) -> String {
        let (token, to) = (&self.tokens[sender], to.name());
        match has_key {
            _ if *is_file => format!("sendfile {token} {to} {text} {}\r\n", Base64::encode_string(&bytes_of(text))),
            // A text is its own key, up to what stands after its number.
            true => format!("sendkey {token} {} {to} {text}\r\n", text.rsplit_once(':').expect("it has two").0),
            false => format!("send {token} {to} {text}\r\n"),
        }
    }

    fn note_reply(&self, sender: usize, place: usize, reply: &str) {
        if self.dark.load(Ordering::SeqCst) {
            return;
        }
        let answered = self.now();
        let mut notes = self.notes();
        let invoked = &mut notes.sent.get_mut(&sender).expect("it was entered before")[place];
        invoked.answered = answered;
        match [SENT, FILE_SENT].contains(&reply) || reply.starts_with("{\"status\": \"OK\", \"id\": ") {
            true => invoked.fate = Fate::Stored,
            // Of who has left the group.
            false if reply.contains("Bukan member group") => {}
            false => _ = self.refused.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// People join groups and leave them; who has made a group stays in it.
    fn join_and_leave(&self, address: SocketAddr, enough: &AtomicBool) -> Option<()> {
        let mut connection = Connection::open(address)?;
        while !enough.load(Ordering::Relaxed) {
            let (group, user) =
                (fastrand::usize(..GROUPS.min(self.tokens.len())), fastrand::usize(..self.tokens.len()));
            let joins = fastrand::u8(..4) > 0;
            if user == group {
                continue;
            }
            if let Some(last) = self.notes().members.get_mut(&(group, user)).and_then(|certain| certain.last_mut())
                && last.is_member != joins
                && last.until == Moment::MAX
            {
                last.until = self.now();
            }
            let word = if joins { "join" } else { "leave" };
            connection.write(&format!("group {} {word} {}\r\n", self.tokens[user], To::Group(group).name()))?;
            let reply = connection.reply()?;
            let is_so = reply == DONE || reply.contains(if joins { "User sudah join" } else { "Bukan member group" });
            if is_so && !self.dark.load(Ordering::SeqCst) {
                self.note_membership(group, user, joins);
            }
            thread::sleep(Duration::from_millis(fastrand::u64(..20)));
        }
        Some(())
    }

    /// Where a follower goes on: after the last message that it was shown.
    fn follow(&self, address: SocketAddr, user: usize, enough: &AtomicBool) -> Option<()> {
        let mut connection = Connection::open(address)?;
        while !enough.load(Ordering::Relaxed) {
            let after = self.notes().followed.entry(user).or_default().last().map_or(0, |last| last.id);
            connection.write(&format!("follow {} {after} 1\r\n", self.tokens[user]))?;
            let reply = connection.reply()?;
            if !self.dark.load(Ordering::SeqCst) {
                self.note_followed(user, &reply);
            }
        }
        Some(())
    }

    /// Notes what a follower is shown; gives whether there is more.
    fn note_followed(&self, user: usize, reply: &str) -> bool {
        let reply: Value = serde_json::from_str(reply).expect("replies are JSON");
        let followed = &reply["follow"];
        let Some(messages) = followed["messages"].as_array() else { return false };
        let shown = messages.iter().map(|message| Followed {
            id: message["id"].as_i64().expect("a number"),
            text: message["msg"].as_str().expect("a text").trim().to_owned(),
        });
        self.notes().followed.entry(user).or_default().extend(shown);
        followed["more"] == true
    }

    /// One connection that reads for a while and then ends cleanly; `None` when it broke.
    fn read(&self, address: SocketAddr, reader: usize, enough: &AtomicBool) -> Option<()> {
        let mut connection = Connection::open(address)?;
        let broken = || {
            self.notes().note_broken(reader);
            None::<()>
        };
        for _ in 0..fastrand::usize(1..30) {
            if enough.load(Ordering::Relaxed) {
                break;
            }
            let asked = connection.write(&format!("inbox {}\r\n", self.tokens[reader]));
            // Every other reader now and then does not wait for the reply: what was in it must come again.
            if reader % 2 == 1 && fastrand::u8(..10) == 0 {
                let mut notes = self.notes();
                notes.impatient.insert(reader);
                notes.note_broken(reader);
                drop(notes);
                thread::sleep(Duration::from_millis(fastrand::u64(..4)));
                return Some(());
            }
            let Some(reply) = asked.and_then(|()| connection.reply()) else { return broken() };
            self.note_read(reader, &reply);
            thread::sleep(Duration::from_millis(fastrand::u64(..4)));
        }
        // A server that was killed now cannot have noted that the last reply was read.
        match connection.ended_cleanly() {
            true => Some(()),
            false => broken(),
        }
    }

    fn note_read(&self, reader: usize, reply: &str) {
        let reply: Value = serde_json::from_str(reply).expect("replies are JSON");
        let Some(senders) = reply["messages"].as_object() else { return };
        let mut notes = self.notes();
        for (sender, messages) in senders {
            for message in messages.as_array().expect("a list") {
                let text = |key: &str| message[key].as_str().expect("a text").trim().to_owned();
                let said = match message["file_name"].as_str() {
                    Some(name) => file_as_read(name, &text("file_content")),
                    None => text("msg"),
                };
                notes.read.push(Read { reader, sender: sender.clone(), to: text("msg_to"), text: said });
            }
        }
    }

    /// The server has stopped in good order after a check: what was read is noted for good.
    pub fn all_is_settled(&self) {
        let mut notes = self.notes();
        notes.settled = notes.read.len();
    }

    /// Every reader's last replies may come again: the server was killed.
    pub fn server_was_killed(&self) {
        let mut notes = self.notes();
        (0..self.tokens.len()).for_each(|reader| notes.note_broken(reader));
    }

    /// Sends again what has no reply and a key, empties all inboxes, lets the followers come to the end, and adds up.
    pub fn check(&self, server: &Server) -> Sums {
        for user in 0..self.tokens.len() {
            let mut connection = Connection::open(server.address).expect("the server listens");
            self.send_again(&mut connection, user).expect("the server answers");
        }
        let followers: Vec<usize> = self.notes().followed.keys().copied().collect();
        let mut client = server.connect();
        for user in followers {
            loop {
                let after = self.notes().followed[&user].last().map_or(0, |last| last.id);
                if !self.note_followed(user, &client.ask(&format!("follow {} {after}", self.tokens[user]))) {
                    break;
                }
            }
        }
        let begun = Instant::now();
        loop {
            self.empty_inboxes(server);
            let sums = self.add_up();
            // A server that has not seen yet that somebody is gone keeps what it has handed out.
            if sums.lost == 0 || begun.elapsed() > PATIENCE {
                return sums;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn empty_inboxes(&self, server: &Server) {
        for (reader, token) in self.tokens.iter().enumerate() {
            let mut client = server.connect();
            loop {
                let before = self.notes().read.len();
                self.note_read(reader, &client.ask(&format!("inbox {token}")));
                if self.notes().read.len() == before {
                    break;
                }
            }
        }
    }

    fn add_up(&self) -> Sums {
        self.notes().add_up(self.tokens.len())
    }
}

/// A client that expects faults.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Option<Connection> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Connection { stream: BufReader::new(stream) })
    }

    fn write(&mut self, request: &str) -> Option<()> {
        self.stream.get_mut().write_all(request.as_bytes()).ok()
    }

    fn reply(&mut self) -> Option<String> {
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            match self.stream.read_until(b'\n', &mut reply) {
                Ok(0) => return None,
                Ok(_) => {}
                // Silence is no answer, whatever happened to the disk.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server is silent"),
                Err(_) => return None,
            }
        }
        String::from_utf8(reply).ok().map(|reply| reply.trim().to_owned())
    }

    /// Ends the stream, and whether the server then ends it too.
    fn ended_cleanly(mut self) -> bool {
        let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Write);
        matches!(self.stream.fill_buf(), Ok([]))
    }
}

/// A store on which nothing goes wrong adds up, and each kind of wrong is seen.
#[test]
fn the_checker_sees_every_kind_of_wrong() {
    let folder = Folder::new("");
    let crowd = Crowd::new(&folder, 8);
    let server = Server::start(&folder);
    let work = crowd.work(server.address, 8, 4);
    let begun = Instant::now();
    let is_enough = || {
        let notes = crowd.notes();
        let is_key = |sent: &&Invoked| sent.has_key && sent.fate == Fate::Stored;
        let to_groups = notes.read.iter().filter(|read| read.to.starts_with("group")).count();
        let left = notes.members.values().filter(|certain| certain.len() > 2).count();
        let files = notes.sent.values().flatten().filter(|sent| sent.is_file && sent.fate == Fate::Stored).count();
        notes.sent.values().flatten().filter(is_key).count() > 20 && to_groups > 50 && left > 2 && files > 5
    };
    while crowd.acknowledged() < 200 || !is_enough() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    work.stop();
    let sums = crowd.check(&server);
    sums.must_hold();
    assert!(sums.to_members > 50 && sums.under_keys > 20 && sums.files > 5 && sums.to_followers > 50, "{sums}");

    let spoiled = |spoil: &dyn Fn(&mut Notes)| {
        let spoiled = Crowd { notes: Arc::new(Mutex::new(crowd.notes().clone())), ..crowd.clone() };
        spoil(&mut spoiled.notes());
        spoiled.add_up()
    };
    let own = |notes: &Notes| notes.read.iter().position(|read| read.to.starts_with("user")).expect("there are many");
    let of_group = |notes: &Notes| {
        let is_certain = |read: &Read| {
            let mut alone = notes.clone();
            alone.read.retain(|other| (other.reader, &other.text) != (read.reader, &read.text));
            read.to.starts_with("group") && alone.add_up(8).lost == 1
        };
        notes.read.iter().position(is_certain).expect("there are many")
    };
    assert_eq!(spoiled(&|notes| _ = notes.read.remove(own(notes))).lost, 1);
    assert_eq!(spoiled(&|notes| _ = notes.read.remove(of_group(notes))).lost, 1);
    assert_eq!(spoiled(&|notes| notes.read[0].text = "0:999999999:x".to_owned()).phantom, 1);
    assert_eq!(spoiled(&|notes| notes.read[0].text.push('x')).altered, 1);
    // A message that came without its file, and one that came with other bytes.
    let of_file = |notes: &Notes| {
        let names: Vec<&String> =
            notes.sent.values().flatten().filter(|sent| sent.is_file).map(|sent| &sent.text).collect();
        notes.read.iter().position(|read| names.contains(&&read.text)).expect("there are some")
    };
    let place = of_file(&crowd.notes());
    assert_eq!(spoiled(&|notes| notes.read[place].text.clear()).phantom, 1);
    let other = |notes: &mut Notes| notes.read[place].text = file_as_read(&notes.read[place].text, "AAAA");
    assert_eq!(spoiled(&other).altered, 1);
    let own_read = own(&crowd.notes());
    assert_eq!(spoiled(&|notes| notes.read[own_read].reader += 1).wrong_person, 1);
    assert_eq!(spoiled(&|notes| notes.read[own_read].to = "group0".to_owned()).wrong_person, 1);
    let is_for_no_member = |notes: &mut Notes| {
        for certain in notes.members.values_mut() {
            *certain = vec![Certain { is_member: false, since: 0, until: Moment::MAX }];
        }
    };
    assert!(spoiled(&is_for_no_member).wrong_person > 50);
    let again = |notes: &mut Notes| {
        let read = notes.read.iter().find(|read| !notes.broken.contains_key(&read.reader)).expect("most are patient");
        notes.read.push(read.clone());
    };
    assert_eq!(spoiled(&again).doubled, 1);
    let settled = |notes: &mut Notes| {
        (0..8).for_each(|reader| notes.note_broken(reader));
        notes.settled = notes.read.len();
        notes.read.push(notes.read[0].clone());
    };
    assert_eq!(spoiled(&settled).doubled, 1);
    assert!(spoiled(&|notes| notes.read.reverse()).out_of_order > 0);

    // What brings a file is shown without its text.
    let is_text = |followed: &Followed| !followed.text.is_empty();
    let shown =
        |notes: &Notes| notes.followed[&0].iter().rev().find(|one| is_text(one)).expect("there are many").clone();
    let forgotten = |notes: &mut Notes| {
        let id = shown(notes).id;
        notes.followed.get_mut(&0).expect("there are many").retain(|one| one.id != id);
    };
    assert_eq!(spoiled(&forgotten).lost, 1);
    let twice = |notes: &mut Notes| {
        let last = notes.followed[&0].last().expect("there are many").id;
        let again = Followed { id: last + 1, ..shown(notes) };
        notes.followed.get_mut(&0).expect("there are many").push(again);
    };
    assert_eq!(spoiled(&twice).doubled, 1);
    assert!(spoiled(&|notes| notes.followed.get_mut(&0).expect("there are many").reverse()).out_of_order > 0);
}
