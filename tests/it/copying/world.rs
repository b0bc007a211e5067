//! A database with everything that a server has, made by clients, and what can be seen of it.

use serde_json::{Value, json};

use crate::browser::push_service::PushService;
use crate::support::{Client, EMPTY, Folder, SENT, texts};
use crate::web::files;
use crate::web::invites;
use crate::web::push::subscription;
use crate::web::scripts::{hook, make};
use crate::web::{Page, with_page};

/// Those whose eyes look at it.
const PEOPLE: [&str; 4] = ["messi", "henderson", "lineker", "budi"];
/// An inbox is full with so many.
const INBOX: usize = 20;
const DONE: &str = "{\"status\": \"OK\", \"message\": \"Done\"}";

/// The database, with the server stopped.
pub struct World {
    pub folder: Folder,
    pub seen: Seen,
    /// What waits for each, in its order.
    pub waiting: Vec<Vec<String>>,
    /// A session of each.
    cookies: Vec<String>,
    /// A token that reads, for each.
    readers: Vec<String>,
    /// The path of a hook of messi's that writes to henderson.
    hook: String,
    files: Vec<i64>,
    service: PushService,
}

/// What is seen, each with a name.
#[derive(PartialEq, Eq)]
pub struct Seen(pub Vec<(String, String)>);

/// When a session was used last, and who is online, is what looking changes. Up to where others have read is another
/// number after each start of a server on SQLite, where nothing was read: receipts say the same.
fn without_uses(text: &str) -> String {
    let lines = text.replace(",\"", ",\n\"");
    let is_use = |line: &str| {
        ["\"last_used", "\"online\"", "\"their_read_upto\""]
            .iter()
            .any(|key| line.trim_start_matches([' ', '{', '[']).starts_with(key))
    };
    lines.lines().filter(|line| !is_use(line)).collect::<Vec<_>>().join("\n")
}

impl Seen {
    pub fn of(page: &Page, world: &World) -> Seen {
        Seen::by(page, &world.cookies, &world.files)
    }

    fn by(page: &Page, cookies: &[String], file_ids: &[i64]) -> Seen {
        let mut seen = Vec::new();
        for (name, cookie) in PEOPLE.iter().zip(cookies) {
            let mut paths = ["me", "conversations", "groups", "sessions", "tokens", "hooks", "people?q=", "push"]
                .map(str::to_owned)
                .to_vec();
            for other in PEOPLE.iter().chain(&["Team", "Old"]) {
                paths.push(format!("conversations/{other}/messages?limit=100"));
                paths.push(format!("conversations/{other}/messages?after=0&limit=100"));
            }
            paths.push("groups/Team/members".to_owned());
            for path in paths {
                let answer = page.browse(&format!("GET /api/v1/{path}"), cookie, &Value::Null);
                let text = without_uses(&answer.text());
                seen.push((format!("{name}: {path}"), format!("{} {text}", answer.status)));
            }
            for file in file_ids {
                let got = files::get(page, cookie, *file, "");
                let sum = got.body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                seen.push((format!("{name}: file {file}"), format!("{} {} {sum}", got.status, got.body.len())));
            }
            // On the wire, with the same session.
            let mut client = page.server.connect();
            for request in ["history", "status"] {
                for other in PEOPLE.iter().chain(&["Team"]) {
                    let asked = format!("{request} {cookie} {other}");
                    seen.push((format!("{name}: {request} {other}"), client.ask(&asked)));
                }
            }
        }
        for command in [&["user", "list", "--json"][..], &["group", "list", "--json"], &["user", "invites", "--json"]] {
            seen.push((command.join(" "), page.folder.done(command, "")));
        }
        let sessions = page.folder.done(&["session", "list", "--json"], "");
        seen.push(("session list".to_owned(), without_uses(&sessions)));
        Seen(seen)
    }
}

/// Takes what waits.
fn read_all(client: &mut Client, token: &str) {
    client.ask(&format!("inbox {token}"));
    client.ask(&format!("ack {token}"));
}

/// The clients of the world.
struct Clients {
    page: Page,
    cookies: Vec<String>,
    wire: Vec<(Client, String)>,
}

impl Clients {
    fn say(&mut self, from: usize, to: &str, text: &str) {
        let (client, token) = &mut self.wire[from];
        // A member of a group may have no room for it.
        let reply = client.ask(&format!("send {token} {to}  {text} "));
        assert!(reply.contains("\"message\": \"Message Sent"), "{to} {text}: {reply}");
    }

    fn read(&mut self, who: usize) {
        let (client, token) = &mut self.wire[who];
        read_all(client, token);
    }

    fn group(&mut self, who: usize, words: &str) {
        let (client, token) = &mut self.wire[who];
        assert_eq!(client.ask(&format!("group {token} {words}")), DONE, "{words}");
    }

    /// Reads a conversation up to its newest message but so many.
    fn read_up_to(&self, who: usize, with: &str, but: usize) {
        let path = format!("/api/v1/conversations/{with}");
        let list = self.page.browse(&format!("GET {path}/messages?limit=100"), &self.cookies[who], &Value::Null).json();
        let messages = list["messages"].as_array().expect("a list");
        let mut ids: Vec<i64> = messages.iter().filter_map(|message| message["id"].as_i64()).collect();
        ids.sort_unstable();
        let upto = ids[ids.len() - 1 - but];
        let read = self.page.browse(&format!("POST {path}/read"), &self.cookies[who], &json!({ "upto": upto }));
        assert_eq!(read.status, 200, "{}", read.text());
    }

    /// Groups: one of which some is read, unread, missed and read before what is older; one that is gone.
    fn talk_in_groups(&mut self) {
        self.group(0, "create Team");
        for who in 1..5 {
            self.group(who, "join Team");
        }
        for round in 0..14 {
            self.say(0, "Team", &format!("semua {round}"));
            if round % 3 == 2 {
                [1, 3, 4].iter().for_each(|who| self.read(*who));
            }
        }
        // lineker had no room for the last of these. Now he has, and then he has none again.
        self.read_up_to(2, "Team", 9);
        for round in 0..14 {
            self.say(1, "Team", &format!("lagi {round}"));
            if round % 3 == 2 {
                [0, 1, 3, 4].iter().for_each(|who| self.read(*who));
            }
        }
        [0, 1, 3, 4].iter().for_each(|who| self.read(*who));
        // budi holds the older one, and reads the newer one.
        self.say(0, "Team", "lama");
        let held = self.page.browse("GET /api/v1/inbox", &self.cookies[3], &Value::Null).json();
        assert_eq!(held["messages"].as_array().map(Vec::len), Some(1), "{held}");
        self.say(0, "Team", "baru");
        self.read(3);
        self.group(0, "create Old");
        self.group(1, "join Old");
        self.say(0, "Old", "pergi");
        self.group(1, "leave Old");
        let answer = self.page.browse("DELETE /api/v1/groups/Old", &self.cookies[0], &Value::Null);
        assert_eq!(answer.status, 204, "{}", answer.text());
        self.group(3, "leave Team");
        self.say(0, "Team", "tanpa budi");
        self.group(3, "join Team");
    }

    /// Between two: read, unread, to oneself, to nobody any more, under a key, with odd characters.
    fn talk(&mut self) {
        for text in ["satu", "dua"] {
            self.say(0, "henderson", text);
        }
        self.read(1);
        for text in ["tiga", "empat", "lima"] {
            self.say(0, "henderson", text);
            self.say(1, "lineker", text);
        }
        self.say(1, "henderson", "catatan");
        self.say(4, "messi", "sebelum pergi");
        self.say(0, "hilang", "tidak dibaca");
        let odd = json!({ "text": "nol \u{0} é 🙂 \"\\", "key": "k1" });
        let sent = self.page.browse("POST /api/v1/conversations/messi/messages", &self.cookies[1], &odd);
        assert_eq!(sent.status, 201, "{}", sent.text());
        // The newest of a group is read, and what came before it is not.
        self.say(2, "Team", "paling baru");
        self.read_up_to(1, "Team", 0);
    }
}

impl World {
    /// The settings of a server on it.
    pub fn settings(&self) -> String {
        settings(&self.service)
    }

    pub fn new() -> World {
        let service = PushService::start();
        let folder = Folder::new(&with_page(&settings(&service)));
        folder.add_three();
        for name in ["budi", "hilang", "tutup"] {
            folder.add_user(name, name, "Indonesia");
        }
        let page = Page::start(folder);
        let cookies: Vec<String> = PEOPLE.iter().map(|name| page.login(name)).collect();
        let wire = PEOPLE.iter().chain(&["hilang"]).map(|name| page.server.login(name)).collect();
        let mut clients = Clients { page, cookies, wire };
        clients.talk_in_groups();
        clients.talk();
        let Clients { page, cookies, .. } = clients;
        let photo: Vec<u8> = (0..600_001_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let file_ids = vec![
            files::send(&page, &cookies[0], "henderson", "foto.jpg", &photo),
            files::send(&page, &cookies[0], "Team", "kosong.txt", b"x"),
        ];
        let readers =
            cookies.iter().map(|cookie| make(&page, cookie, &json!({ "label": "baca", "scope": "read" }))).collect();
        let hook = hook(&page, &cookies[0], "henderson");
        for (place, name) in PEOPLE.iter().enumerate() {
            let wanted = subscription(&format!("http://{}/{name}", service.address));
            let answer = page.ask("POST /api/v1/push", &cookies[place], &wanted);
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
        invites::code(&page.folder, &["--for", "Siti"]);
        page.folder.done(&["user", "set", "messi", "--admin", "yes"], "");
        page.folder.done(&["user", "disable", "tutup"], "");
        page.folder.done(&["user", "remove", "hilang"], "");
        let seen = Seen::by(&page, &cookies, &file_ids);
        let Page { folder, server, .. } = page;
        assert_eq!(server.stop(), Some(0));
        let mut world = World { folder, seen, waiting: Vec::new(), cookies, readers, hook, files: file_ids, service };
        // What waits is looked at on a copy: to look at it takes it.
        let copy = world.folder.path().join("copy.db");
        world.folder.done(&["db", "backup", copy.to_str().expect("it is UTF-8")], "");
        let url = format!("[database]\nurl = \"sqlite://{}\"\n", copy.display());
        let page = Page::start(Folder::new(&with_page(&format!("{url}{}", world.settings()))));
        world.waiting = world.inboxes(&page);
        assert!(world.waiting.iter().all(|inbox| !inbox.is_empty()), "{:?}", world.waiting);
        world
    }

    /// What waits for each, with its number and in its order; nobody confirms it.
    pub fn inboxes(&self, page: &Page) -> Vec<Vec<String>> {
        let inbox = |reader: &String| {
            let held = page.ask("GET /api/v1/inbox", reader, &Value::Null);
            assert_eq!(held.status, 200, "{}", held.text());
            let held = held.json()["messages"].clone();
            held.as_array().expect("a list").iter().map(Value::to_string).collect()
        };
        self.readers.iter().map(inbox).collect()
    }

    /// Messages, logins, groups, hooks and keys go on from where they were.
    pub fn goes_on(&self, page: &Page) {
        let [messi, henderson] = [&self.cookies[0], &self.cookies[1]];
        let again = json!({ "text": "lain", "key": "k1" });
        let sent = page.browse("POST /api/v1/conversations/messi/messages", henderson, &again);
        assert_eq!(sent.status, 200, "what was sent under the key is not sent again: {}", sent.text());
        let posted = page.raw(&format!("POST {}", self.hook), "Content-Type: text/plain\r\n", "alarm");
        assert_eq!(posted.status, 200, "{}", posted.text());
        let (mut client, token) = page.server.login("lineker");
        let waiting = texts(&client.ask(&format!("inbox {token}")));
        client.ask(&format!("ack {token}"));
        assert!(!waiting.is_empty());
        assert_eq!(client.ask(&format!("inbox {token}")), EMPTY);
        assert_eq!(page.server.connect().ask(&format!("send {messi} Team  lagi ")), SENT);
        assert_eq!(texts(&client.ask(&format!("inbox {token}"))), ["lagi"]);
        let file = files::send(page, messi, "henderson", "baru.txt", b"baru");
        assert!(self.files.iter().all(|old| *old < file));
        assert_eq!(client.ask(&format!("group {token} create Baru")), DONE);
    }
}

fn settings(service: &PushService) -> String {
    format!(
        "[protocol]\nregister = \"invite\"\n[limits]\ninbox_messages = {INBOX}\n[web]\npush_hosts = [\"http://{}\"]\n",
        service.address
    )
}
