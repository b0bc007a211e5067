-- The wall clock as the last server saw it: one row, or none before the first. What is further ahead than a server is
-- likely to have been off is a clock that was set.
CREATE TABLE clock (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    seen_at INTEGER NOT NULL
) STRICT;

-- Where the wall clock jumped forward. What lies between is no time in which anything grew old.
CREATE TABLE clock_jump (
    since INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
