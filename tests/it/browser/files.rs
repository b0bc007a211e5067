//! Files on the page, against `chatd serve` itself: chosen, pasted and dropped, shown or kept, and never run.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::driver::{Browser, Driver};
use super::{ENTER, desktop, go, kept};
use crate::web::Page;

const ESCAPE: &str = "\u{e00c}";

fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web/icon.png")
}

/// Gives files to the line to type in, as the browser does for what is pasted or dropped. Each is a name and a text.
fn hand_over(browser: &Browser, event: &str, files: &[(&str, &str)]) {
    let script = format!(
        "const data = new DataTransfer();
         for (const [name, text] of {}) data.items.add(new File([text], name));
         const how = {{ bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data }};
         const event = '{event}' === 'paste' ? new ClipboardEvent('paste', how) : new DragEvent('{event}', how);
         return document.querySelector('#text').dispatchEvent(event);",
        json!(files)
    );
    assert_eq!(browser.script(&script), false, "the browser does with it what it wants");
}

fn start(settings: &str) -> (Page, String) {
    let page = Page::new(settings);
    let url = format!("http://{}/", page.address);
    (page, url)
}

#[test]
fn pictures_are_shown_other_files_are_kept_under_their_names_and_none_is_run() {
    let Some(driver) = Driver::start() else { return };
    let (_page, url) = start("");
    let (messi, henderson) = (desktop(&driver), desktop(&driver));
    messi.log_in(&url, "messi");
    henderson.log_in(&url, "henderson");
    go(&messi, "henderson");
    go(&henderson, "messi");
    messi.write("input[type=file]", picture().to_str().expect("it is UTF-8"));
    messi.wait("document.querySelector('.tray .name')?.textContent === 'icon.png'");
    // Nothing goes before it is sent.
    assert_eq!(messi.count(".m"), 0);
    messi.write("#text", "lihat ini");
    messi.press(None, ENTER);
    for browser in [&messi, &henderson] {
        browser.wait("document.querySelector('.pic img')?.naturalWidth > 0");
        browser.wait("document.querySelectorAll('.log .m').length === 2");
    }
    assert_eq!(messi.count(".tray"), 0);

    // Alone, and back again.
    henderson.click(".pic");
    henderson.wait("document.querySelector('dialog[open] img')?.naturalWidth > 0");
    henderson.press(None, ESCAPE);
    henderson.wait("!document.querySelector('dialog') && location.hash === '#/c/messi'");

    let script = "<script>document.title = 'owned'</script>";
    hand_over(&messi, "paste", &[("catatan \"1\".txt", "halo"), ("buang.txt", "x")]);
    hand_over(&messi, "drop", &[("x.html", script), ("x.png", script), ("x.svg", "<svg/>")]);
    messi.wait("document.querySelectorAll('.tray li').length === 5");
    messi.click("[aria-label='Buang buang.txt']");
    messi.wait("document.querySelectorAll('.tray li').length === 4");
    messi.click(".send");
    // Nobody takes what is no picture for one.
    henderson.wait("document.querySelectorAll('.m a.file').length === 4");
    let names = henderson.script("return [...document.querySelectorAll('.m a.file .name')].map((n) => n.textContent)");
    assert_eq!(names, json!(["catatan \"1\".txt", "x.html", "x.png", "x.svg"]));
    let found = henderson.script_later(
        "const done = arguments[0];
         const links = [...document.querySelectorAll('.m a.file')];
         Promise.all(links.map(async (a) => {
           const answer = await fetch(a.href);
           return [a.download, answer.headers.get('content-type'), (await answer.text()).slice(0, 4)];
         })).then(done, (e) => done(String(e)));",
    );
    let bytes = "application/octet-stream";
    let texts = ["halo", "<scr", "<scr", "<svg"];
    let names = ["catatan \"1\".txt", "x.html", "x.png", "x.svg"];
    let wanted: Vec<_> = names.iter().zip(texts).map(|(name, text)| json!([name, bytes, text])).collect();
    assert_eq!(found, json!(wanted));
    // Not even in a window of its own: the browser keeps it instead.
    henderson.script("location.href = document.querySelectorAll('.m a.file')[1].href");
    henderson.wait("location.hash === '#/c/messi' && !document.title.includes('owned')");
}

#[test]
fn a_file_waits_for_the_server_and_is_there_once() {
    let Some(driver) = Driver::start() else { return };
    let (page, url) = start("");
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    kept(&messi);
    let Page { folder, server, address } = page;
    folder.configure(&crate::web::with_page(&format!("[web]\nlisten = \"{address}\"")));
    server.kill();
    messi.see("Tidak tersambung");
    hand_over(&messi, "paste", &[("nanti.txt", &"isi ".repeat(100_000))]);
    messi.press(None, ENTER);
    messi.wait("document.querySelector('.waits .file') && document.querySelector('.waits .bad')");
    messi.run(messi.client.refresh());
    messi.wait("document.querySelector('.waits .file .name')?.textContent === 'nanti.txt'");
    let page = Page::start(folder);
    messi.script("dispatchEvent(new Event('online'))");
    messi.wait("document.querySelector('.m.me .st')?.textContent === '✓' && !document.querySelector('.waits')");
    messi.wait("document.querySelector('.convs .last').textContent === 'Anda: nanti.txt'");
    let found = messi.script_later(
        "const done = arguments[0];
         fetch(document.querySelector('.m a.file').href).then((a) => a.text()).then((text) => done(text.length), done);",
    );
    assert_eq!(found, 400_000);
    messi.run(messi.client.refresh());
    messi.wait("document.querySelector('.m.me .st')");
    assert_eq!(messi.count(".m"), 1, "it is there twice");
    drop(page);
}

#[test]
fn a_file_on_its_way_shows_how_far_it_is_and_lets_texts_by() {
    let Some(driver) = Driver::start() else { return };
    let (_page, url) = start("");
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    messi.cdp("Network.enable", &json!({}));
    let slow = |up: i64| json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": up });
    messi.cdp("Network.emulateNetworkConditions", &slow(50_000));
    hand_over(&messi, "paste", &[("besar.bin", &"x".repeat(9_000_000)), ("batal.bin", "y")]);
    messi.press(None, ENTER);
    messi.wait("document.querySelector('.waits progress')?.value > 0");
    messi.write("#text", "sementara itu");
    messi.press(None, ENTER);
    messi.wait("[...document.querySelectorAll('.m:not(.waits)')].some((m) => m.innerText.includes('sementara itu'))");
    assert_eq!(messi.count(".waits"), 2);
    // Both are taken back, the one that is on its way, too.
    messi.click(".waits:last-child .link");
    messi.wait("document.querySelectorAll('.waits').length === 1");
    messi.click(".waits .link");
    messi.wait("document.querySelectorAll('.waits').length === 0");
    messi.cdp("Network.emulateNetworkConditions", &slow(-1));
    hand_over(&messi, "paste", &[("kecil.bin", "z")]);
    messi.click(".send");
    messi.wait("document.querySelector('.m:not(.waits) .file .name')?.textContent === 'kecil.bin'");
    assert_eq!(messi.count(".m .file"), 1, "what was taken back was sent");
}

#[test]
fn a_file_that_cannot_go_says_why() {
    let Some(driver) = Driver::start() else { return };
    let (_page, url) = start("[limits]\nfile_bytes = 2000");
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "nobody");
    hand_over(&messi, "drop", &[("besar.bin", &"x".repeat(2_001)), ("kecil.bin", "x")]);
    messi.see("besar.bin terlalu besar: paling banyak 2 kB");
    messi.wait("document.querySelectorAll('.tray li').length === 1");
    messi.press(None, ENTER);
    messi.see("tidak ada yang bernama begitu");
    messi.click(".waits .link:last-of-type");
    messi.wait("!document.querySelector('.waits')");
}
