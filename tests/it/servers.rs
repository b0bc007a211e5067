//! `chatd login --as NAME`: several servers, and who one is at each.

use std::process::{Command, Output};

use crate::client::{chatd, server};
use crate::support::{Folder, NO_SESSION};

/// One person's computer. The servers are elsewhere.
struct Computer {
    folder: Folder,
}

impl Computer {
    fn run(&self, arguments: &[&str]) -> Output {
        // Nobody listens at port 1: what is meant is named, or kept.
        let mut command = chatd(&self.folder, "127.0.0.1:1", arguments);
        command.env("CHATD_PASSWORD", "surabaya").output().expect("chatd starts")
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// A command that knows no password.
    fn without_password(&self, arguments: &[&str]) -> Command {
        chatd(&self.folder, "127.0.0.1:1", arguments)
    }

    fn refused(&self, arguments: &[&str], status: i32, why: &str) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
}

#[test]
fn two_servers_are_kept_and_each_command_means_one_of_them() {
    let ((_work, office), (_home, house)) = (server(), server());
    let computer = Computer { folder: Folder::new("") };
    let (at_work, at_home) = (office.address.to_string(), house.address.to_string());
    computer.done(&["login", "--as", "work", "--connect", &at_work, "messi"]);
    computer.done(&["login", "--as", "home", "--connect", &at_home, "henderson"]);
    computer.done(&["send", "--as", "work", "messi", "meeting"]);
    computer.done(&["send", "--as", "home", "henderson", "dinner"]);
    assert_eq!(computer.done(&["inbox", "--as", "home"]), "henderson: dinner\n");
    assert_eq!(computer.done(&["inbox", "--as", "work"]), "messi: meeting\n");
    for log in [office.log(), house.log()] {
        assert_eq!(log.matches(" login ").count(), 1, "{log}");
    }
    // What is typed on a pipe goes there, too.
    let mut client = computer.without_password(&["client", "--as", "home"]);
    assert!(client.output().expect("chatd starts").status.success());
    // Another login at the same name needs no address.
    computer.done(&["login", "--as", "work"]);
    assert_eq!(office.log().matches(" logout ").count(), 1, "it takes the place of the first: {}", office.log());
    computer.done(&["login", "--as", "work", "lineker"]);
    computer.done(&["send", "--as", "work", "lineker", "late"]);
    assert_eq!(computer.done(&["inbox", "--as", "work"]), "lineker: late\n");
}

#[test]
fn logout_ends_the_session_at_the_server_that_is_meant() {
    let (_folder, server) = server();
    let computer = Computer { folder: Folder::new("") };
    let address = server.address.to_string();
    computer.done(&["login", "--as", "one", "--connect", &address, "messi"]);
    computer.done(&["login", "--as", "two", "--connect", &address, "henderson"]);
    let sessions = computer.folder.path().join("state/chatd/sessions");
    let token = |name: &str| {
        let file = sessions.join(address.replace('.', "%2e").replace(':', "%3a")).join(format!("token-{name}"));
        std::fs::read_to_string(&file).map(|text| text.trim().to_owned())
    };
    let (messi, henderson) = (token("messi").expect("it is kept"), token("henderson").expect("it is kept"));
    computer.done(&["logout", "--as", "one"]);
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("show {messi}")), NO_SESSION);
    assert_ne!(client.ask(&format!("show {henderson}")), NO_SESSION);
    assert!(token("messi").is_err(), "an ended session is not kept");
    let output = computer.without_password(&["inbox", "--as", "one"]).output().expect("chatd starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("messi is not logged in"), "{error}");
    // A login with a name is meant by that name alone.
    let output = computer.without_password(&["inbox", "--connect", &address]).output().expect("chatd starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("not logged in: `chatd login USER`"), "{error}");
}

#[test]
fn what_cannot_be_meant_is_said_with_the_remedy() {
    let (_folder, server) = server();
    let computer = Computer { folder: Folder::new("") };
    let address = server.address.to_string();
    computer.refused(&["inbox", "--as", "work"], 78, "no server is kept as work: `chatd login --as work --connect");
    computer.done(&["login", "--as", "work", "--connect", &address, "messi"]);
    computer.refused(&["inbox", "--as", "wrok"], 78, "no server is kept as wrok (there are: work)");
    computer.refused(&["inbox", "--as", "work", "--connect", &address], 78, "leave --connect, --tls and --tls-ca out");
    computer.refused(&["inbox", "--as", "", "--connect", &address], 2, "--as <NAME>");
    // No name leads out of the folder.
    computer.done(&["login", "--as", "../../x", "--connect", &address, "messi"]);
    assert!(computer.folder.path().join("state/chatd/servers/%2e%2e%2f%2e%2e%2fx").exists());
    // A login that fails keeps nothing.
    computer.refused(&["login", "--as", "new", "--connect", &address, "maradona"], 1, "User Tidak Ada");
    computer.refused(&["inbox", "--as", "new"], 78, "no server is kept as new");
    let file = computer.folder.path().join("state/chatd/servers/work");
    std::fs::write(&file, "connect = \"x\"\ntls = false\nuser = \"messi\"\n").expect("it can be written");
    computer.refused(&["inbox", "--as", "work"], 78, "an address is HOST:PORT");
    std::fs::write(&file, "connect = 1\n").expect("it can be written");
    computer.refused(&["inbox", "--as", "work"], 78, "servers/work");
}
