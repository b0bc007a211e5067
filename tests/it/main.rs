//! The only integration binary: real servers, real sockets, real SQLite. One module for each thing that is proven.
//!
//! - `support`: a server process in a directory of its own, and a client that speaks lines
//! - `transcripts`: the recorded dialogues of the 2020 program, byte for byte
//! - `dialogue`: what people type and read, on the text port
//! - `document`: the examples of `docs/PROTOCOL.md` and in `examples/`
//! - `extensions`: wait, ack, history, status
//! - `tidy`: data flows one way; lengths, names, and what comments and documents name
//! - `wire`: where we differ from the 2020 program on purpose, and bad input
//! - `repository`: the contract of the store, and what confirms a reply
//! - `stores`: the kinds of store that are held to it
//! - `delivery`: what confirms an inbox and what does not, with real sockets
//! - `proof`: nothing acknowledged is lost by kill -9, power cuts, full, failing, locked and foreign disks
//! - `python`: the JSON of the wire against Python's own
//! - `restart`: logins and inboxes survive
//! - `acme`: a certificate that comes by itself, from pebble
//! - `account`: one's own account over the wire, and the list of people
//! - `admin`: the command line
//! - `administration`: admin commands beside a server, at its own socket; commits of other programs to the file
//! - `quickstart`: three answers make a server that runs
//! - `commands`: sessions, health, manual pages, completions
//! - `damage`: bits that a disk flips
//! - `database`: copies of it, and whether one is whole
//! - `copying`: a database goes from SQLite to PostgreSQL and back
//! - `group_store`: groups in the store: members, full inboxes, read marks
//! - `group_words`: groups on the wire
//! - `upgrade`: a database of the former schema, migrated and killed meanwhile
//! - `family`: the words that other clients of this wire have
//! - `files`: removed, replaced, linked and missing files of a database
//! - `operate`: what systemd and an operator see of a running server
//! - `log`: the log when nobody reads it, and how much of it a client can cause
//! - `output`: commands whose standard output is closed, full, or a pipe without a reader
//! - `metrics`: what Prometheus reads
//! - `prometheus`: the rules and the dashboard in `docs/`, with a real Prometheus
//! - `clock`: clocks that jump end no session and remove no mail
//! - `collected`: what the program logs in the process of the tests
//! - `corpus`: the fuzz targets' checks on what was found so far
//! - `sent_files`: files that people send
//! - `security`: nobody gets in, nothing falls over
//! - `web`: the page and the HTTP API
//! - `client`: the text protocol, piped and on a `terminal`, also through a `door`: against an old server, and
//!   encrypted
//! - `typing`: whatever is typed into the client is done or said not to be
//! - `window`: the client's window changes its width
//! - `away`: the client notices that its session has ended, and that the server is away
//! - `connect`: how the client comes to a server, and what it says when it does not
//! - `names`: every spelling of a name and of a password is the same, and foreign text is shown escaped
//! - `browser`: the page in Chromium, against a server that fails when it is told to
//! - `page`: the sizes of the page's files, its words, and what no module of it does
//! - `crontab`: `chatd login`, `logout`, `send`, `inbox`
//! - `chat`: `chatd chat` on a pseudo terminal
//! - `servers`: several servers, kept by name

mod account;
mod acme;
mod admin;
mod administration;
mod at_once;
mod away;
mod browser;
mod chat;
mod client;
mod clock;
mod cluster;
mod collected;
mod commands;
mod connect;
mod copying;
mod corpus;
mod crontab;
mod damage;
mod database;
mod delivery;
mod dialogue;
mod document;
mod door;
mod extensions;
mod family;
mod files;
mod following;
mod group_store;
mod group_words;
mod handed_out;
mod leases;
mod log;
mod metrics;
mod names;
mod nodes;
mod operate;
mod output;
mod page;
mod prometheus;
mod proof;
mod python;
mod quickstart;
mod replicas;
mod repository;
mod restart;
mod room;
mod security;
mod send_keys;
mod sent_files;
mod servers;
mod statements;
mod stored;
mod stores;
mod support;
mod terminal;
mod tidy;
mod transcripts;
mod typing;
mod upgrade;
mod web;
mod window;
mod wire;
