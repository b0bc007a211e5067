//! A server from before the extensions: the real one behind a door that lets the five commands of 2020 through and
//! answers everything else as that program did.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Client, UNKNOWN};

/// Such a server; it answers until the tests end.
pub struct OldServer {
    pub address: SocketAddr,
    /// The commands it did not know, as they came.
    refused: Arc<Mutex<Vec<String>>>,
}

impl OldServer {
    /// One in front of a real server.
    pub fn before(real: SocketAddr) -> OldServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let refused = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let refused = refused.clone();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let refused = refused.clone();
                    thread::spawn(move || serve(stream, real, &refused));
                }
            }
        });
        OldServer { address, refused }
    }

    /// The commands it was asked for and did not know.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("nobody panics with it").clone()
    }
}

fn serve(stream: TcpStream, real: SocketAddr, refused: &Mutex<Vec<String>>) {
    let mut real = Client::connect(real);
    let mut answers = stream.try_clone().expect("a handle can be copied");
    let mut requests = BufReader::new(stream);
    let mut line = Vec::new();
    // A client that is gone is the end.
    while let Ok(1..) = requests.read_until(b'\n', &mut line) {
        if !line.ends_with(b"\r\n") {
            continue;
        }
        let command = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let reply = match command {
            b"auth" | b"send" | b"inbox" | b"show" | b"logout" => {
                real.send(&line);
                real.receive()
            }
            unknown => {
                refused.lock().expect("nobody panics with it").push(String::from_utf8_lossy(unknown).into_owned());
                UNKNOWN.to_owned()
            }
        };
        if answers.write_all(format!("{reply}\r\n\r\n").as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}
