//! Long conversations: what is loaded of them, where the window stays, where the new begin.

use std::thread;
use std::time::Duration;

use super::driver::Driver;
use super::stand_in::now;
use super::{desktop, go, server, until};

#[test]
fn a_long_conversation_is_scrolled_through_and_never_over_200_are_in_the_page() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    server.with(|world| {
        for number in 0..430 {
            world.say(
                "henderson",
                "messi",
                &format!("nomor {number}"),
                "",
                now() - 86_400_000 * 20 + number * 3_600_000,
            );
        }
        world.mark_read("messi", "henderson", 430);
    });
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    messi.wait_for(".m[data-id='430']");
    messi.script(
        "window.most = 0; window.seen = new Set();
         const note = () => {
           const rows = document.querySelectorAll('.m');
           window.most = Math.max(window.most, rows.length);
           for (const row of rows) window.seen.add(row.dataset.id);
         };
         new MutationObserver(note).observe(document.querySelector('.log'), { childList: true, subtree: true });
         note();",
    );
    let scroll_until = |to: &str, sign: &str| {
        let scrolled = || {
            messi.script(&format!("document.querySelector('.log').scrollTop = {to}"));
            thread::sleep(Duration::from_millis(50));
            messi.script(&format!("return {sign}")) == true
        };
        until(scrolled, &format!("never true: {sign}"));
    };
    scroll_until("0", "document.querySelector('.m')?.dataset.id === '1'");
    messi.see("Awal percakapan");
    // While the end is not loaded, what arrives does not make a gap.
    server.with(|world| world.say("henderson", "messi", "yang terbaru", "", now()));
    scroll_until("1e9", "[...document.querySelectorAll('.m')].at(-1)?.dataset.id === '431'");
    messi.see("yang terbaru");
    assert_eq!(messi.script("return window.seen.size"), 431, "not all were shown");
    let most = messi.script("return window.most").as_u64().expect("a number");
    assert!((150..=200).contains(&most), "{most} messages were in the page");
}

#[test]
fn what_is_read_stays_where_it_is_while_older_ones_are_loaded() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    server.with(|world| {
        for number in 0..120 {
            world.say("henderson", "messi", &format!("nomor {number}"), "", now() - 7_200_000 + number * 1000);
        }
        world.mark_read("messi", "henderson", 120);
    });
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    go(&messi, "henderson");
    messi.wait_for(".m[data-id='120']");
    let moved = messi.script_later(
        "const done = arguments[0];
         const log = document.querySelector('.log');
         log.scrollTop = 300;
         const row = [...document.querySelectorAll('.m')].find((m) => m.getBoundingClientRect().top > 200);
         const before = row.getBoundingClientRect().top;
         const wait = () => {
           if (document.querySelectorAll('.m').length > 60) done(Math.abs(row.getBoundingClientRect().top - before));
           else setTimeout(wait, 10);
         };
         wait();",
    );
    assert!(moved.as_f64().expect("a number") < 3.0, "the message that was read has moved by {moved} pixels");
}

#[test]
fn a_hundred_new_messages_begin_with_their_line() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    server.with(|world| {
        for number in 0..160 {
            world.say("henderson", "messi", &format!("nomor {number}"), "", now() - 7_200_000 + number * 1000);
        }
        world.mark_read("messi", "henderson", 60);
    });
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    messi.wait("document.title === '(100) chatd'");
    go(&messi, "henderson");
    messi.wait("document.querySelector('.new + .m')?.dataset.id === '61'");
    messi.wait("document.querySelector('.new').getBoundingClientRect().top > 0");
    // What is below the window is not read.
    until(|| server.with(|world| world.upto("messi", "henderson")) > 60, "what is in sight is not told");
    let upto = server.with(|world| world.upto("messi", "henderson"));
    assert!(upto < 100, "{upto} counts as read, and is below the window");
}
