-- Checksums: CRC-32C, four bytes, the highest first. That of a message is over its number, sender, recipient, time and text;
-- that of a row of `mail` over its run, recipient and messages. What was stored before this migration has none.
ALTER TABLE message ADD COLUMN checksum BLOB;
ALTER TABLE mail ADD COLUMN checksum BLOB;

-- The last message that may have no checksum: where a newer one has none, it is damaged. The complement says whether the
-- number itself is.
CREATE TABLE unchecked (
    last       INTEGER NOT NULL,
    complement INTEGER NOT NULL CHECK (complement = ~last)
) STRICT;

INSERT INTO unchecked (last, complement)
SELECT last, ~last FROM (
    SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'message'), 0),
        coalesce((SELECT max(last) FROM run), 0)) AS last
);
