//! The page against `chatd serve` itself.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::driver::Driver;
use super::{DESKTOP, go, send};
use crate::client::on_terminal;
use crate::support::{Folder, PATIENCE, Server, address_in, texts};
use crate::web::{Page, scripts};

/// A server with the three accounts, and where its page is.
pub(super) fn serve(folder: &Folder) -> (Server, String) {
    let server = Server::start(folder);
    let web = address_in(&server.log(), "listening for browsers").expect("web.listen is set");
    (server, format!("http://{web}/"))
}

fn folder() -> Folder {
    let folder = Folder::new("[web]\nlisten = \"127.0.0.1:0\"");
    folder.add_three();
    folder
}

#[test]
fn two_browsers_chatd_client_a_client_of_2020_and_a_script_talk() {
    let Some(driver) = Driver::start() else { return };
    let page = Page::new("");
    let url = format!("http://{}/", page.address);
    let (messi, henderson) = (driver.browser(DESKTOP.0, DESKTOP.1), driver.browser(DESKTOP.0, DESKTOP.1));
    messi.log_in(&url, "messi");
    henderson.log_in(&url, "henderson");
    go(&messi, "henderson");
    send(&messi, "halo, jadi latihan besok?");
    messi.wait("document.querySelector('.m.me .st')?.textContent === '✓'");
    henderson.see("halo, jadi latihan besok?");
    henderson.wait("document.title.startsWith('(1)')");
    henderson.click(".convs a[href='#/c/messi']");
    messi.wait("document.querySelector('.m.me .st')?.textContent === '✓✓'");
    send(&henderson, "Jadi. Jam berapa?");
    messi.see("Jadi. Jam berapa?");

    // What the page has read has left the queue of the wire, and what the wire sends is on the page.
    let (mut client, token) = page.server.login("henderson");
    let inbox = client.ask(&format!("inbox {token}"));
    assert!(!inbox.contains("halo"), "what the page has read is handed out again: {inbox}");
    let (mut lineker, token) = page.server.login("lineker");
    lineker.ask(&format!("send {token} messi dari tahun 2020"));
    messi.see("dari tahun 2020");
    go(&messi, "lineker");
    // The conversation before it may still stand there.
    messi.wait("document.querySelector('.m .text')?.textContent === 'dari tahun 2020'");
    send(&messi, "dari peramban");
    let inbox = lineker.ask(&format!("wait {token} 60"));
    assert_eq!(texts(&inbox), ["dari peramban"]);
    lineker.ask(&format!("ack {token}"));

    // A terminal is one more window of the same person.
    let mut terminal = on_terminal(&page.folder, page.server.address, "lineker");
    send(&messi, "dari peramban lagi");
    terminal.see("messi: dari peramban lagi\r\n");
    messi.wait("[...document.querySelectorAll('.m.me .st')].every((state) => state.textContent === '✓✓')");
    terminal.enter("send henderson dari terminal");
    terminal.see("message sent to henderson");
    henderson.wait("document.querySelector(\".convs a[href='#/c/lineker']\")?.innerText.includes('dari terminal')");

    // And a script.
    let script = scripts::make(&page, &page.login("lineker"), &json!({ "label": "cron", "scope": "send" }));
    let sent = page.raw("POST /to/henderson", &format!("Authorization: Bearer {script}\r\n"), "cadangan selesai");
    assert_eq!(sent.status, 201, "{}", sent.text());
    go(&henderson, "lineker");
    henderson.wait("document.querySelectorAll('.m .text').length === 2");
    let shown = henderson.script("return [...document.querySelectorAll('.m .text')].map((m) => m.textContent)");
    assert_eq!(shown, json!(["dari terminal", "cadangan selesai"]));
}

/// The secret of the link that a first start prints.
pub(super) fn setup_secret(server: &Server) -> String {
    let begun = Instant::now();
    loop {
        if let Some((_, rest)) = server.log().split_once("/#setup=") {
            return rest.split_whitespace().next().unwrap_or_default().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "no link is printed");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_link_of_a_first_start_makes_the_first_account() {
    let Some(driver) = Driver::start() else { return };
    let folder = Folder::new("[web]\nlisten = \"127.0.0.1:0\"");
    let (server, url) = serve(&folder);
    let secret = setup_secret(&server);
    let browser = driver.browser(DESKTOP.0, DESKTOP.1);
    browser.log_in(&format!("{url}#setup={secret}"), "messi");
    browser.wait("!location.href.includes('setup')");
    let users: Value = serde_json::from_str(&folder.done(&["user", "list", "--json"], "")).expect("it is JSON");
    assert_eq!((&users[0]["name"], &users[0]["admin"], users[1].is_null()), (&json!("messi"), &json!(true), true));
}

#[test]
fn a_server_that_is_killed_between_send_and_reply_has_the_text_once() {
    let Some(driver) = Driver::start() else { return };
    let folder = folder();
    let (server, url) = serve(&folder);
    // The next one listens at the same address.
    folder.configure(&format!("[web]\nlisten = \"{}\"", url.trim_start_matches("http://").trim_end_matches('/')));
    let messi = driver.browser(DESKTOP.0, DESKTOP.1);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    send(&messi, "sebelum");
    messi.wait("document.querySelectorAll('.m.me .st').length === 1");
    // It takes the request and cannot answer.
    server.freeze();
    send(&messi, "di tengah");
    messi.wait_for(".waits");
    server.kill();
    let (_server, _) = serve(&folder);
    messi.script("dispatchEvent(new Event('online'))");
    messi.wait("document.querySelectorAll('.m.me .st').length === 2 && !document.querySelector('.waits')");
    send(&messi, "sesudah");
    messi.wait("document.querySelectorAll('.m.me .st').length === 3");
    messi.run(messi.client.refresh());
    messi.wait("document.querySelectorAll('.m.me .st').length === 3");
    let texts = messi.script("return [...document.querySelectorAll('.m .text')].map((m) => m.textContent)");
    assert_eq!(texts, serde_json::json!(["sebelum", "di tengah", "sesudah"]));
}
