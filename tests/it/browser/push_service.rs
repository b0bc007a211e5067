//! A push service for Firefox, as Mozilla's: the browser keeps a WebSocket to it, and servers POST to the addresses
//! that it gives out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::{Value, json};

/// RFC 6455.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request of a server.
#[derive(Clone)]
pub struct Push {
    pub head: String,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Served {
    pushes: Vec<Push>,
    browser: Option<TcpStream>,
    /// What is answered in place of 201.
    refusal: Option<&'static str>,
}

pub struct PushService {
    pub address: SocketAddr,
    served: Arc<Mutex<Served>>,
}

impl PushService {
    pub fn start() -> PushService {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::new(Mutex::new(Served::default()));
        let shared = served.clone();
        // The thread ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = shared.clone();
                // A connection that breaks off is over.
                thread::spawn(move || serve(stream, address, &served));
            }
        });
        PushService { address, served }
    }

    pub fn pushes(&self) -> Vec<Push> {
        self.served.lock().expect("nobody panics with it").pushes.clone()
    }

    /// From now on this is answered, such as `410 Gone`, or that it was taken.
    pub fn refuse(&self, status: Option<&'static str>) {
        self.served.lock().expect("nobody panics with it").refusal = status;
    }
}

fn serve(stream: TcpStream, address: SocketAddr, served: &Mutex<Served>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
    }
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    if let Some(key) = header("sec-websocket-key") {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
        let accept = Base64::encode_string(digest.as_ref());
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
        );
        if let Some(protocol) = header("sec-websocket-protocol") {
            answer.push_str(&format!("Sec-WebSocket-Protocol: {protocol}\r\n"));
        }
        reader.get_mut().write_all(format!("{answer}\r\n").as_bytes()).ok()?;
        return speak(&mut reader, address, served);
    }
    let mut body = vec![0; header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let channel = head.split(' ').nth(1)?.rsplit('/').next()?.to_owned();
    let (number, browser, refusal) = {
        let mut served = served.lock().expect("nobody panics with it");
        served.pushes.push(Push { head, body: body.clone() });
        (served.pushes.len(), served.browser.as_ref().and_then(|browser| browser.try_clone().ok()), served.refusal)
    };
    if let (Some(mut browser), None) = (browser, refusal) {
        let data = Base64UrlUnpadded::encode_string(&body);
        let told = json!({ "messageType": "notification", "channelID": channel, "version": number.to_string(), "data": data,
            "headers": { "encoding": "aes128gcm" } });
        say(&mut browser, &told)?;
    }
    let answer =
        format!("HTTP/1.1 {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", refusal.unwrap_or("201 Created"));
    reader.get_mut().write_all(answer.as_bytes()).ok()
}

/// The browser's side.
fn speak(reader: &mut BufReader<TcpStream>, address: SocketAddr, served: &Mutex<Served>) -> Option<()> {
    loop {
        let text = hear(reader)?;
        let asked: Value = serde_json::from_str(&text).ok()?;
        let stream = reader.get_mut();
        let channel = asked["channelID"].as_str().unwrap_or_default();
        match asked["messageType"].as_str() {
            Some("hello") => {
                served.lock().expect("nobody panics with it").browser = stream.try_clone().ok();
                say(
                    stream,
                    &json!({ "messageType": "hello", "uaid": "0123456789abcdef0123456789abcdef", "status": 200,
                    "use_webpush": true, "broadcasts": {} }),
                )?;
            }
            Some("register") => say(
                stream,
                &json!({ "messageType": "register", "channelID": channel, "status": 200,
                "pushEndpoint": format!("http://{address}/push/{channel}") }),
            )?,
            Some("unregister") => {
                say(stream, &json!({ "messageType": "unregister", "channelID": channel, "status": 200 }))?;
            }
            // An acknowledgement, or a sign of life, which is the same back.
            Some(_) => {}
            None => say(stream, &json!({}))?,
        }
    }
}

/// The text of the next frame that has one.
fn hear(reader: &mut impl Read) -> Option<String> {
    loop {
        let mut start = [0; 2];
        reader.read_exact(&mut start).ok()?;
        let length = match start[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                reader.read_exact(&mut length).ok()?;
                usize::from(u16::from_be_bytes(length))
            }
            127 => return None,
            short => usize::from(short),
        };
        let mut mask = [0; 4];
        reader.read_exact(&mut mask).ok()?;
        let mut text = vec![0; length];
        reader.read_exact(&mut text).ok()?;
        text.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match start[0] & 0x0f {
            1 => return String::from_utf8(text).ok(),
            8 => return None,
            _ => {}
        }
    }
}

fn say(stream: &mut TcpStream, what: &Value) -> Option<()> {
    let text = what.to_string();
    let length = u16::try_from(text.len()).ok()?;
    let mut frame = vec![0x81];
    match u8::try_from(length) {
        Ok(short @ ..126) => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    stream.write_all(&frame).ok()
}
