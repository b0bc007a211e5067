-- Messages to many. A group is a row of `user` that has an owner, so that its name is in the one index of names, its number
-- is no account's, and a message is for one or the other by the number alone. Its text is stored once.
ALTER TABLE message RENAME COLUMN recipient TO target;
ALTER TABLE user ADD COLUMN owner INTEGER REFERENCES user (id);

-- Who is in a group, and was: a member gets the messages after `since`, up to `until` where the membership has ended. All
-- of them up to `read_to` are read, but for those that he did not get. What one reads of a group moves this mark in its
-- place, and beside the marks of the others; a receipt for each member and message would be a thousand rows for a message
-- to a thousand. `full_from` is the first message that a full inbox had no room for, while that lasts.
CREATE TABLE membership (
    grp       INTEGER NOT NULL REFERENCES user (id),
    member    INTEGER NOT NULL REFERENCES user (id),
    since     INTEGER NOT NULL,
    until     INTEGER,
    read_to   INTEGER NOT NULL,
    full_from INTEGER,
    PRIMARY KEY (grp, member, since)
) STRICT, WITHOUT ROWID;

-- Somebody's groups. It has no column that changes when messages are read.
CREATE INDEX membership_member ON membership (member, grp, since);

-- Messages that a member did not get because his inbox was full, from one to another, both included.
CREATE TABLE missed (
    grp      INTEGER NOT NULL,
    member   INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL,
    PRIMARY KEY (grp, member, first_id)
) STRICT, WITHOUT ROWID;

-- Messages after `read_to` that a member has read while an older one still waited or was held by another connection.
CREATE TABLE read_ahead (
    grp    INTEGER NOT NULL,
    member INTEGER NOT NULL,
    id     INTEGER NOT NULL,
    PRIMARY KEY (grp, member, id)
) STRICT, WITHOUT ROWID;

-- The change feed tells of a group as of an account: by its number.
CREATE TRIGGER membership_added AFTER INSERT ON membership BEGIN
    INSERT INTO change (kind, id) VALUES ('user', new.grp);
END;

CREATE TRIGGER membership_ended AFTER UPDATE OF until ON membership BEGIN
    INSERT INTO change (kind, id) VALUES ('user', new.grp);
END;
