//! A crowd of senders and readers who write down what they asked and what they were told, and the sums that these notes
//! must give: lost 0, phantom 0, altered 0, wrong person 0, out of order 0, and twice only where a fault could do that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Folder, PATIENCE, SENT, Server};

/// What a sender knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// OK was said.
    Stored,
    /// An error was said, or nothing: it may be stored or not.
    Unknown,
}

/// A message that somebody asked to be sent.
#[derive(Clone, Debug)]
struct Invoked {
    recipient: usize,
    text: String,
    fate: Fate,
}

/// What all have written down.
#[derive(Debug, Default)]
struct Notes {
    /// By sender, in the order asked.
    sent: BTreeMap<usize, Vec<Invoked>>,
    /// In the order read by each reader: who reads, the sender's user name, the text.
    read: Vec<(usize, String, String)>,
    /// Readers whose connection broke after they had asked: what they were handed out may come again.
    broken: BTreeSet<usize>,
}

/// What the notes add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub acknowledged: usize,
    pub unknown: usize,
    pub lost: usize,
    pub phantom: usize,
    pub altered: usize,
    pub wrong_person: usize,
    /// Twice although no connection of that reader ever broke.
    pub doubled: usize,
    /// Twice, and a fault may have done it.
    pub redelivered: usize,
    pub out_of_order: usize,
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { acknowledged, unknown, lost, phantom, altered, wrong_person, .. } = self;
        write!(
            f,
            "{acknowledged} acknowledged, {unknown} unknown: lost {lost}, phantom {phantom}, altered {altered}, "
        )?;
        let Sums { doubled, redelivered, out_of_order, .. } = self;
        write!(
            f,
            "wrong person {wrong_person}, doubled {doubled}, out of order {out_of_order}; redelivered {redelivered}"
        )
    }
}

impl Sums {
    /// Fails unless all that must be 0 is 0.
    pub fn must_hold(&self) {
        let Sums { lost, phantom, altered, wrong_person, doubled, out_of_order, .. } = self;
        let wrong = [lost, phantom, altered, wrong_person, doubled, out_of_order];
        assert!(wrong.iter().all(|count| **count == 0), "{self}");
    }
}

/// The accounts of a crowd, and all that it has noted so far.
#[derive(Clone)]
pub struct Crowd {
    tokens: Arc<Vec<String>>,
    notes: Arc<Mutex<Notes>>,
    nonce: Arc<AtomicU64>,
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

fn name(user: usize) -> String {
    format!("user{user}")
}

impl Crowd {
    /// Makes `count` accounts in `folder` and logs each in; the tokens are good for all that follows.
    pub fn new(folder: &Folder, count: usize) -> Crowd {
        (0..count).for_each(|user| folder.add_user(&name(user), &name(user), ""));
        let server = Server::start(folder);
        let tokens = (0..count).map(|user| server.login(&name(user)).1).collect();
        assert_eq!(server.stop(), Some(0));
        Crowd {
            tokens: Arc::new(tokens),
            notes: Arc::default(),
            nonce: Arc::default(),
            refused: Arc::default(),
            dark: Arc::default(),
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
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
        let enough = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        // Two connections of one user have no order between them.
        assert!(senders.max(readers) <= self.tokens.len());
        for number in 0..senders {
            let (crowd, enough) = (self.clone(), enough.clone());
            threads.push(thread::spawn(move || crowd.send(address, number, &enough)));
        }
        for number in 0..readers {
            let (crowd, enough) = (self.clone(), enough.clone());
            threads.push(thread::spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    if crowd.read(address, number, &enough).is_none() {
                        return;
                    }
                }
            }));
        }
        AtWork { enough, threads }
    }

    /// Each sender is one user on one connection, so that its order is that of its requests; some are pipelined.
    fn send(&self, address: SocketAddr, sender: usize, enough: &AtomicBool) {
        let Some(mut connection) = Connection::open(address) else { return };
        while !enough.load(Ordering::Relaxed) {
            let together = fastrand::usize(1..4);
            let mut asked = String::new();
            let first = {
                let mut notes = self.notes();
                let sent = notes.sent.entry(sender).or_default();
                for _ in 0..together {
                    let recipient = fastrand::usize(..self.tokens.len());
                    let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
                    let text = format!("{sender}:{nonce}:{}", "é\\\"".repeat(fastrand::usize(..20)));
                    asked += &format!("send {} {} {text}\r\n", self.tokens[sender], name(recipient));
                    sent.push(Invoked { recipient, text, fate: Fate::Unknown });
                }
                sent.len() - together
            };
            if connection.write(&asked).is_none() {
                return;
            }
            for place in first..first + together {
                match connection.reply() {
                    Some(reply) if reply == SENT && !self.dark.load(Ordering::SeqCst) => {
                        let mut notes = self.notes();
                        notes.sent.get_mut(&sender).expect("it was entered above")[place].fate = Fate::Stored;
                    }
                    Some(_) => _ = self.refused.fetch_add(1, Ordering::Relaxed),
                    None => return,
                }
            }
        }
    }

    /// One connection that reads for a while and then ends cleanly; `None` when it broke.
    fn read(&self, address: SocketAddr, reader: usize, enough: &AtomicBool) -> Option<()> {
        let mut connection = Connection::open(address)?;
        let broken = || {
            self.notes().broken.insert(reader);
            None::<()>
        };
        for _ in 0..fastrand::usize(1..30) {
            if enough.load(Ordering::Relaxed) {
                break;
            }
            let asked = connection.write(&format!("inbox {}\r\n", self.tokens[reader]));
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
        let reply: serde_json::Value = serde_json::from_str(reply).expect("replies are JSON");
        let Some(senders) = reply["messages"].as_object() else { return };
        let mut notes = self.notes();
        for (sender, messages) in senders {
            for message in messages.as_array().expect("a list") {
                let text = message["msg"].as_str().expect("a text").trim();
                assert_eq!(message["msg_to"], name(reader));
                notes.read.push((reader, sender.clone(), text.to_owned()));
            }
        }
    }

    /// Every reader's last replies may come again: the server was killed.
    pub fn server_was_killed(&self) {
        self.notes().broken.extend(0..self.tokens.len());
    }

    /// Empties all inboxes, and adds up.
    pub fn check(&self, server: &Server) -> Sums {
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
        self.add_up()
    }

    fn add_up(&self) -> Sums {
        let notes = self.notes();
        let mut sums = Sums::default();
        let mut asked = HashMap::new();
        for (sender, sent) in &notes.sent {
            for (place, invoked) in sent.iter().enumerate() {
                let nonce = nonce_of(&invoked.text).expect("every text has one");
                asked.insert(nonce, (*sender, place, invoked));
            }
        }
        let mut times: HashMap<u64, usize> = HashMap::new();
        let mut last: HashMap<(usize, usize), usize> = HashMap::new();
        for (reader, sender_name, text) in &notes.read {
            let Some((nonce, (sender, place, invoked))) = nonce_of(text).and_then(|nonce| asked.get_key_value(&nonce))
            else {
                sums.phantom += 1;
                continue;
            };
            sums.altered += usize::from(invoked.text != *text);
            sums.wrong_person += usize::from(invoked.recipient != *reader || name(*sender) != *sender_name);
            let times = times.entry(*nonce).or_default();
            *times += 1;
            if *times > 1 {
                match notes.broken.contains(reader) {
                    true => sums.redelivered += 1,
                    false => sums.doubled += 1,
                }
                continue;
            }
            // What is read for the first time comes after all that this sender had sent before to this reader; where
            // one user reads on several connections, their notes interleave.
            let last = last.entry((*sender, *reader)).or_default();
            sums.out_of_order += usize::from(*place + 1 < *last);
            *last = (*place + 1).max(*last);
        }
        for (nonce, (_, _, invoked)) in &asked {
            match invoked.fate {
                Fate::Stored => {
                    sums.acknowledged += 1;
                    sums.lost += usize::from(!times.contains_key(nonce));
                }
                Fate::Unknown => sums.unknown += 1,
            }
        }
        sums
    }
}

fn nonce_of(text: &str) -> Option<u64> {
    text.split(':').nth(1)?.parse().ok()
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
    let begun = std::time::Instant::now();
    while crowd.acknowledged() < 200 {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    work.stop();
    let sums = crowd.check(&server);
    sums.must_hold();
    assert_eq!((sums.redelivered, sums.unknown), (0, 0), "{sums}");

    let spoiled = |spoil: &dyn Fn(&mut Notes)| {
        let notes = {
            let notes = crowd.notes();
            Notes { sent: notes.sent.clone(), read: notes.read.clone(), broken: notes.broken.clone() }
        };
        let spoiled = Crowd { notes: Arc::new(Mutex::new(notes)), ..crowd.clone() };
        spoil(&mut spoiled.notes());
        spoiled.add_up()
    };
    assert_eq!(spoiled(&|notes| _ = notes.read.pop()).lost, 1);
    assert_eq!(spoiled(&|notes| notes.read[0].2 = "0:999999999:x".to_owned()).phantom, 1);
    assert_eq!(spoiled(&|notes| notes.read[0].2.push('x')).altered, 1);
    assert_eq!(spoiled(&|notes| notes.read[0].0 = (notes.read[0].0 + 1) % 8).wrong_person, 1);
    assert_eq!(spoiled(&|notes| notes.read.push(notes.read[0].clone())).doubled, 1);
    assert!(spoiled(&|notes| notes.read.reverse()).out_of_order > 0);
}
