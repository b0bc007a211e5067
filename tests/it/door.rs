//! A door before a real server: one that lets only the commands of 2020 through and answers all others as that program
//! did, and one that speaks TLS.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Client, UNKNOWN};

/// Such a door; it stands until the tests end.
pub struct Door {
    pub address: SocketAddr,
    /// The commands that were not let through, as they came.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Door {
    /// Behind it a server seems to be from before the extensions.
    pub fn of_2020(real: SocketAddr) -> Door {
        Door::open(real, true, |stream| stream)
    }

    /// Encrypted, as `localhost`; writes the certificate to `authority`, because it vouches for itself.
    pub fn encrypted(real: SocketAddr, authority: &Path) -> Door {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("the name is one");
        fs::write(authority, made.cert.pem()).expect("it can be written");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what they need")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is that of the certificate");
        let config = Arc::new(config);
        Door::open(real, false, move |stream| {
            StreamOwned::new(ServerConnection::new(config.clone()).expect("the settings are complete"), stream)
        })
    }

    fn open<S: Read + Write>(
        real: SocketAddr,
        only_2020: bool,
        receive: impl Fn(TcpStream) -> S + Send + Clone + 'static,
    ) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let refused = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let refused = refused.clone();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (receive, refused) = (receive.clone(), refused.clone());
                    thread::spawn(move || serve(receive(stream), real, only_2020.then_some(&refused)));
                }
            }
        });
        Door { address, refused }
    }

    /// The commands that were not let through.
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("nobody panics with it").clone()
    }
}

/// One request, one reply, until the client is gone.
fn serve(stream: impl Read + Write, real: SocketAddr, refused: Option<&Mutex<Vec<String>>>) {
    let mut real = Client::connect(real);
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = stream.read_until(b'\n', &mut line) {
        if !line.ends_with(b"\r\n") {
            continue;
        }
        let command = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let reply = match (refused, command) {
            (None, _) | (_, b"auth" | b"send" | b"inbox" | b"show" | b"logout") => {
                real.send(&line);
                real.receive()
            }
            (Some(refused), unknown) => {
                refused.lock().expect("nobody panics with it").push(String::from_utf8_lossy(unknown).into_owned());
                UNKNOWN.to_owned()
            }
        };
        if stream.get_mut().write_all(format!("{reply}\r\n\r\n").as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}
