//! Every screen, in both themes and languages, on a desktop and a phone: axe-core finds nothing, and pictures of them
//! can be looked at:
//!
//!     CHATD_PICTURES=/tmp/pictures cargo test --test it browser::looks -- --nocapture

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::{Value, json};

use super::driver::{Browser, Driver, PATIENCE};
use super::stand_in::{StandIn, now};
use super::{DESKTOP, go, server};

pub const PHONE: (u32, u32) = (390, 780);
pub const NARROW: (u32, u32) = (320, 560);

fn talk(server: &StandIn) {
    server.with(|world| {
        world.users.insert("backup-bot".to_owned(), "backup-bot".to_owned());
        let long = "Raden Mas Panji Sosrokartono Djojoadiningrat-Koesoemowardhani bin Abdurrahman";
        world.users.insert("nama-panjang".to_owned(), long.to_owned());
        let minute = 60_000;
        let at = |ago: u64| now() - ago * minute;
        world.say("backup-bot", "messi", "cadangan selesai, 1,6 GB", "", at(60 * 24 * 4));
        let words = "katayangsangatpanjang".repeat(8);
        world.say("nama-panjang", "messi", &format!("tanpa spasi: {words}"), "", at(60 * 24 * 9));
        world.say("henderson", "messi", "halo, jadi latihan besok?", "", at(60 * 26));
        world.say("henderson", "messi", "tempatnya di sini: https://example.org/stadion", "", at(60 * 26));
        world.say("messi", "henderson", "Jadi. Jam berapa?", "", at(34));
        world.mark_read("messi", "henderson", 5);
        world.mark_read("henderson", "messi", 5);
        world.say("henderson", "messi", "jam tujuh pagi, jangan terlambat ya\nbawa sepatu dan air minum", "", at(31));
        for id in [1, 2] {
            let with = if id == 1 { "backup-bot" } else { "nama-panjang" };
            world.mark_read("messi", with, id);
        }
        world.say("lineker", "messi", "apa kabar?", "", at(12));
        world.say("lineker", "messi", "sudah lihat\u{202e}gnp.exe?", "", at(11));
    });
}

/// Gives what axe has against the page.
const AXE: &str = "const done = arguments[0];
    axe.run(document, { resultTypes: ['violations'], rules }).then((result) => done(result.violations.map((v) =>
      `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`)), (e) => done([String(e)]));";

/// What is out of the window, and whether the window has something left.
const SHAPE: &str = "const is_login = arguments[0];
    const wide = [...document.querySelectorAll('#app *:not(.vh, .vh *, .skip)')].filter((e) => {
      const box = e.getBoundingClientRect();
      return box.left < -0.5 || box.right > innerWidth + 0.5;
    }).map((e) => 'wider than the window: ' + e.outerHTML.slice(0, 90));
    const sides = [...document.querySelectorAll('main, nav')].map((e) => e.getBoundingClientRect().width);
    const is_filled = is_login || Math.abs(sides.reduce((a, b) => a + b, 0) - innerWidth) <= 1;
    return is_filled ? wide : [...wide, `the window is not filled: ${sides}`];";

/// Links that have the browser's own colour: the page has not said how they look.
const LINKS: &str = "return [...document.links].filter((a) => {
      const own = document.body.appendChild(Object.assign(document.createElement('a'), { href: a.href, style: 'all: revert' }));
      const is_own = getComputedStyle(own).color === getComputedStyle(a).color;
      own.remove();
      return is_own && a.checkVisibility();
    }).map((a) => 'a link as the browser has it: ' + a.outerHTML.slice(0, 90));";

/// What is wrong with the page as it is. A page of which nothing can be said at this moment is wrong, too.
fn faults(browser: &Browser, is_login: bool, forced: bool) -> Vec<Value> {
    // Which colours are seen where the person has forced them, axe cannot know.
    let rules = json!({ "color-contrast": { "enabled": !forced } });
    let loaded = concat!("if (!window.axe) {", include_str!("../../browser/axe.min.js"), "}");
    let looks = [
        browser.try_script(loaded, Vec::new()).map(|_| json!([])),
        browser.try_script_later(&format!("const rules = {rules}; {AXE}")),
        browser.try_script(SHAPE, vec![json!(is_login)]),
        if forced { Ok(json!([])) } else { browser.try_script(LINKS, Vec::new()) },
    ];
    looks
        .into_iter()
        .flat_map(|look| {
            look.map_or_else(|why| vec![json!(why)], |found| found.as_array().cloned().unwrap_or_default())
        })
        .collect()
}

/// Fails where something is wrong with the page, and stays so.
fn examine(browser: &Browser, what: &str, forced: bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = faults(browser, what.ends_with("login"), forced);
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{what}: {found:#?}");
        thread::sleep(Duration::from_millis(100));
    }
}

pub struct Walk<'a> {
    pub browser: &'a Browser,
    pub name: String,
    pub folder: Option<PathBuf>,
    pub forced: bool,
}

impl Walk<'_> {
    pub fn look(&self, screen: &str) {
        let what = format!("{}-{screen}", self.name);
        examine(self.browser, &what, self.forced);
        if let Some(folder) = &self.folder {
            self.browser.picture(&folder.join(format!("{what}.png")));
        }
    }

    pub fn at(&self, hash: &str, sign: &str, screen: &str) {
        self.browser.script(&format!("location.hash = '{hash}'"));
        self.browser.wait_for(sign);
        self.look(screen);
    }
}

/// How somebody sees the page.
#[derive(Clone, Copy)]
pub struct Seen {
    pub size: (u32, u32),
    pub theme: &'static str,
    pub language: &'static str,
    /// The size of text; 16 is the usual one.
    pub text: u32,
    /// The colours are the person's, whatever the page says.
    pub forced: bool,
}

impl Seen {
    pub const fn usual(size: (u32, u32)) -> Seen {
        Seen { size, theme: "light", language: "id", text: 16, forced: false }
    }
}

/// A browser as somebody sees it, at the login.
pub fn browser_of(driver: &Driver, url: &str, seen: Seen) -> Browser {
    let Seen { size, theme, language, text, forced } = seen;
    let browser = driver.browser_with_text(size.0, size.1, text);
    if forced {
        let features = json!([{ "name": "forced-colors", "value": "active" }]);
        browser.cdp("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }
    browser.open(url);
    browser.script(&format!("localStorage['chatd.theme'] = '{theme}'; localStorage['chatd.lang'] = '{language}'"));
    browser.run(browser.client.refresh());
    browser.wait_for("#name");
    browser
}

impl<'a> Walk<'a> {
    pub fn of(browser: &'a Browser, name: &str, seen: Seen) -> Walk<'a> {
        let folder = env::var_os("CHATD_PICTURES").map(PathBuf::from);
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).expect("it can be made");
        }
        let name = format!("{name}-{}-{}", seen.theme, seen.language);
        Walk { browser, name, folder, forced: seen.forced }
    }
}

/// All screens, as somebody sees them.
fn walk(driver: &Driver, name: &str, seen: Seen) {
    let (server, url) = server();
    let browser = browser_of(driver, &url, seen);
    let walk = Walk::of(&browser, name, seen);
    walk.look("login");
    browser.log_in(&url, "messi");
    browser.wait_for(".empty .wide");
    walk.look("empty");
    talk(&server);
    browser.wait("document.querySelectorAll('.convs a').length === 4");
    walk.look("list");
    go(&browser, "henderson");
    browser.wait_for(".m");
    browser.wait("document.querySelector('.text a')");
    walk.look("conversation");
    walk.at("#/c/nama-panjang", ".m", "long-names");
    walk.at("#/find", ".found a", "find");
    walk.at("#/settings", ".settings .rows li + li", "settings");
    go(&browser, "henderson");
    server.with(|world| {
        world.away = true;
        world.cut();
    });
    browser.write("#text", "Bawa bola juga");
    browser.click(".send");
    browser.wait_for(".note");
    browser.wait_for(".waits .bad");
    walk.look("offline");
}

/// A walk through screens in both themes and languages.
pub fn walks(walk: impl Fn(&Driver, &str, Seen), name: &str, size: (u32, u32)) {
    let Some(driver) = Driver::start() else { return };
    for theme in ["light", "dark"] {
        for language in ["id", "en"] {
            walk(&driver, name, Seen { theme, language, ..Seen::usual(size) });
        }
    }
}

#[test]
fn the_desktop_is_for_everybody() {
    walks(walk, "desktop", DESKTOP);
}

#[test]
fn the_phone_is_for_everybody() {
    walks(walk, "phone", PHONE);
}

#[test]
fn the_narrowest_window_is_for_everybody() {
    let Some(driver) = Driver::start() else { return };
    walk(&driver, "narrow", Seen::usual(NARROW));
}

#[test]
fn text_of_twice_the_size_is_for_everybody() {
    let Some(driver) = Driver::start() else { return };
    walk(&driver, "large", Seen { text: 32, ..Seen::usual(DESKTOP) });
    walk(&driver, "large-phone", Seen { text: 32, language: "en", ..Seen::usual(PHONE) });
}

#[test]
fn colours_of_ones_own_are_for_everybody() {
    let Some(driver) = Driver::start() else { return };
    walk(&driver, "forced", Seen { forced: true, ..Seen::usual(DESKTOP) });
    walk(&driver, "forced-phone", Seen { forced: true, language: "en", ..Seen::usual(PHONE) });
}
