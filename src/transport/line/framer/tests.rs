//! Lines out of bytes, however they are cut.

use proptest::prelude::*;

use super::*;

const LIMITS: LineLimits = LineLimits { short: 8, long: 16 };

/// What the pushes give, each line as text; `!` and the head for one too long, `∅` for empty lines.
fn frames(ending: Ending, pushes: &[&[u8]]) -> Vec<String> {
    let mut lines = Lines::new(ending, LIMITS);
    let mut out = Vec::new();
    for push in pushes {
        lines.push(push, true);
        while let Some(frame) = lines.next_frame() {
            out.push(match frame {
                Frame::NeedsAdmission { head: [b'+', ..], .. } => {
                    lines.admit();
                    continue;
                }
                Frame::NeedsAdmission { head, .. } => {
                    let head = format!("!{}", String::from_utf8_lossy(head));
                    lines.discard();
                    head
                }
                Frame::Line { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                Frame::Empty { .. } => "∅".to_owned(),
                Frame::TooLong { head, .. } => format!("!{}", String::from_utf8_lossy(head)),
            });
        }
    }
    out
}

#[test]
fn only_cr_lf_ends_a_line() {
    assert_eq!(frames(Ending::CrLf, &[b"a\n", b"b\r", b"\nc\r\n"]), ["a\nb\r\n", "c\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"a\r\r\n"]), ["a\r\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"a\n\r"]), Vec::<String>::new());
    assert_eq!(frames(Ending::Lf, &[b"a\nb\r\n"]), ["a\n", "b\r\n"]);
}

#[test]
fn enter_of_a_telnet_in_character_mode_ends_a_line() {
    assert_eq!(frames(Ending::Lf, &[b"a\r\0b\r", b"\0", b"\r\0"]), ["a\r\0", "b\r\0", "\r\0"]);
    assert_eq!(frames(Ending::Lf, &[b"a\0b\rc\n"]), ["a\0b\rc\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"a\r\0b\r\n"]), ["a\r\0b\r\n"]);
}

#[test]
fn options_of_telnet_are_no_part_of_a_line() {
    let said: &[&[u8]] = &[b"\xff\xfd\x03\xff", b"\xfb\x18ab\xff\xfa\x18\0x", b"terminal\n\xff\xf0c\n"];
    assert_eq!(frames(Ending::Lf, said), ["abc\n"]);
    let mut lines = Lines::new(Ending::Lf, LIMITS);
    lines.push(b"\xff\xfd\x03\xff\xf1a\xff\xff\n", true);
    assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"a\xff\n", at: 0 }));
    assert_eq!(lines.received(), 3);
    // On the JSON port they are bytes like others.
    let mut lines = Lines::new(Ending::CrLf, LIMITS);
    lines.push(b"\xff\xfd\x03\r\n", true);
    assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"\xff\xfd\x03\r\n", at: 0 }));
}

#[test]
fn empty_lines_count_only_when_they_come_alone() {
    let none = Vec::<String>::new();
    assert_eq!(frames(Ending::CrLf, &[b"\r\n"]), ["∅"]);
    assert_eq!(frames(Ending::CrLf, &[b"\r\n\r\n", b"\r\n"]), ["∅", "∅"]);
    assert_eq!(frames(Ending::CrLf, &[b"\r\na\r\n\r\n"]), ["a\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"\r\na"]), none);
    assert_eq!(frames(Ending::CrLf, &[b"a", b"\r\n"]), ["a\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"\r", b"\n"]), ["∅"]);
    assert_eq!(frames(Ending::CrLf, &[b"\r\n\r", b"\n"]), ["∅"]);
    assert_eq!(frames(Ending::Lf, &[b"\n\r\na\n\r", b"\n"]), ["\n", "\r\n", "a\n", "\r\n"]);
}

#[test]
fn a_burst_lasts_until_nothing_more_lies_there() {
    let mut lines = Lines::new(Ending::CrLf, LIMITS);
    lines.push(b"\r\n", false);
    assert_eq!(lines.next_frame(), None);
    lines.push(b"a\r\n", true);
    assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"a\r\n", at: 2 }));
    assert_eq!(lines.next_frame(), None);
    assert_eq!(lines.received(), 5);
}

#[test]
fn long_lines_are_told_once_and_discarded() {
    assert_eq!(frames(Ending::CrLf, &[b"123456789\r\nb\r\n"]), ["!12345678", "b\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"12345678\r\nb\r\n"]), ["12345678\r\n", "b\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"+23456789\r\nb\r\n"]), ["+23456789\r\n", "b\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"+2345678901234567\r\nb\r\n"]), ["!+2345678", "b\r\n"]);
    assert_eq!(frames(Ending::CrLf, &[b"123456789", b"1\n", b"2\r", b"\n\r\nb\r\n"]), ["!12345678", "b\r\n"]);
}

#[test]
fn a_line_that_needs_admission_waits_for_it() {
    let mut lines = Lines::new(Ending::CrLf, LIMITS);
    lines.push(b"123456789\r\n+\r\n", true);
    for _ in 0..2 {
        assert_eq!(lines.next_frame(), Some(Frame::NeedsAdmission { head: b"12345678", at: 0 }));
    }
    lines.admit();
    assert!(lines.is_long());
    assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"123456789\r\n", at: 0 }));
    assert!(!lines.is_long());
    assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"+\r\n", at: 11 }));
}

#[test]
fn memory_is_given_back_with_the_line_that_took_it() {
    let long = LineLimits { short: 8, long: 1 << 20 };
    let mut lines = Lines::new(Ending::CrLf, long);
    let push = |lines: &mut Lines, bytes: &[u8]| {
        lines.push(bytes, true);
        while let Some(frame) = lines.next_frame() {
            if let Frame::NeedsAdmission { .. } = frame {
                lines.admit();
            }
        }
    };
    (0..8).for_each(|_| push(&mut lines, &[b'x'; 65_536]));
    assert!(lines.is_long() && lines.capacity() >= 8 * 65_536);
    push(&mut lines, b"\r\nhalf");
    assert!(!lines.is_long() && lines.capacity() < 10_000, "{} bytes are kept", lines.capacity());
    push(&mut lines, &[b'x'; 65_536]);
    lines.discard();
    assert_eq!(lines.next_frame(), None);
    assert!(!lines.is_long() && lines.capacity() < 10_000, "{} bytes are kept", lines.capacity());
    (0..64).for_each(|_| push(&mut lines, &[b'x'; 65_536]));
    assert!(lines.capacity() < 10_000, "{} bytes are kept of what is thrown away", lines.capacity());
    lines.push(b"x\r\nshort\r\n", true);
    assert!(matches!(lines.next_frame(), Some(Frame::Line { bytes: b"short\r\n", .. })));
    assert_eq!(lines.received(), (8 + 1 + 64) * 65_536 + 16);
}

#[test]
fn a_line_that_is_given_up_ends_where_it_ends() {
    for (begin, rest) in [(&b"123456789\r"[..], &b"\nb\r\n"[..]), (b"123456789", b"0\r\nb\r\n")] {
        let mut lines = Lines::new(Ending::CrLf, LIMITS);
        lines.push(begin, true);
        assert!(matches!(lines.next_frame(), Some(Frame::NeedsAdmission { .. })));
        lines.admit();
        assert_eq!(lines.next_frame(), None);
        lines.discard();
        lines.push(rest, true);
        let at = (begin.len() + rest.len() - 3) as u64;
        assert_eq!(lines.next_frame(), Some(Frame::Line { bytes: b"b\r\n", at }));
    }
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_lines(
        lines in prop::collection::vec("[a+ \n\r]{1,20}", 0..12),
        cuts in prop::collection::vec(0usize..200, 0..20),
    ) {
        // A leading CR or LF could make an empty line, and those depend on what arrives together.
        let whole: Vec<u8> = lines.iter().flat_map(|l| format!("x{l}x\r\n").into_bytes()).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(whole.len())).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).filter(|p| !p.is_empty()).collect();
        let without_empty = |v: Vec<String>| v.into_iter().filter(|f| f != "∅").collect::<Vec<_>>();
        prop_assert_eq!(without_empty(frames(Ending::CrLf, &pieces)), without_empty(frames(Ending::CrLf, &[&whole])));
    }
}
