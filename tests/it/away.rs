//! `chatd client` on a terminal notices that its session has ended, and that the server cannot be reached and can
//! again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use crate::client::{on_terminal, server};
use crate::support::{Folder, Server};
use crate::terminal::Terminal;

/// TCP gives a silent peer some 25 seconds, and a `wait` has 30.
const LONG: Duration = Duration::from_secs(60);

const LOST: &str = ": trying again)";
const BACK: &str = "(the connection is back)";

fn has_ended(messi: &mut Terminal) {
    messi.see_within(LONG, "(the session has ended: log in again with auth)");
    messi.see("Command ------ the session has ended -------:");
    messi.enter("send henderson halo");
    messi.see("Error, not authorized");
    messi.see("Command :");
    messi.enter("auth messi surabaya");
    messi.see("username messi logged in, token ");
}

#[test]
fn an_idle_client_says_that_its_session_has_ended() {
    let (folder, server) = server();
    for act in [&["session", "revoke", "messi"][..], &["user", "passwd", "messi", "--password-stdin"]] {
        let mut messi = on_terminal(&folder, server.address, "messi");
        folder.done(act, "surabaya\n");
        has_ended(&mut messi);
    }
    let mut messi = on_terminal(&folder, server.address, "messi");
    folder.done(&["user", "disable", "messi"], "");
    messi.see("(the session has ended: log in again with auth)");
    messi.see("Command ------ the session has ended -------:");
    messi.type_in("\x04");
    assert!(!messi.all().contains("End the session"), "there is none to end");
    assert_eq!(messi.end(), Some(0));
}

#[test]
fn an_idle_client_says_that_its_session_has_expired() {
    let folder = Folder::new("[session]\nidle_expiry = \"4s\"");
    folder.add_three();
    let server = Server::start(&folder);
    let mut messi = on_terminal(&folder, server.address, "messi");
    has_ended(&mut messi);
}

#[test]
fn a_logout_of_ones_own_is_no_news() {
    let (folder, server) = server();
    let mut messi = on_terminal(&folder, server.address, "messi");
    messi.enter("logout");
    messi.see("Logout berhasil dilakukan");
    messi.see("Command :");
    messi.enter("auth messi surabaya");
    messi.see("username messi logged in, token ");
    assert!(!messi.all().contains("the session has ended"), "{:?}", messi.all());
}

#[test]
fn a_server_that_goes_and_comes_is_told_of_in_a_line_each() {
    let (folder, server) = server();
    let address = server.address;
    let mut messi = on_terminal(&folder, address, "messi");
    server.kill();
    messi.see(LOST);
    let server = Server::start_with(&folder, folder.command(&["serve", "--set", &format!("server.listen={address}")]));
    messi.see(BACK);
    let (mut lineker, token) = server.login("lineker");
    lineker.ask(&format!("send {token} messi  apa kabar "));
    messi.see("lineker: apa kabar\r\n");
    assert_eq!(messi.all().matches(LOST).count(), 1, "{:?}", messi.all());
}

/// A way to a server that can be cut without a word.
struct Way {
    address: SocketAddr,
    shared: Arc<Mutex<Cut>>,
}

#[derive(Default)]
struct Cut {
    how: Option<Silence>,
    streams: Vec<TcpStream>,
}

/// How a way is silent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Silence {
    /// What comes is not even acknowledged, as behind a cable that was pulled.
    Cable,
    /// It is acknowledged, and nobody answers.
    Program,
}

impl Way {
    fn to(server: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Mutex<Cut>>::default();
        thread::spawn({
            let shared = shared.clone();
            move || {
                for near in listener.incoming().map_while(Result::ok) {
                    let mut cut = shared.lock().expect("nobody panics with it");
                    if let Some(how) = cut.how {
                        silence(&near, how);
                        cut.streams.push(near);
                        continue;
                    }
                    let far = TcpStream::connect(server).expect("the server listens");
                    for (from, to) in [(&near, &far), (&far, &near)] {
                        let (from, to) = (from.try_clone(), to.try_clone());
                        let (from, to) = (from.expect("it can be copied"), to.expect("it can be copied"));
                        let shared = shared.clone();
                        thread::spawn(move || forward(from, to, &shared));
                    }
                    cut.streams.push(near);
                }
            }
        });
        Way { address, shared }
    }

    fn cut(&self, how: Silence) {
        let mut cut = self.shared.lock().expect("nobody panics with it");
        cut.how = Some(how);
        cut.streams.iter().for_each(|stream| silence(stream, how));
    }

    /// New connections get through; the old ones stay silent.
    fn mend(&self) {
        self.shared.lock().expect("nobody panics with it").how = None;
    }
}

fn silence(stream: &TcpStream, how: Silence) {
    if how == Silence::Cable {
        // A filter that lets no byte of any packet through (BPF_RET | BPF_K).
        SockRef::from(stream).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).expect("the system has filters");
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, shared: &Mutex<Cut>) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        // Who has swallowed something swallows the rest, too.
        let silent = shared.lock().expect("nobody panics with it").how.is_some();
        if silent {
            while let Ok(1..) = from.read(&mut piece) {}
            return;
        }
        if to.write_all(&piece[..read]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn is_noticed(how: Silence) {
    let (folder, server) = server();
    let way = Way::to(server.address);
    let mut messi = on_terminal(&folder, way.address, "messi");
    let (mut lineker, token) = server.login("lineker");
    lineker.ask(&format!("send {token} messi  satu "));
    messi.see("lineker: satu\r\n");
    way.cut(how);
    let (shown, _) = messi.see_within(LONG, LOST);
    // The cable is a matter of TCP, which does not wait for the end of what was asked.
    assert_eq!(shown.contains("no reply within"), how == Silence::Program, "{shown:?}");
    way.mend();
    messi.see_within(LONG, BACK);
    lineker.ask(&format!("send {token} messi  dua "));
    messi.see("lineker: dua\r\n");
    assert_eq!(messi.all().matches(LOST).count(), 1, "{:?}", messi.all());
    messi.enter("show");
    messi.see_within(LONG, "['");
}

#[test]
fn an_idle_client_notices_a_cable_that_was_pulled() {
    is_noticed(Silence::Cable);
}

#[test]
fn an_idle_client_notices_a_server_that_says_nothing() {
    is_noticed(Silence::Program);
}

#[test]
fn a_send_into_a_dead_line_says_so_before_a_reply_would_be_late() {
    let (folder, server) = server();
    let way = Way::to(server.address);
    let mut messi = on_terminal(&folder, way.address, "messi");
    way.cut(Silence::Cable);
    messi.enter("send henderson halo");
    messi.see_within(LONG, "Error, the connection was lost");
    let all = messi.all();
    assert!(!all.contains("no reply within"), "TCP noticed it first: {all:?}");
}
