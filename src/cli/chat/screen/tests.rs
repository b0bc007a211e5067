//! Screens, drawn of a state that events have made, in windows of several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use unicode_width::UnicodeWidthStr;

use super::draft_file::Drafts;
use super::event::ConversationNews;
use super::state::ShownMessage;
use super::*;
use crate::model::MessageId;

/// Friday, 27 November 2026, 02:53 UTC.
const NOW: i64 = 1_795_748_000_000;
const MINUTE: i64 = 60_000;

fn message(from: &str, ago: i64, text: &str) -> ShownMessage {
    ShownMessage { sent_at: Timestamp(NOW - ago * MINUTE), from: from.to_owned(), text: text.into(), read: false }
}

fn news(with: &str, ago: i64, id: i64, unread: u64) -> ConversationNews {
    ConversationNews {
        with: with.to_owned(),
        newest: (Timestamp(NOW - ago * MINUTE), MessageId(id)),
        unread,
        read_by_me: MessageId(2),
        read_by_other: MessageId(3),
    }
}

/// messi's, with a talk with henderson, another, and a group.
fn state(columns: u16, rows: u16) -> ChatState {
    let mut state = ChatState::new("messi", "127.0.0.1:8889", TimeZone::UTC, false);
    (state.columns, state.rows, state.now) = (columns, rows, Timestamp(NOW));
    update(&mut state, ChatEvent::Up);
    let list = vec![news("henderson", 3, 5, 1), news("nama-yang-panjang-sekali", 1500, 4, 0), news("team", 2, 9, 2)];
    update(&mut state, ChatEvent::Conversations(list));
    state
}

fn open(state: &mut ChatState) {
    navigate::open(state, "henderson");
    let messages = vec![
        (MessageId(1), message("henderson", 1500, "jadi latihan besok? https://example.org/stadion")),
        (MessageId(3), message("messi", 5, "Jadi. Jam berapa?")),
        (MessageId(5), message("henderson", 3, "tujuh 😀 你好\tya\n\x1b[2Jdan\u{202e}lagi")),
    ];
    update(state, ChatEvent::Page { with: "henderson".to_owned(), messages, last: true });
}

/// What the terminal shows, without the blanks at the ends of rows.
fn screen(state: &ChatState) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(state.columns, state.rows)).expect("it is memory");
    terminal.draw(|frame| view::draw(state, frame)).expect("it is memory");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(state.columns)).map(|cells| {
        let (mut row, mut hidden) = (String::new(), 0);
        for cell in cells {
            if hidden == 0 {
                row.push_str(cell.symbol());
                hidden = cell.symbol().width();
            }
            hidden = hidden.saturating_sub(1);
        }
        row.trim_end().to_owned()
    });
    rows.collect()
}

fn press(state: &mut ChatState, code: KeyCode) -> Vec<Effect> {
    update(state, ChatEvent::Terminal(Event::Key(KeyEvent::new(code, KeyModifiers::NONE))))
}

fn type_in(state: &mut ChatState, text: &str) {
    text.chars().for_each(|c| drop(press(state, KeyCode::Char(c))));
}

#[test]
fn a_narrow_window_shows_the_list_or_a_conversation() {
    let mut state = state(40, 14);
    let list = [
        " chatd               3 unread elsewhere",
        " team                        (2)  02:51",
        " henderson                   (1)  02:50",
        " nama-yang-panjang-sekali        26 Nov",
    ];
    assert_eq!(screen(&state)[..4], list);
    open(&mut state);
    let conversation = [
        " henderson           2 unread elsewhere",
        "────── Thursday, 26 November 2026 ──────",
        "henderson 01:53",
        "  jadi latihan besok?",
        "  https://example.org/stadion",
        "─────── Friday, 27 November 2026 ───────",
        "messi 02:48 ✓✓",
        "  Jadi. Jam berapa?",
        "───────────────── new ──────────────────",
        "henderson 02:50",
        "  tujuh 😀 你好    ya",
        "  \\x1b[2Jdan\\u202elagi",
        " messi at 127.0.0.1:8889, ? is help",
        ">",
    ];
    assert_eq!(screen(&state), conversation);
}

#[test]
fn a_wide_window_has_the_list_beside_the_conversation() {
    for columns in [80, 200] {
        let mut state = state(columns, 14);
        open(&mut state);
        type_in(&mut state, "baik");
        let shown = screen(&state);
        let of_the_list: Vec<&str> = shown[..4].iter().map(|row| row.split('│').next().unwrap_or_default()).collect();
        let list = [
            " team          (2)  02:51 ",
            " henderson          02:50 ",
            " nama-yang-panjan… 26 Nov ",
            "                          ",
        ];
        assert_eq!(of_the_list, list);
        let beside: Vec<&str> =
            shown.iter().map(|row| row.split_once('│').map_or("", |(_, beside)| beside.trim())).collect();
        assert!(beside[0].starts_with("henderson ") && beside[0].ends_with(" 2 unread elsewhere"), "{shown:#?}");
        assert_eq!(beside[12..], ["messi at 127.0.0.1:8889, ? is help", "> baik"], "{shown:#?}");
        for row in [
            "02:48 ✓✓ messi      Jadi. Jam berapa?",
            "02:50    henderson  tujuh 😀 你好    ya",
            "\\x1b[2Jdan\\u202elagi",
        ] {
            assert!(beside.contains(&row), "{row:?} is not in {shown:#?}");
        }
        assert!(shown.iter().all(|row| row.width() <= usize::from(columns)), "{shown:#?}");
    }
}

#[test]
fn a_title_leaves_a_blank_before_what_is_unread_elsewhere() {
    let mut state = state(40, 14);
    navigate::open(&mut state, "nama-yang-panjang-sekali");
    assert_eq!(screen(&state)[0], " nama-yang-panjang-… 3 unread elsewhere");
}

#[test]
fn all_of_the_help_can_be_read_in_every_window() {
    for (columns, rows) in [(40, 24), (40, 10), (80, 24), (200, 24)] {
        let mut state = state(columns, rows);
        type_in(&mut state, "?");
        let mut read = screen(&state).join(" ");
        for _ in 0..60 {
            press(&mut state, KeyCode::Down);
            read += &screen(&state).join(" ");
        }
        let narrow = ["Enter: send ", "Alt-Enter: a new line ", "Ctrl-Home, Ctrl-End: its beginning, its end "];
        assert!(columns > 40 || narrow.iter().all(|row| read.contains(row)), "{read}");
        for word in ["Alt-Enter", "Ctrl-F", "/drop", "/quit", "//text", "! refused", "Esc takes this away"] {
            assert!(read.contains(word), "{columns} x {rows}: {word} is nowhere");
        }
        press(&mut state, KeyCode::Esc);
        assert!(!screen(&state).join(" ").contains("Alt-Enter"));
    }
}

#[test]
fn in_a_group_each_writer_is_named() {
    let mut state = state(80, 14);
    let came = vec![
        ("team".to_owned(), MessageId(10), message("lineker", 1, "siapa ikut?")),
        ("team".to_owned(), MessageId(11), message("messi", 1, "saya")),
    ];
    update(&mut state, ChatEvent::Came(came));
    navigate::open(&mut state, "team");
    let shown = screen(&state).join("\n");
    assert!(shown.contains("lineker  siapa ikut?") && shown.contains("✓  messi    saya"), "{shown}");
}

#[test]
fn a_click_opens_a_conversation_and_the_wheel_goes_through_it() {
    let mut state = state(80, 6);
    let mouse = |kind, column, row| {
        ChatEvent::Terminal(Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    };
    update(&mut state, mouse(MouseEventKind::Down(MouseButton::Left), 3, 1));
    assert_eq!(state.open.as_deref(), Some("henderson"));
    open(&mut state);
    let end = screen(&state);
    update(&mut state, mouse(MouseEventKind::ScrollUp, 40, 2));
    assert_ne!(screen(&state), end);
    update(&mut state, mouse(MouseEventKind::ScrollDown, 40, 2));
    assert_eq!(screen(&state)[1..4], end[1..4]);
    update(&mut state, mouse(MouseEventKind::Down(MouseButton::Left), 40, 1));
    assert_eq!(state.open.as_deref(), Some("henderson"), "that is not the list");
}

#[test]
fn what_an_earlier_program_left_is_sent_unless_it_may_have_been_sent_long_ago() {
    let mut state = state(80, 14);
    let waits = |key: &str, age: i64| WaitingMessage {
        key: key.to_owned(),
        with: "henderson".to_owned(),
        text: format!("teks {key}"),
        at: NOW - age * 24 * 60 * MINUTE,
    };
    let effects = command::take_up(&mut state, vec![waits("a", 8), waits("b", 1)], &Drafts::new(), Timestamp(NOW));
    let sent = |effect: &Effect| matches!(effect, Effect::Send { key, .. } if key == "b");
    assert!(effects.len() == 1 && effects.iter().all(sent), "{effects:?}");
    navigate::open(&mut state, "henderson");
    let shown = screen(&state).join("\n");
    assert!(shown.contains("not sent: it was typed long ago and may have") && shown.contains("teks b"), "{shown}");
    // Taken back, it does not wait any more.
    type_in(&mut state, "/drop");
    let effects = press(&mut state, KeyCode::Enter);
    assert_eq!(effects[0], Effect::Done { key: "a".to_owned() });
    assert_eq!(state.typing().text(), "teks a");
    let stored = ChatEvent::Stored { with: "henderson".to_owned(), key: "b".to_owned(), id: MessageId(12) };
    assert!(update(&mut state, stored).contains(&Effect::Done { key: "b".to_owned() }));
    assert_eq!(state.unsent(), 0);
}

#[test]
fn drafts_that_an_earlier_program_left_are_there_and_the_list_says_so() {
    let mut state = state(80, 14);
    let waits = WaitingMessage {
        key: "a".to_owned(),
        with: "henderson".to_owned(),
        text: "/teks".to_owned(),
        at: NOW - MINUTE,
    };
    let drafts = [("henderson", "//teks\n"), ("team", "besok"), ("", "/to")];
    let drafts: Drafts = drafts.into_iter().map(|(with, text)| (with.to_owned(), text.to_owned())).collect();
    command::take_up(&mut state, vec![waits], &drafts, Timestamp(NOW));
    let shown = screen(&state).join("\n");
    assert!(shown.contains(" team          (2)  draft ") && shown.contains("> /to"), "{shown}");
    navigate::open(&mut state, "team");
    let shown = screen(&state).join("\n");
    assert!(shown.contains("> besok") && !shown.contains("draft"), "{shown}");
    navigate::open(&mut state, "henderson");
    assert_eq!(state.typing().text(), "", "it is on its way already");
    let left: Vec<(String, String)> = state.drafts().into_iter().collect();
    assert_eq!(left, [("", "/to"), ("team", "besok")].map(|(with, text)| (with.to_owned(), text.to_owned())));
}

#[test]
fn a_search_shows_the_row_that_was_found_also_in_a_message_longer_than_the_window() {
    let mut state = state(80, 8);
    navigate::open(&mut state, "henderson");
    let lines: Vec<String> = (0..30).map(|number| format!("baris {number}.")).collect();
    let messages = vec![
        (MessageId(1), message("henderson", 9, &lines.join("\n"))),
        (MessageId(3), message("henderson", 5, "baris akhir")),
    ];
    update(&mut state, ChatEvent::Page { with: "henderson".to_owned(), messages, last: true });
    for (wanted, row) in [("BARIS 2.", 1), ("baris 28.", 4), ("akhir", 5)] {
        navigate::begin_search(&mut state, wanted);
        let shown = screen(&state);
        assert!(shown[row].contains(&wanted.to_lowercase()), "{wanted}: {shown:#?}");
    }
}

#[test]
fn a_narrow_status_leaves_out_the_address_before_anything_else() {
    let mut state = state(40, 8);
    open(&mut state);
    assert_eq!(screen(&state)[6], " messi at 127.0.0.1:8889, ? is help");
    press(&mut state, KeyCode::PageUp);
    assert_eq!(screen(&state)[6], " messi, not at the end (Esc), ? is help");
}
