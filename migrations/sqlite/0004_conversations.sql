-- The index of conversations, a row for each run and pair of people who wrote to each other in it, at the end of the table
-- like `mail`. `messages` is JSON, the numbers in their order, below 0 where `high` wrote to `low`. `earlier` is the run
-- before in which the two wrote to each other: who looks back goes from one to the next, however many runs lie between.
CREATE TABLE conversation (
    run      INTEGER NOT NULL,
    low      INTEGER NOT NULL,
    high     INTEGER NOT NULL,
    messages TEXT    NOT NULL,
    earlier  INTEGER,
    PRIMARY KEY (run, low, high)
) STRICT, WITHOUT ROWID;

-- Where looking back begins: the latest run of each pair, and the one before in case the latest is of a run that did not
-- finish and so is not in `run`.
CREATE TABLE pair (
    low    INTEGER NOT NULL,
    high   INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    former INTEGER,
    PRIMARY KEY (low, high)
) STRICT, WITHOUT ROWID;

INSERT INTO conversation (run, low, high, messages, earlier)
SELECT run, low, high, json_group_array(message ORDER BY abs(message)), lag(run) OVER (PARTITION BY low, high ORDER BY run)
FROM (
    SELECT last AS run, min(recipient, value ->> 0) AS low, max(recipient, value ->> 0) AS high,
        iif(value ->> 0 <= recipient, value ->> 1, -(value ->> 1)) AS message
    FROM run JOIN mail ON mail.run = run.last, json_each(messages)
)
GROUP BY run, low, high;

INSERT INTO pair (low, high, latest) SELECT low, high, max(run) FROM conversation GROUP BY low, high;
