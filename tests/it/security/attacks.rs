//! The attacks of `cargo bench --bench attacks`, each for a moment and with little stored: the innocent user is served,
//! and the server's memory stays under what docs/SECURITY.md adds up. How long it takes is for the benchmark.

#[path = "../../../benches/attacks/mod.rs"]
mod suite;

use std::fs;
use std::path::Path;
use suite::interrupt::Interrupt;
use suite::{Plan, ROWS};

/// In quiet, and as long under attack.
const SECONDS: f64 = 0.5;

/// The sum that docs/SECURITY.md names, in bytes.
fn most_memory() -> u64 {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let text = fs::read_to_string(page).expect("it is part of the project");
    let sum = text.lines().find_map(|line| line.strip_prefix("| **all** |")).expect("the page has the sum");
    let mebibytes: String = sum.chars().filter(char::is_ascii_digit).collect();
    mebibytes.parse::<u64>().expect("it is a number") << 20
}

/// Drives the row with this label.
fn is_survived(label: &str) {
    let row = ROWS.iter().find(|row| row.is_meant_by(label)).expect("there is such a row");
    let directory = std::env::temp_dir();
    let program = env!("CARGO_BIN_EXE_chatd").into();
    let plan = Plan { program, directory, seconds: SECONDS, is_brief: true };
    let outcome = match suite::drive(row, &plan, &Interrupt::default()) {
        Ok(outcome) => outcome,
        Err(error) if error.is::<suite::NotAllowed>() => return println!("SKIPPED: {label}: {error:#}"),
        Err(error) => panic!("{label}: {error:#}"),
    };
    println!("{}\n{outcome}", suite::HEADING);
    assert!(outcome.asked > 0, "there was no attack");
    assert_eq!(outcome.quiet.failures.count(), 0, "in quiet: {outcome}");
    assert_eq!(outcome.attacked.failures.count(), 0, "{outcome}");
    assert!(outcome.peak_bytes < most_memory(), "{outcome}");
}

#[test]
fn mail_that_goes_back_again_and_again_keeps_nobody_waiting() {
    is_survived("9");
}

#[test]
fn large_first_inboxes_keep_nobody_waiting() {
    is_survived("9-first");
}

#[test]
fn strangers_who_read_no_reply_keep_nobody_out() {
    is_survived("10");
}

#[test]
fn users_who_read_no_reply_keep_nobody_out() {
    is_survived("10-inside");
}

#[test]
fn silent_strangers_keep_nobody_of_their_address_out() {
    is_survived("11");
}

#[test]
fn one_account_does_not_take_all_places() {
    is_survived("12");
}

#[test]
fn one_ipv6_network_does_not_take_all_places() {
    is_survived("12-network");
}

#[test]
fn lines_that_never_end_leave_room_for_the_long_lines_of_others() {
    is_survived("13-lines");
}

#[test]
fn slow_readers_leave_room_for_the_long_replies_of_others() {
    is_survived("13-replies");
}

#[test]
fn long_replies_keep_nobody_waiting() {
    is_survived("14");
}

#[test]
fn lists_of_many_names_keep_nobody_waiting() {
    is_survived("14-names");
}

#[test]
fn old_history_keeps_nobody_waiting() {
    is_survived("15");
}

#[test]
fn old_history_for_those_who_are_gone_keeps_nobody_waiting() {
    is_survived("15-reset");
}

#[test]
fn a_backlog_of_old_history_for_those_who_are_gone_keeps_nobody_waiting() {
    is_survived("15-backlog");
}

#[test]
fn who_has_stored_too_much_keeps_nobody_from_sending() {
    is_survived("16");
}

#[test]
fn guesses_from_many_addresses_keep_nobody_from_logging_in() {
    is_survived("17");
}

#[test]
fn a_flooder_keeps_nobody_out_of_a_mailbox() {
    is_survived("18");
}
