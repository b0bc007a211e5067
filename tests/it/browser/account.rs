//! The account and the server's administration on the page, against `chatd serve` itself: what is done there is so, and
//! axe has nothing against any of these screens, nor against those of the two links that make accounts.

use std::env;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::driver::{Browser, Driver};
use super::looks::{PHONE, Walk};
use super::real::{serve, setup_secret};
use super::{DESKTOP, ENTER};
use crate::support::Folder;

const SETTINGS: &str = "[web]\nlisten = \"127.0.0.1:0\"\n[protocol]\nregister = \"invite\"";

/// A folder in which messi administers.
fn folder() -> Folder {
    let folder = Folder::new(SETTINGS);
    folder.add_three();
    folder.done(&["user", "set", "messi", "--admin", "yes"], "");
    folder
}

fn at(browser: &Browser, screen: &str, sign: &str) {
    browser.script(&format!("location.hash = '#/settings/{screen}'"));
    browser.wait_for(sign);
}

/// Presses a button of `Sure` as somebody who is sure.
fn sure(browser: &Browser, label: &str) {
    let find =
        format!("[...document.querySelectorAll('.account .link')].find((b) => b.textContent.includes('{label}'))");
    browser.wait(&find);
    browser.script(&format!("{find}.focus(); {find}.click()"));
    browser.wait(&format!("{find}.classList.contains('bad')"));
    browser.script(&format!("{find}.click()"));
}

fn users(folder: &Folder) -> Value {
    serde_json::from_str(&folder.done(&["user", "list", "--json"], "")).expect("it is JSON")
}

fn english(browser: &Browser, url: &str) {
    browser.open(url);
    browser.script("localStorage['chatd.lang'] = 'en'");
    browser.run(browser.client.refresh());
    browser.wait_for("#name");
}

#[test]
fn a_person_sees_to_the_own_account() {
    let Some(driver) = Driver::start() else { return };
    let folder = folder();
    let (server, url) = serve(&folder);
    let browser = driver.browser(DESKTOP.0, DESKTOP.1);
    english(&browser, &url);
    browser.log_in(&url, "henderson");
    browser.script("location.hash = '#/settings'");
    browser.wait_for("a[href='#/settings/hooks']");
    assert_eq!(browser.count("a[href='#/settings/users']"), 0, "who may not administer is shown no way to it");

    at(&browser, "profile", "#display");
    browser.script("document.querySelector('#display').value = ''");
    browser.write("#display", "Hendo");
    browser.press(None, ENTER);
    browser.see("Saved.");
    assert!(folder.done(&["user", "list"], "").contains("henderson: Hendo"));
    browser.write("#old", "wrong");
    browser.write("#fresh", "baru");
    browser.press(None, ENTER);
    browser.see("This is not your present password.");
    browser.script("document.querySelector('#old').value = ''");
    browser.write("#old", "surabaya");
    browser.press(None, ENTER);
    browser.see("Your other sessions have ended.");
    assert!(server.connect().ask("auth henderson baru").contains("tokenid"));

    at(&browser, "tokens", "#scope");
    browser.write("#label", "cadangan");
    browser.press(None, ENTER);
    let token = browser.text(".once code");
    let sent = server.connect().ask(&format!("send {token} messi  dari skrip "));
    assert!(sent.contains("Message Sent"), "{sent}");
    assert!(server.connect().ask(&format!("inbox {token}")).contains("ERROR"), "it may send");
    browser.see("cadangan");
    sure(&browser, "End");
    browser.see("None.");
    assert!(server.connect().ask(&format!("send {token} messi  x ")).contains("ERROR"), "it has ended");

    at(&browser, "hooks", "#to");
    browser.write("#label", "alarm");
    browser.write("#to", "nobody");
    browser.press(None, ENTER);
    browser.see("Nobody has this name.");
    browser.script("document.querySelector('#to').value = ''");
    browser.write("#to", "messi");
    browser.press(None, ENTER);
    browser.wait("document.querySelector('.once code')?.textContent.includes('/hook/')");
    browser.see("only to messi");
    sure(&browser, "End");
    browser.see("None.");
}

#[test]
fn an_administrator_sees_to_the_server_on_the_page_and_an_invite_makes_an_account() {
    let Some(driver) = Driver::start() else { return };
    let folder = folder();
    folder.done(&["group", "add", "team", "--owner", "henderson"], "");
    let (server, url) = serve(&folder);
    let browser = driver.browser(DESKTOP.0, DESKTOP.1);
    english(&browser, &url);
    browser.log_in(&url, "messi");
    browser.script("location.hash = '#/settings'");
    browser.click("a[href='#/settings/users']");
    browser.write("#new", "pele");
    browser.press(None, ENTER);
    let password = browser.text(".once code");
    assert!(server.connect().ask(&format!("auth pele {password}")).contains("tokenid"));
    browser.wait("document.querySelectorAll('.account .rows li').length === 4");
    browser.click(".account .rows li:last-child a");
    browser.wait("document.querySelector('#display')?.value === 'pele'");
    sure(&browser, "Make a new password");
    browser.wait(&format!("document.querySelector('.once code') && !document.body.innerText.includes('{password}')"));
    let password = browser.text(".once code");
    assert!(server.connect().ask(&format!("auth pele {password}")).contains("tokenid"));
    sure(&browser, "Disable");
    browser.see("The account is disabled.");
    assert!(server.connect().ask(&format!("auth pele {password}")).contains("ERROR"));
    sure(&browser, "Give the right");
    browser.see("administrator");
    assert_eq!(users(&folder)[3]["admin"], true);
    sure(&browser, "Remove");
    browser.wait("!document.body.innerText.includes('pele')");
    assert_eq!(users(&folder)[3], Value::Null);

    at(&browser, "groups", "a[href='#/settings/groups/team']");
    browser.click("a[href='#/settings/groups/team']");
    browser.see("Jordan Henderson");
    sure(&browser, "Remove");
    browser.see("None.");
    assert_eq!(folder.done(&["group", "list"], ""), "");

    at(&browser, "logins", ".account .rows li");
    at(&browser, "health", ".figures");
    browser.see("The server is well.");
    at(&browser, "invites", "#for");
    browser.write("#for", "Budi");
    browser.press(None, ENTER);
    let link = browser.text(".once code");
    browser.see("Budi");
    let guest = driver.browser(DESKTOP.0, DESKTOP.1);
    guest.log_in(&link, "budi");
    guest.wait("!location.href.includes('invite')");
    let list = users(&folder);
    assert!((0..4).any(|n| list[n]["username"] == "budi" && list[n]["admin"] == false), "{list}");
    let late = driver.browser(DESKTOP.0, DESKTOP.1);
    english(&late, &link);
    late.write("#name", "ani");
    late.write("#password", "surabaya");
    late.press(None, ENTER);
    late.see("This link was used or is over.");
}

/// Each of these screens, and what shows that it is there.
const SCREENS: [(&str, &str); 11] = [
    ("profile", "#fresh"),
    ("tokens", ".account .rows li"),
    ("hooks", ".account .rows li"),
    ("users", ".account .rows li + li"),
    ("users/2", ".account form"),
    ("groups", ".account .rows li"),
    ("groups/team", ".account .rows li"),
    ("invites", ".account .rows li"),
    ("logins", ".account .rows li"),
    ("health", ".figures"),
    ("", ".settings .rows li"),
];

/// Sets how the page is seen from its next load on.
fn seen_in(browser: &Browser, theme: &str, language: &str) {
    browser.script(&format!("localStorage['chatd.theme'] = '{theme}'; localStorage['chatd.lang'] = '{language}'"));
    browser.run(browser.client.refresh());
}

fn pictures() -> Option<PathBuf> {
    let folder = env::var_os("CHATD_PICTURES").map(PathBuf::from);
    folder.inspect(|folder| fs::create_dir_all(folder).expect("it can be made"))
}

fn each_look(look: impl Fn(&str, &str)) {
    for theme in ["light", "dark"] {
        for language in ["id", "en"] {
            look(theme, language);
        }
    }
}

fn walk(name: &str, size: (u32, u32)) {
    let Some(driver) = Driver::start() else { return };
    let folder = folder();
    folder.done(&["group", "add", "team", "--owner", "henderson"], "");
    folder.done(&["user", "invite", "--for", "Budi"], "");
    folder.done(&["user", "disable", "lineker"], "");
    let (_server, url) = serve(&folder);
    let browser = driver.browser(size.0, size.1);
    browser.log_in(&url, "messi");
    let make = "const done = arguments[0];
        const post = (path, body) => fetch('/api/v1/' + path, { method: 'POST', body: JSON.stringify(body),
          headers: { 'Content-Type': 'application/json' } }).then((a) => a.status);
        Promise.all([post('tokens', { label: 'cadangan', scope: 'send', to: 'henderson' }),
          post('hooks', { label: 'alarm', to: 'henderson' })]).then(done)";
    assert_eq!(browser.script_later(make), serde_json::json!([201, 201]));
    each_look(|theme, language| {
        seen_in(&browser, theme, language);
        browser.wait_for(".side .convs, .settings, .empty");
        let walk =
            Walk { browser: &browser, name: format!("{name}-{theme}-{language}"), folder: pictures(), forced: false };
        for (screen, sign) in SCREENS {
            let hash = format!("#/settings/{screen}");
            walk.at(&hash, sign, &format!("settings-{}", screen.replace('/', "-")));
        }
        // What is shown once.
        walk.browser.script("location.hash = '#/settings/invites'");
        browser.wait_for("#for");
        browser.click(".account form .wide");
        browser.wait_for(".once");
        walk.look("settings-once");
    });
}

#[test]
fn the_screens_of_the_account_are_for_everybody_on_a_desktop() {
    walk("desktop", DESKTOP);
}

#[test]
fn the_screens_of_the_account_are_for_everybody_on_a_phone() {
    walk("phone", PHONE);
}

#[test]
fn the_links_that_make_accounts_are_for_everybody() {
    let Some(driver) = Driver::start() else { return };
    let folder = Folder::new(SETTINGS);
    let (server, url) = serve(&folder);
    let secret = setup_secret(&server);
    for (name, size) in [("desktop", DESKTOP), ("phone", PHONE)] {
        let browser = driver.browser(size.0, size.1);
        for link in [format!("setup={secret}"), "invite=00000000-0000-4000-8000-000000000000".to_owned()] {
            browser.open("about:blank");
            browser.open(&format!("{url}#{link}"));
            each_look(|theme, language| {
                seen_in(&browser, theme, language);
                browser.wait_for(".note");
                let by = link.split('=').next().unwrap_or_default();
                let (name, folder) = (format!("{name}-{theme}-{language}-{by}"), pictures());
                Walk { browser: &browser, name, folder, forced: false }.look("login");
            });
        }
    }
}
