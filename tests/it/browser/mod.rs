//! The page in a real browser. The server is the stand-in, which can lose a reply and be away; where chromium or
//! chromedriver is missing the tests say SKIPPED.

mod account;
mod driver;
mod files;
mod firefox;
mod groups;
mod looks;
mod looks_of_groups;
pub mod push_service;
mod pushed;
mod real;
mod scrolling;
mod stand_in;

use std::thread;
use std::time::{Duration, Instant};

use fantoccini::key::Key;
use serde_json::json;

use self::driver::{Browser, Driver};
use self::stand_in::{StandIn, now};

const DESKTOP: (u32, u32) = (1100, 680);
const ENTER: &str = "\u{e007}";

/// A server with three accounts.
fn server() -> (StandIn, String) {
    let server = StandIn::start();
    server.with(|world| {
        for (name, display, _) in crate::support::THREE {
            world.users.insert(name.to_owned(), display.to_owned());
        }
    });
    let url = format!("http://{}/", server.address);
    (server, url)
}

fn desktop(driver: &Driver) -> Browser {
    driver.browser(DESKTOP.0, DESKTOP.1)
}

/// Opens a conversation as its link does. What stands there of the one before is not taken for it.
fn go(browser: &Browser, name: &str) {
    browser.script(&format!(
        "if (location.hash === '#/c/{name}') return;
         document.querySelector('#text')?.setAttribute('data-before', '');
         location.hash = '#/c/{name}';"
    ));
    browser.wait_for("#text:not([data-before])");
}

/// Waits until the service worker keeps all that this page was made of, so that it opens without the server.
fn kept(browser: &Browser) {
    browser.script(
        "const look = async () => {
           const there = new Set((await (await caches.open('chatd-shell')).keys()).map((request) => request.url));
           const used = performance.getEntriesByType('resource').map((entry) => entry.name);
           const needed = used.filter((name) => /[/]a[/].*[.](js|css)$/.test(name));
           window.kept = needed.length > 5 && needed.every((name) => there.has(name)) && there.has(`${location.origin}/`);
           if (!window.kept) setTimeout(look, 20);
         };
         look();",
    );
    browser.wait("window.kept && navigator.serviceWorker.controller");
}

pub fn until(condition: impl Fn() -> bool, otherwise: &str) {
    let end = Instant::now() + driver::PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{otherwise}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn send(browser: &Browser, text: &str) {
    browser.write("#text", text);
    browser.press(None, ENTER);
}

#[test]
fn two_browsers_talk() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let (messi, henderson) = (desktop(&driver), desktop(&driver));
    messi.log_in(&url, "messi");
    henderson.log_in(&url, "henderson");

    go(&messi, "henderson");
    send(&messi, "halo, jadi latihan besok?");
    messi.wait("document.querySelector('.m.me .st')?.textContent === '✓'");

    // Nobody has opened it: it is counted, in the list and in the title.
    henderson.see("halo, jadi latihan besok?");
    henderson.wait("document.querySelector('.convs .n')?.textContent.endsWith('1')");
    henderson.wait("document.title.startsWith('(1)')");
    assert_eq!(server.with(|world| world.upto("henderson", "messi")), 0, "it counts as read, and nobody has opened it");

    henderson.click(".convs a[href='#/c/messi']");
    henderson.see("Pesan baru");
    messi.wait("document.querySelector('.m.me .st')?.textContent === '✓✓'");
    henderson.wait("document.title.startsWith('Lionel Messi')");

    send(&henderson, "Jadi. Jam berapa?");
    messi.see("Jadi. Jam berapa?");
    let texts = server.with(|world| world.log.iter().map(|m| m.text.clone()).collect::<Vec<_>>());
    assert_eq!(texts, ["halo, jadi latihan besok?", "Jadi. Jam berapa?"]);
}

#[test]
fn a_send_whose_reply_is_lost_is_there_once() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    server.with(|world| world.lose_replies = 2);
    send(&messi, "hanya sekali");
    send(&messi, "sesudahnya");
    messi.wait("document.querySelectorAll('.m.me .st').length === 2 && !document.querySelector('.waits')");
    server.with(|world| {
        let texts: Vec<_> = world.log.iter().map(|m| &*m.text).collect();
        assert_eq!(texts, ["hanya sekali", "sesudahnya"]);
        assert!(world.sends >= 4, "the replies were not lost: {} sends", world.sends);
    });
    messi.run(messi.client.refresh());
    messi.wait("document.querySelectorAll('.m.me .st').length >= 2");
    assert_eq!(messi.count(".m"), 2, "a text is shown twice");
}

#[test]
fn what_is_typed_survives_a_reload_and_a_server_that_is_away() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    messi.write("#text", "setengah kalim");
    messi.run(messi.client.refresh());
    messi.wait("document.querySelector('#text')?.value === 'setengah kalim'");
    // Another conversation has a draft of its own.
    go(&messi, "lineker");
    messi.wait("document.querySelector('#text').value === ''");
    go(&messi, "henderson");
    messi.wait("document.querySelector('#text').value === 'setengah kalim'");

    kept(&messi);
    server.with(|world| {
        world.away = true;
        world.cut();
    });
    messi.press(None, &format!("at{ENTER}"));
    messi.see("belum terkirim");
    messi.see("Tidak tersambung");
    messi.run(messi.client.refresh());
    messi.see("setengah kalimat");
    server.with(|world| {
        assert_eq!(world.log.len(), 0);
        world.away = false;
    });
    // As the browser tells when the network is back.
    messi.script("dispatchEvent(new Event('online'))");
    messi.wait("document.querySelector('.m.me .st')?.textContent === '✓'");
    assert_eq!(server.with(|world| world.log.iter().map(|m| m.text.clone()).collect::<Vec<_>>()), ["setengah kalimat"]);
}

#[test]
fn the_page_opens_without_the_server_after_one_visit() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    kept(&messi);
    server.with(|world| {
        world.away = true;
        world.cut();
    });
    messi.run(messi.client.refresh());
    messi.wait_for(".side");
    messi.see("Tidak tersambung");
}

#[test]
fn what_is_on_its_way_while_the_worker_comes_is_kept_too() {
    let Some(driver) = Driver::start() else { return };
    let (_server, url) = server();
    let messi = desktop(&driver);
    messi.open(&url);
    messi.wait_for("#name");
    // The worker has a network of its own, so it is there before what a conversation needs.
    slow_down(&messi);
    messi.log_in_again("messi");
    go(&messi, "henderson");
    kept(&messi);
}

/// What this browser loads from now on takes seconds.
fn slow_down(browser: &Browser) {
    browser.cdp("Network.enable", &json!({}));
    let slow = json!({ "offline": false, "latency": 300, "downloadThroughput": 20_000, "uploadThroughput": -1 });
    browser.cdp("Network.emulateNetworkConditions", &slow);
}

#[test]
fn what_arrives_while_a_conversation_opens_hides_nothing_older() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    server.with(|world| world.say("henderson", "messi", "lama", "", now()));
    messi.see("lama");
    slow_down(&messi);
    messi.script("location.hash = '#/c/henderson'");
    server.with(|world| world.say("henderson", "messi", "baru", "", now()));
    messi.wait("document.querySelectorAll('.m .text').length > 0");
    messi.wait("[...document.querySelectorAll('.m .text')].map((m) => m.textContent).join() === 'lama,baru'");
}

#[test]
fn a_refused_text_stays_and_says_why() {
    let Some(driver) = Driver::start() else { return };
    let (_server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "nobody");
    send(&messi, "ada orang?");
    messi.see("tidak ada yang bernama begitu");
    messi.click(".waits .link:last-of-type");
    messi.wait("document.querySelector('#text').value === 'ada orang?' && !document.querySelector('.waits')");
}

#[test]
fn ten_tabs_use_one_stream_and_another_leads_when_the_leader_goes() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    let first = messi.run(messi.client.window());
    let mut tabs = Vec::new();
    for _ in 0..9 {
        let tab = messi.run(messi.client.new_window(true)).handle;
        messi.run(messi.client.switch_to_window(tab.clone()));
        messi.open(&url);
        messi.wait_for(".side .convs");
        tabs.push(tab);
    }
    // A tab that does not answer for some seconds is replaced, so there may have been several, one after the other.
    until(|| server.with(|world| world.open_streams()) == 1, "ten tabs do not come to use one stream");
    server.with(|world| world.say("henderson", "messi", "untuk semua", "", now()));
    for tab in &tabs {
        messi.run(messi.client.switch_to_window(tab.clone()));
        messi.see("untuk semua");
    }
    messi.run(messi.client.switch_to_window(first));
    messi.run(messi.client.close_window());
    messi.run(messi.client.switch_to_window(tabs[8].clone()));
    server.with(|world| world.say("henderson", "messi", "masih di sini", "", now()));
    for tab in &tabs {
        messi.run(messi.client.switch_to_window(tab.clone()));
        messi.see("masih di sini");
    }
    until(|| server.with(|world| world.open_streams()) == 1, "the stream of the tab that is gone is still open");
}

#[test]
fn foreign_text_is_text() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    server.with(|world| {
        world.users.insert("lineker".to_owned(), "Gary\u{202e}rekeniL <b>x</b>".to_owned());
        let time = now();
        for text in [
            "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>",
            "lihat\u{202e}gnp.exe dan \u{1b}[31m dan \u{85}",
            "lihat (https://id.wikipedia.org/wiki/Bola_(olahraga)), ya.",
            "https://аpple.com/x dan https://user:pass@evil.example/ dan http://2130706433/",
            "javascript:alert(1) dan https://a.example\\@b.example/",
        ] {
            world.say("lineker", "messi", text, "", time);
        }
    });
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "lineker");
    messi.wait("document.querySelectorAll('.log .m').length === 5");
    assert_eq!(messi.count(".log img") + messi.count(".log script") + messi.count("h1 b"), 0);
    assert!(messi.text("h1").contains("U+202E"), "a name turns the direction: {:?}", messi.text("h1"));
    assert!(!messi.run(messi.client.title()).contains(['\u{202e}']), "the title turns the direction");
    let marks = messi.script("return [...document.querySelectorAll('.log .mark')].map((m) => m.textContent).join(' ')");
    assert_eq!(marks, "U+202E U+001B U+0085");
    let links = messi.script(
        "return [...document.querySelectorAll('.log a')].map((a) => `${a.textContent} -> ${a.href} ${a.rel} ${a.target}`)",
    );
    let rest = "noopener noreferrer nofollow _blank";
    let expected = [
        format!(
            "https://id.wikipedia.org/wiki/Bola_(olahraga) -> https://id.wikipedia.org/wiki/Bola_(olahraga) {rest}"
        ),
        format!("https://аpple.com/x -> https://xn--pple-43d.com/x {rest}"),
        format!("http://2130706433/ -> http://127.0.0.1/ {rest}"),
    ];
    assert_eq!(links, serde_json::json!(expected));
    let hosts = messi.script("return [...document.querySelectorAll('.log .host')].map((m) => m.textContent).join(' ')");
    assert_eq!(hosts, "(xn--pple-43d.com) (127.0.0.1)");
}

#[test]
fn a_text_that_is_made_to_be_slow_is_shown_soon() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "lineker");
    let begun = Instant::now();
    for (n, text) in [
        format!("x{}y", " ".repeat(400_000)),
        format!("http://x/{}", ")".repeat(400_000)),
        format!("http://x/{}", "([{".repeat(100_000)),
        format!("{}http://x/{}", "(".repeat(100_000), ".".repeat(300_000)),
        "\u{1}".repeat(400_000),
        "http:// ".repeat(50_000),
        "kata ".repeat(80_000),
    ]
    .into_iter()
    .enumerate()
    {
        server.with(|world| world.say("lineker", "messi", &text, "", now()));
        server.with(|world| world.say("lineker", "messi", &format!("ujung {n}"), "", now()));
        messi.see(&format!("ujung {n}"));
    }
    // What takes the square of a length takes minutes.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(messi.script("return document.querySelector('.log a').href"), "http://x/");
    // The rest of a long text is shown to who asks for it.
    let length = "[...document.querySelectorAll('.m .text')].at(-2).textContent.length";
    assert_eq!(messi.script(&format!("return {length}")), 20_000);
    messi.script("[...document.querySelectorAll('.m > .link')].at(-1).click()");
    messi.wait(&format!("{length} === 80000 * 5 - 1"));
}

#[test]
fn all_is_done_with_the_keyboard() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    server.with(|world| {
        world.say("lineker", "messi", "yang lama", "", now() - 5000);
        world.say("henderson", "messi", "yang baru", "", now());
    });
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    messi.see("yang baru");
    messi.press(Some(Key::Alt), "\u{e015}");
    messi.wait("location.hash === '#/c/henderson' && document.activeElement.id === 'text'");
    messi.press(Some(Key::Alt), "\u{e015}");
    messi.wait("location.hash === '#/c/lineker' && document.querySelector('h1').textContent.includes('Lineker')");
    messi.wait("document.activeElement.id === 'text'");
    messi.press(Some(Key::Alt), "\u{e013}");
    // The line to type in is a new one, and not the one of the conversation before.
    messi.wait("document.activeElement.id === 'text' && document.querySelector('h1').textContent.includes('enderson')");
    messi.press(Some(Key::Shift), ENTER);
    messi.wait("document.querySelector('#text').value === '\\n'");
    messi.press(Some(Key::Control), "k");
    messi.wait("document.activeElement.id === 'q'");
    messi.press(None, "gary");
    messi.wait("document.querySelectorAll('.found a').length === 1");
    messi.press(None, ENTER);
    messi.wait("location.hash === '#/c/lineker'");
    // The line to type in takes the focus when it is drawn.
    messi.wait("document.activeElement.id === 'text' && document.querySelector('.log .m')");
    messi.wait("document.querySelector('.log').focus() ?? document.activeElement.matches('.log')");
    messi.press(None, "\u{e013}");
    messi.wait("document.activeElement.matches('.m')");
    messi.press(None, "\u{e00c}");
    messi.wait("location.hash !== '#/c/lineker'");
}

#[test]
fn a_wrong_password_and_an_ended_session_are_said() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.open(&url);
    messi.write("#name", "messi");
    messi.write("#password", "salah");
    messi.press(None, ENTER);
    messi.see("Nama atau kata sandi salah");
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    messi.write("#text", "belum selesai");
    server.with(|world| world.end_sessions());
    messi.see("Sesi Anda sudah berakhir");
    messi.write("#password", "surabaya");
    messi.press(None, ENTER);
    messi.wait("document.querySelector('#text')?.value === 'belum selesai'");
}
