//! The screens of groups and files, as `looks` has the others: axe-core finds nothing, and pictures can be made.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::driver::Driver;
use super::looks::{NARROW, PHONE, Seen, Walk, browser_of, walks};
use super::{DESKTOP, go};
use crate::web::Page;

/// A group with long names, messages and files, and one in which nothing was said.
fn fill(page: &Page) {
    let long = "Raden Mas Panji Sosrokartono Djojoadiningrat-Koesoemowardhani bin Abdurrahman";
    page.folder.add_user("nama-panjang", long, "Indonesia");
    let [messi, henderson] = ["messi", "henderson"].map(|name| page.login(name));
    let ask = |request: &str, who: &str, body: Value| {
        let answer = page.browse(request, who, &body);
        assert!(answer.status < 300, "{request}: {}", answer.text());
    };
    for name in ["tim", "panitia-ulang-tahun-sekolah-yang-kelima-puluh"] {
        ask("POST /api/v1/groups", &messi, json!({ "name": name }));
    }
    for name in ["henderson", "lineker", "nama-panjang"] {
        ask("POST /api/v1/groups/tim/members", &messi, json!({ "name": name }));
    }
    ask("POST /api/v1/groups/tim/name", &messi, json!({ "display_name": "Tim Sepak Bola" }));
    let say = "POST /api/v1/conversations/tim/messages";
    for (who, text) in [(&messi, "Besok latihan jam tujuh."), (&henderson, "Siap, saya bawa bola.")] {
        ask(say, who, json!({ "text": text }));
    }
    let picture = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures/desktop.png"));
    let picture = picture.expect("the README shows it");
    let long = "laporan-keuangan-panitia-ulang-tahun-sekolah-yang-kelima-puluh-versi-terakhir-sekali.pdf";
    for (who, name, bytes) in [(&henderson, "lapangan.png", picture), (&messi, long, vec![7; 1_234_567])] {
        let path = format!("/api/v1/conversations/tim/files?name={name}");
        let sent = crate::web::files::post(page, &path, who, &bytes);
        assert_eq!(sent.status, 201, "{}", sent.text());
    }
    ask(say, &page.login("nama-panjang"), json!({ "text": "Terima kasih!" }));
}

fn walk(driver: &Driver, name: &str, seen: Seen) {
    let page = Page::new("");
    fill(&page);
    let browser = browser_of(driver, &format!("http://{}/", page.address), seen);
    let walk = Walk::of(&browser, name, seen);
    browser.log_in_again("messi");
    browser.wait("document.querySelectorAll('.convs a').length === 2");
    walk.look("group-list");
    walk.at("#/newgroup", "#join-name", "group-new");
    walk.at("#/group/tim", ".group .rows .set", "group-members");
    browser.write("#invite", "jord");
    browser.script("document.querySelector('.group .rows .link').click()");
    browser.wait_for(".sure");
    walk.look("group-sure");
    go(&browser, "tim");
    browser.wait("document.querySelector('.pic img')?.naturalWidth > 0");
    browser.wait("document.querySelector('.m.me .meta').textContent.includes('/3')");
    browser.script(
        "const data = new DataTransfer();
         for (const name of ['foto-latihan.jpg', 'daftar-hadir-yang-panjang-sekali-namanya-dan-lengkap.pdf']) {
           data.items.add(new File(['x'.repeat(3000)], name));
         }
         document.querySelector('#text').dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));",
    );
    browser.wait("document.querySelectorAll('.tray li').length === 2");
    walk.look("group-files");
    browser.click(".pic");
    browser.wait("document.querySelector('dialog[open] img')?.naturalWidth > 0");
    walk.look("picture");
    browser.press(None, "\u{e00c}");
    browser.wait("!document.querySelector('dialog')");
    browser.cdp("Network.enable", &json!({}));
    let slow = json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1 });
    browser.cdp("Network.emulateNetworkConditions", &slow);
    browser.click(".send");
    browser.wait("document.querySelectorAll('.waits .file').length === 2");
    walk.look("file-waits");
}

#[test]
fn groups_and_files_on_a_desktop_are_for_everybody() {
    walks(walk, "desktop", DESKTOP);
}

#[test]
fn groups_and_files_on_a_phone_are_for_everybody() {
    walks(walk, "phone", PHONE);
}

#[test]
fn groups_and_files_in_the_narrowest_window_with_large_text_and_ones_own_colours_are_for_everybody() {
    let Some(driver) = Driver::start() else { return };
    walk(&driver, "narrow", Seen::usual(NARROW));
    walk(&driver, "large", Seen { text: 32, ..Seen::usual(DESKTOP) });
    walk(&driver, "large-phone", Seen { text: 32, language: "en", ..Seen::usual(PHONE) });
    walk(&driver, "forced", Seen { forced: true, ..Seen::usual(DESKTOP) });
}
