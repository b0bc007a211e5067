-- What each account sent, a row for each run and sender, at the end of the table like `mail`: together they are all that
-- somebody wrote or received, in the order of the message log. `messages` is JSON, the numbers in their order. The checksum
-- is as that of `mail`; rows that this migration makes have none.
CREATE TABLE sent (
    run      INTEGER NOT NULL,
    sender   INTEGER NOT NULL,
    messages TEXT    NOT NULL,
    checksum BLOB,
    PRIMARY KEY (run, sender)
) STRICT, WITHOUT ROWID;

INSERT INTO sent (run, sender, messages)
SELECT last, value ->> 0, json_group_array(value ->> 1 ORDER BY value ->> 1)
FROM run JOIN mail ON mail.run = run.last, json_each(messages)
GROUP BY last, value ->> 0;

-- With whom somebody has ever exchanged messages: the key of `pair` finds only those with a higher number.
CREATE INDEX pair_high ON pair (high, low);
