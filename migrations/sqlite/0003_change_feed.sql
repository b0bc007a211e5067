-- The change feed: which accounts and sessions were changed, in the order of the commits, whoever made them. A server
-- reads the rows that are named here in place of all accounts and sessions when another process has committed, and
-- removes what it has read. Its own changes it takes out again before it commits them. When a session was last used is
-- not told of.
CREATE TABLE change (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind   TEXT    NOT NULL CHECK (kind IN ('user', 'session')),
    id     INTEGER NOT NULL
) STRICT;

CREATE TRIGGER user_added AFTER INSERT ON user BEGIN
    INSERT INTO change (kind, id) VALUES ('user', new.id);
END;

CREATE TRIGGER user_changed AFTER UPDATE ON user BEGIN
    INSERT INTO change (kind, id) VALUES ('user', new.id);
END;

CREATE TRIGGER user_deleted AFTER DELETE ON user BEGIN
    INSERT INTO change (kind, id) VALUES ('user', old.id);
END;

CREATE TRIGGER session_opened AFTER INSERT ON session BEGIN
    INSERT INTO change (kind, id) VALUES ('session', new.id);
END;

CREATE TRIGGER session_changed AFTER UPDATE OF user, token_hash, address ON session BEGIN
    INSERT INTO change (kind, id) VALUES ('session', new.id);
END;

CREATE TRIGGER session_ended AFTER DELETE ON session BEGIN
    INSERT INTO change (kind, id) VALUES ('session', old.id);
END;
