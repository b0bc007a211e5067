//! Groups on the page, against `chatd serve` itself.

use serde_json::{Value, json};

use super::driver::{Browser, Driver};
use super::{ENTER, desktop, go, send};
use crate::web::Page;

fn at(browser: &Browser, hash: &str, sign: &str) {
    browser.script(&format!("location.hash = '{hash}'"));
    browser.wait_for(sign);
}

/// The row of somebody in the list of members.
fn row(name: &str) -> String {
    format!("[...document.querySelectorAll('.group .rows .set')].find((row) => row.innerText.includes('{name}'))")
}

fn write_anew(browser: &Browser, field: &str, text: &str) {
    browser.script(&format!("document.querySelector('{field}').value = ''"));
    browser.write(field, text);
}

#[test]
fn a_group_is_made_filled_talked_in_and_left() {
    let Some(driver) = Driver::start() else { return };
    let page = Page::new("");
    let url = format!("http://{}/", page.address);
    let (messi, henderson) = (desktop(&driver), desktop(&driver));
    messi.log_in(&url, "messi");
    henderson.log_in(&url, "henderson");

    messi.click("[aria-label='Cari atau mulai percakapan']");
    messi.click("a[href='#/newgroup']");
    messi.write("#make-name", "tim bola");
    messi.press(None, ENTER);
    messi.see("Nama ini tidak dapat dipakai");
    write_anew(&messi, "#make-name", "tim");
    messi.write("#make-password", "rahasia");
    messi.press(None, ENTER);
    messi.wait("location.hash === '#/group/tim'");

    // Somebody is found by a part of the name; whole names are taken, too.
    messi.write("#invite", "gary");
    messi.click(".picks button");
    messi.wait(&row("Gary Lineker"));
    messi.wait("document.querySelector('#invite').value === ''");
    messi.write("#invite", "nobody");
    messi.press(None, ENTER);
    messi.see("tidak ada yang bernama begitu");

    at(&henderson, "#/newgroup", "#join-name");
    henderson.write("#join-name", "tim");
    henderson.write("#join-password", "salah");
    henderson.press(None, ENTER);
    henderson.see("Kata sandi salah");
    write_anew(&henderson, "#join-password", "rahasia");
    henderson.press(None, ENTER);
    henderson.wait("location.hash === '#/c/tim'");
    // It is in the list though nothing was said in it.
    henderson.wait_for(".convs a[href='#/c/tim']");
    henderson.see("3 anggota");

    go(&messi, "tim");
    send(&messi, "halo semua");
    henderson.see("halo semua");
    henderson.wait("document.querySelector('.m .by')?.textContent === 'Lionel Messi'");
    let counted = |count: &str| format!("document.querySelector('.m.me .meta')?.innerText.includes('{count}')");
    messi.wait(&counted("1/2"));
    let (mut old, token) = page.server.login("lineker");
    old.ask(&format!("inbox {token}"));
    old.ask(&format!("ack {token}"));
    messi.wait(&counted("2/2"));
    messi.wait("document.querySelector('.m.me .st').textContent === '✓✓'");
    messi.wait("document.querySelector('.m.me .meta').textContent.includes('2 dari 2 sudah membaca')");

    // Only the owner sees what only the owner may do, and is asked once more.
    at(&henderson, "#/group/tim", ".group .rows .set");
    henderson.wait(&row("Gary Lineker"));
    assert_eq!(henderson.count("[aria-label='Keluarkan Gary Lineker']"), 0);
    at(&messi, "#/group/tim", ".group .rows .set");
    messi.click("[aria-label='Keluarkan Gary Lineker']");
    messi.wait("document.activeElement.closest('.sure')");
    messi.press(None, "\u{e00c}");
    messi.wait("!document.querySelector('.sure') && location.hash === '#/group/tim'");
    messi.click("[aria-label='Keluarkan Gary Lineker']");
    messi.wait("document.activeElement.closest('.sure')");
    messi.press(None, ENTER);
    messi.wait(&format!("!{}", row("Gary Lineker")));
    messi.wait(&row("Jordan Henderson"));
    write_anew(&messi, "#display", "Tim Sepak Bola");
    messi.press(None, ENTER);
    messi.wait("document.querySelector('h1').textContent === 'Tim Sepak Bola'");
    messi.wait("document.querySelector(\".convs a[href='#/c/tim'] .who\").textContent === 'Tim Sepak Bola'");

    // Who has left may look back, and is told that no more can be sent.
    henderson.click(".ends .wide");
    henderson.click(".sure .link");
    henderson.wait("location.hash === '#/'");
    go(&henderson, "tim");
    henderson.see("halo semua");
    assert_eq!(henderson.count("[aria-label='Anggota']"), 0);
    send(&henderson, "masih di sini");
    henderson.see("Anda bukan anggota grup ini");
    at(&messi, "#/group/tim", ".ends");
    messi.click(".ends .wide:last-of-type");
    messi.wait("document.querySelector('.sure .bad').textContent.startsWith('Hapus grup')");
    messi.click(".sure .link");
    messi.wait("location.hash === '#/'");
    let left = page.browse("GET /api/v1/groups", &page.login("messi"), &Value::Null).json();
    assert_eq!(left, json!({ "groups": [] }));
}

#[test]
fn who_is_put_into_a_group_sees_it_with_its_first_message() {
    let Some(driver) = Driver::start() else { return };
    let page = Page::new("");
    let messi = page.login("messi");
    let henderson = driver.browser(390, 780);
    henderson.log_in(&format!("http://{}/", page.address), "henderson");
    assert_eq!(page.browse("POST /api/v1/groups", &messi, &json!({ "name": "tim" })).status, 201);
    let invited = page.browse("POST /api/v1/groups/tim/members", &messi, &json!({ "name": "henderson" }));
    assert_eq!(invited.status, 204);
    let say = json!({ "text": "selamat datang" });
    assert_eq!(page.browse("POST /api/v1/conversations/tim/messages", &messi, &say).status, 201);
    henderson.wait("document.querySelector('.convs .last')?.textContent === 'Lionel Messi: selamat datang'");
    henderson.click(".convs a[href='#/c/tim']");
    henderson.wait("document.querySelector('.m .by')?.textContent === 'Lionel Messi'");
    henderson.click("[aria-label='Anggota']");
    henderson.wait(&row("pemilik"));
    henderson.click("[aria-label='Kembali']");
    henderson.wait("location.hash === '#/c/tim'");
}
