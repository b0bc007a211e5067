-- Codes that an administrator gave out; each is good for one account, until it is over. One that was used is gone.
-- `label` says for whom it was made.
CREATE TABLE invite (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    code_hash  BLOB    NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    label      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
