-- Under which key of the sender's a message was sent, so that the same key sends nothing again. By message, so that the
-- oldest are the first rows.
CREATE TABLE send_key (
    id      INTEGER PRIMARY KEY,
    sender  INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    sent_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX send_key_sender ON send_key (sender, key);
