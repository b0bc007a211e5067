//! What is printed of the measurements. Knows nothing of how they were made, nor of what they should be.

use crate::directory::Directory;
use crate::drive::Outcome;
use crate::figures::{Who, median, ratio, show};
use crate::groups::GroupRow;
use crate::probes::Timing;
use crate::rows::{self, Row};
use crate::stored::Stored;

/// Prints the medians over the rounds. A ratio is chatd over Redis: above 1 is better for sends, below 1 for latencies.
pub fn print_rows(rows: &[Row]) {
    println!("\n{:>9} {:^28} {:^28} {:^28}", "", "sends/s", "p50 ms", "p99 ms");
    print!("{:>9}", "conns");
    for _ in 0..3 {
        print!(" {:>10} {:>10} {:>6}", "chatd", "redis", "ratio");
    }
    println!();
    for row in rows {
        print!("{:>9}", row.label());
        print_figures(row, |outcome| outcome.sends_per_second, 0);
        print_figures(row, |outcome| outcome.median_ms, 2);
        print_figures(row, |outcome| outcome.p99_ms, 2);
        println!();
    }
}

/// Prints one figure of both, with so many decimals, and its ratio; a dash for what was not measured.
fn print_figures(row: &Row, figure: fn(&Outcome) -> f64, decimals: usize) {
    let (chatd, redis) = (row.median(Who::Chatd, figure), row.median(Who::Redis, figure));
    print!(" {:>10} {:>10} {:>6}", show(chatd, decimals), show(redis, decimals), show(ratio(chatd, redis), 2));
}

/// Prints what pipelining gains over one connection that waits for each reply, if both were measured.
pub fn print_gain(rows: &[Row], who: Who) {
    if let Some((row, gain)) = rows::gain(rows, who) {
        println!(
            "{}: {} sends in one packet on one connection: {gain:.1} times the sends of one that waits for each reply",
            who.name(),
            row.depth,
        );
    }
}

/// Prints how near chatd comes to the server that stores nothing. Where the generator was busy all the time, that
/// server could have done even more.
pub fn print_ceiling(rows: &[Row]) {
    println!("\n{:>9} {:^28}", "", "sends/s");
    println!("{:>9} {:>10} {:>10} {:>6}  generator", "conns", "chatd", "no storage", "share");
    for row in rows {
        print!("{:>9}", row.label());
        let sends = |who| row.median(who, |outcome| outcome.sends_per_second);
        let (chatd, ceiling) = (sends(Who::Chatd), sends(Who::Ceiling));
        let share = ratio(chatd, ceiling).map(|share| share * 100.0);
        let generator = row.median(Who::Ceiling, |outcome| outcome.generator_cpu * 100.0);
        println!(
            " {:>10} {:>10} {:>4} %  {:>7} %",
            show(chatd, 0),
            show(ceiling, 0),
            show(share, 0),
            show(generator, 0)
        );
    }
}

/// Prints how long the requests that read take.
pub fn print_timings(timings: &[Timing]) {
    println!("\n{:<44} {:>10}", "chatd, one connection, median", "ms");
    for timing in timings {
        println!("{:<44} {:>10}", timing.what, show(timing.median_ms(Who::Chatd), 2));
    }
}

/// Prints how long a database is for each message in it.
pub fn print_disk(bytes_per_message: f64, messages: usize) {
    println!("\n{bytes_per_message:.0} bytes on disk for a message ({messages} messages, nearly all unread)");
}

/// Prints what a connection costs that says nothing.
pub fn print_idle(bytes: f64, connections: usize) {
    println!("{:.2} KiB of memory for an idle connection ({connections} connections)", bytes / 1024.0);
}

/// Prints the full database beside the empty one. A ratio is of times, also for sends: above 1 the full one is slower.
pub fn print_stored(stored: &Stored) {
    println!("\nchatd with {} messages stored beside one with none, median ms or sends/s", stored.messages);
    println!("{:<44} {:>10} {:>10} {:>6}", "", "none", "stored", "ratio");
    for line in &stored.lines {
        let (empty, full) = (show(line.empty, line.decimals), show(line.full, line.decimals));
        println!("{:<44} {empty:>10} {full:>10} {:>6}", line.what, show(line.slowdown, 2));
    }
    println!("{:.0} bytes on disk for a message; a tenth of them is unread", stored.bytes_per_message);
}

/// Prints what messages to groups cost.
pub fn print_groups(rows: &[GroupRow]) {
    println!("\nchatd, 64 connections that send, all recipients read");
    println!(
        "{:>9} {:>10} {:>13} {:>13} {:>8} {:>15}",
        "members", "sends/s", "deliveries/s", "read/s", "p99 ms", "bytes/delivery"
    );
    for row in rows {
        println!(
            "{:>9} {:>10.0} {:>13.0} {:>13.0} {:>8.2} {:>15.2}",
            row.members.map_or("single".to_owned(), |members| members.to_string()),
            row.sends_per_second,
            row.deliveries_per_second,
            row.reads_per_second,
            row.p99_ms,
            row.bytes_per_delivery,
        );
    }
}

/// Prints what a server with many accounts and sessions costs.
pub fn print_directory(directory: &Directory) {
    println!("\nchatd with {} accounts and as many sessions", directory.accounts);
    let [quiet, beside] = directory.slowest_ms;
    for (what, figure, unit) in [
        ("start", directory.start_ms, "ms"),
        ("memory after it", directory.resident_mb, "MB"),
        ("`user add` beside the server, median", directory.add_ms, "ms"),
        ("`user add` without a server, median", directory.add_alone_ms, "ms"),
        ("slowest send", quiet, "ms"),
        ("slowest send with 20 admin commands beside it", beside, "ms"),
        ("p99 of sends while somebody asks `show`", directory.show_p99_ms, "ms"),
        ("p99 of sends while somebody reads a full inbox", directory.inbox_p99_ms, "ms"),
    ] {
        println!("{what:<50} {:>10} {unit}", show(Some(figure), 1));
    }
}

/// The median of times in milliseconds; for a disk it tells whether it is one.
pub fn print_sync(place: &str, milliseconds: Vec<f64>) {
    println!("one fdatasync in {place} takes {} ms", show(median(milliseconds), 2));
}
