-- How much each account has stored: the messages that it sent, up to the last run, that the log still has. What came after
-- the last run is counted at the start from the tail.
CREATE TABLE stored (
    user     INTEGER PRIMARY KEY,
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT;

-- Messages that were removed from the log before a run was over them. The run counts them, and then takes them off again.
CREATE TABLE removed (
    id     INTEGER PRIMARY KEY,
    sender INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT;

INSERT INTO stored (user, messages, bytes)
SELECT sender, count(*), sum(octet_length(text)) FROM message
WHERE id <= (SELECT coalesce(max(last), 0) FROM run) GROUP BY sender;
