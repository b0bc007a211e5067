-- chatd's database. Times are milliseconds since 1970-01-01 UTC. Ids are AUTOINCREMENT, so that SQLite never gives out
-- the number of a row that was deleted.

-- How `file` and chatd know whose database this is: "chat".
PRAGMA application_id = 0x63686174;

-- Accounts. A removed one keeps its row, without a password, for the sake of the messages that it sent; so nothing that
-- refers to an account can be left dangling, and the writer need not check foreign keys (`db verify` does).
CREATE TABLE user (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL,
    folded        TEXT    NOT NULL,
    display_name  TEXT    NOT NULL,
    country       TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    disabled      INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    removed_at    INTEGER,
    created_at    INTEGER NOT NULL
) STRICT;

-- Two living accounts must differ in more than case.
CREATE UNIQUE INDEX user_folded ON user (folded) WHERE removed_at IS NULL;

-- Living sessions. Only a hash of the token: who reads this file cannot be anybody.
CREATE TABLE session (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    user         INTEGER NOT NULL REFERENCES user (id),
    token_hash   BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    address      TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT;

-- A user's sessions: they are counted at login and end together.
CREATE INDEX session_user ON session (user, id);

-- The log: every message, in the order accepted. It has no other index, because an index on the recipient would dirty a
-- page for nearly every message of a commit; what is needed to find messages is written later, in sorted batches.
CREATE TABLE message (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    sender    INTEGER NOT NULL REFERENCES user (id),
    recipient INTEGER NOT NULL REFERENCES user (id),
    sent_at   INTEGER NOT NULL,
    text      TEXT    NOT NULL
) STRICT;

-- Which messages were read. By message, so that the rows of a busy day lie on few pages.
CREATE TABLE receipt (
    id           INTEGER PRIMARY KEY,
    delivered_at INTEGER NOT NULL
) STRICT;

-- How far the tables below have been written: each run covers the log from the run before up to `last`. The log after
-- the newest run is the tail: the server keeps it in memory and reads it once at start.
CREATE TABLE run (
    last INTEGER PRIMARY KEY
) STRICT;

-- The index of the log, a row for each run and recipient: what `inbox` reads of mail that is older than the tail, and
-- `history` of a conversation. `messages` is JSON, [[sender, id, bytes of text], …] in the order of the ids. One row for
-- a few dozen messages, and always at the end of the table, so that it costs little, however much is stored. Rows of a
-- run that is not in `run` are of one that did not finish; it is simply done again.
CREATE TABLE mail (
    run       INTEGER NOT NULL,
    recipient INTEGER NOT NULL,
    messages  TEXT    NOT NULL,
    PRIMARY KEY (run, recipient)
) STRICT, WITHOUT ROWID;

-- How much of `mail` is unread and whose, so that a start need not count it, and from which message on.
CREATE TABLE mailbox (
    user     INTEGER PRIMARY KEY REFERENCES user (id),
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    oldest   INTEGER NOT NULL
) STRICT;

-- Who ever wrote to whom, and when first: the order of senders in an inbox.
CREATE TABLE correspondent (
    recipient INTEGER NOT NULL,
    sender    INTEGER NOT NULL,
    first_id  INTEGER NOT NULL,
    PRIMARY KEY (recipient, sender)
) STRICT, WITHOUT ROWID;
