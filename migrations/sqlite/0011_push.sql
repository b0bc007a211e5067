-- The key that signs what is pushed to browsers, PKCS#8. Browsers subscribe with its public half, so it is made once.
CREATE TABLE push_key (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    key BLOB    NOT NULL
) STRICT;

-- Browsers that want to be told when something waits. Who knows the address of one can ring there, so none is shown.
CREATE TABLE push (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    session   INTEGER NOT NULL REFERENCES session (id),
    address   TEXT    NOT NULL UNIQUE,
    key       BLOB    NOT NULL CHECK (length(key) = 65),
    secret    BLOB    NOT NULL CHECK (length(secret) = 16),
    with_text INTEGER NOT NULL CHECK (with_text IN (0, 1))
) STRICT;

CREATE INDEX push_session ON push (session);

-- Whoever ends a session, its browser is not told any more.
CREATE TRIGGER push_session_ended AFTER DELETE ON session BEGIN
    DELETE FROM push WHERE session = old.id;
END;
