-- Files that were sent. The bytes are in pieces, so that neither a file that comes in nor one that is read is ever in
-- memory as a whole; a file whose pieces are not all there was never sent. `spelling` says how the sender wrote the bytes.
CREATE TABLE file (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    sender     INTEGER NOT NULL REFERENCES user (id),
    name       TEXT    NOT NULL,
    media_type TEXT    NOT NULL,
    spelling   INTEGER NOT NULL CHECK (spelling BETWEEN 0 AND 3),
    bytes      INTEGER NOT NULL,
    sha256     BLOB    NOT NULL CHECK (length(sha256) = 32),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE file_piece (
    file  INTEGER NOT NULL,
    place INTEGER NOT NULL,
    data  BLOB    NOT NULL,
    PRIMARY KEY (file, place)
) STRICT;

-- Which file a message brings, and how many bytes it is charged for beside its text. The file may be gone before the message.
ALTER TABLE message ADD COLUMN file INTEGER;
ALTER TABLE message ADD COLUMN attached INTEGER;

-- Both have no entry for a message without a file, so they cost such a message nothing.
CREATE INDEX message_file ON message (file) WHERE file IS NOT NULL;
CREATE INDEX message_with_file ON message (target, id) WHERE file IS NOT NULL;
