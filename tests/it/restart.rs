//! Logins and inboxes survive: a crash, an orderly stop, another start.

use crate::support::{EMPTY, Folder, SENT, Server, texts};

#[test]
fn tokens_and_inboxes_survive_a_crash() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, messis) = server.login("messi");
    let (_henderson, hendersons) = server.login("henderson");
    for text in ["one", "two", "three"] {
        assert_eq!(messi.ask(&format!("send {messis} henderson  {text} ")), SENT);
        assert_eq!(messi.ask(&format!("send {messis} lineker  {text} ")), SENT);
    }
    server.kill();

    let server = Server::start(&folder);
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("show {messis}")), "{\"status\": \"OK\", \"messages\": [\"messi\", \"henderson\"]}");
    assert_eq!(texts(&client.ask(&format!("inbox {hendersons}"))), ["one", "two", "three"]);
    let (mut lineker, linekers) = server.login("lineker");
    assert_eq!(texts(&lineker.ask(&format!("inbox {linekers}"))), ["one", "two", "three"]);
    assert_eq!(client.ask(&format!("inbox {hendersons}")), EMPTY);
}

#[test]
fn what_was_read_stays_read_after_an_orderly_stop() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let (mut messi, token) = server.login("messi");
    messi.ask(&format!("send {token} messi  read "));
    assert_eq!(texts(&messi.ask(&format!("inbox {token}"))), ["read"]);
    messi.ask(&format!("send {token} messi  unread "));
    drop(messi);
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&folder);
    assert_eq!(texts(&server.connect().ask(&format!("inbox {token}"))), ["unread"]);
}

#[test]
fn the_order_of_senders_is_that_of_their_first_message_ever() {
    let folder = Folder::new("");
    folder.add_three();
    let server = Server::start(&folder);
    let tokens = ["lineker", "messi", "henderson"].map(|name| server.login(name).1);
    let mut client = server.connect();
    for token in &tokens {
        client.ask(&format!("send {token} messi  first "));
    }
    assert_eq!(texts(&client.ask(&format!("inbox {}", tokens[1]))).len(), 3);
    drop(client);
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&folder);
    let mut client = server.connect();
    for token in tokens.iter().rev() {
        client.ask(&format!("send {token} messi  second "));
    }
    let reply = client.ask(&format!("inbox {}", tokens[1]));
    let places =
        ["\"lineker\": [", "\"messi\": [", "\"henderson\": ["].map(|key| reply.find(key).expect("all three wrote"));
    assert!(places.is_sorted(), "{reply}");
}
