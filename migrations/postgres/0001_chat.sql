-- chatd's database on PostgreSQL, for any number of nodes. Times are milliseconds since 1970-01-01 UTC, by this server's
-- clock.

-- Accounts, and groups, which have an owner: so their names are in one index, and their numbers from one set. A removed
-- one keeps its row, without a password, for the sake of the messages that it sent.
CREATE TABLE account (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text COLLATE "C" NOT NULL,
    folded        text COLLATE "C" NOT NULL,
    display_name  text    NOT NULL,
    country       text    NOT NULL,
    password_hash text    NOT NULL,
    disabled      boolean NOT NULL DEFAULT false,
    administrator boolean NOT NULL DEFAULT false,
    owner         bigint,
    removed_at    bigint,
    created_at    bigint  NOT NULL
);

-- Two living accounts must differ in more than case.
CREATE UNIQUE INDEX account_folded ON account (folded) WHERE removed_at IS NULL;

-- Living sessions and tokens. Only a hash of the token: who reads this table cannot be anybody.
CREATE TABLE session (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      bigint NOT NULL,
    token_hash   bytea  NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    address      text   NOT NULL,
    created_at   bigint NOT NULL,
    last_used_at bigint NOT NULL,
    label        text   NOT NULL DEFAULT '',
    scope        text,
    target       bigint
) WITH (fillfactor = 90);

CREATE INDEX session_account ON session (account, id);

-- The last message. Who sends locks this row until his messages are visible, so the order of the numbers is the order in
-- which messages become visible, for everybody: a cursor over numbers passes no message that comes later.
CREATE TABLE head (
    one  boolean PRIMARY KEY CHECK (one),
    last bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO head (one, last) VALUES (true, 0);

-- Every message, once, also where it is to a group. The text is bytea, because the type text has no U+0000.
CREATE TABLE message (
    target   bigint NOT NULL,
    id       bigint NOT NULL,
    sender   bigint NOT NULL,
    sent_at  bigint NOT NULL,
    text     bytea  NOT NULL,
    file     bigint,
    attached bigint,
    PRIMARY KEY (target, id)
);

CREATE INDEX message_sender ON message (sender, id);
CREATE INDEX message_pair ON message (sender, target, id);
CREATE INDEX message_file ON message (file) WHERE file IS NOT NULL;
CREATE INDEX message_with_file ON message (id) WHERE file IS NOT NULL;

-- When messages to people were read. What was read of a group follows from `hand` and `flight`.
CREATE TABLE receipt (
    id      bigint PRIMARY KEY,
    account bigint NOT NULL,
    read_at bigint NOT NULL
);

-- What an account has ever received, and what it has stored. Those who send write it, and nobody else.
CREATE TABLE mailbox (
    account  bigint PRIMARY KEY,
    received bigint  NOT NULL DEFAULT 0,
    bytes    bigint  NOT NULL DEFAULT 0,
    stored   bigint  NOT NULL DEFAULT 0,
    closed   boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);

-- How far an account was served: all its mail up to `upto` is read or is in a flight. Those who read write it, and nobody
-- else.
CREATE TABLE hand (
    account    bigint PRIMARY KEY,
    upto       bigint NOT NULL DEFAULT 0,
    taken      bigint NOT NULL DEFAULT 0,
    read       bigint NOT NULL DEFAULT 0,
    read_bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- Messages that were handed out and not read yet, a row a lease. Node 0, with a number below 0: they wait again. Of a node that is dead, or a
-- session that has ended, they wait again, too.
CREATE SEQUENCE flight_lease;
CREATE TABLE flight (
    account bigint   NOT NULL,
    lease   bigint   NOT NULL,
    node    bigint   NOT NULL,
    session bigint,
    ids     bigint[] NOT NULL,
    targets bigint[] NOT NULL,
    sizes   bigint[] NOT NULL,
    PRIMARY KEY (account, lease)
) WITH (fillfactor = 70);

-- The processes that serve, a row an incarnation. Who has not beaten for five seconds is dead, and stays so.
CREATE TABLE node (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text        NOT NULL,
    program text        NOT NULL,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The last batch of each writer and what became of it: a batch whose answer was lost is asked for again by its number.
CREATE TABLE writer (
    id      bigint PRIMARY KEY,
    last    bigint NOT NULL DEFAULT 0,
    ids     bigint[],
    missing bigint[],
    reached bigint[]
) WITH (fillfactor = 50);

-- Who ever wrote to whom, and when first: the order of senders in an inbox, and the list of conversations.
CREATE TABLE correspondent (
    recipient bigint NOT NULL,
    sender    bigint NOT NULL,
    first_id  bigint NOT NULL,
    PRIMARY KEY (recipient, sender)
);

CREATE INDEX correspondent_sender ON correspondent (sender, recipient);

-- Who is in a group, and was: a member gets the messages after `since`, up to `until` where that has ended. `full_from` is
-- the first message that a full inbox had no room for, while that lasts; `missed` has such times that are over.
CREATE TABLE membership (
    grp       bigint NOT NULL,
    member    bigint NOT NULL,
    since     bigint NOT NULL,
    until     bigint,
    full_from bigint,
    PRIMARY KEY (grp, member, since)
);

CREATE INDEX membership_member ON membership (member, grp, since);

CREATE TABLE missed (
    grp      bigint NOT NULL,
    member   bigint NOT NULL,
    first_id bigint NOT NULL,
    last_id  bigint NOT NULL,
    PRIMARY KEY (grp, member, first_id)
);

-- Under which key of the sender's a message was sent, so that the same key sends nothing again.
CREATE TABLE send_key (
    sender  bigint NOT NULL,
    key     text   NOT NULL,
    id      bigint NOT NULL,
    sent_at bigint NOT NULL,
    PRIMARY KEY (sender, key)
);

CREATE INDEX send_key_message ON send_key (id);
CREATE INDEX send_key_time ON send_key (sent_at);

-- The key that signs what is pushed to browsers, and the browsers.
CREATE TABLE push_key (
    one boolean PRIMARY KEY CHECK (one),
    key bytea NOT NULL
);

CREATE TABLE push (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session   bigint  NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    address   text    NOT NULL UNIQUE,
    key       bytea   NOT NULL CHECK (length(key) = 65),
    secret    bytea   NOT NULL CHECK (length(secret) = 16),
    with_text boolean NOT NULL
);

CREATE INDEX push_session ON push (session);

-- Files that were sent, in pieces.
CREATE TABLE file (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sender     bigint NOT NULL,
    name       text   NOT NULL,
    media_type text   NOT NULL,
    spelling   bigint NOT NULL,
    bytes      bigint NOT NULL,
    sha256     bytea  NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE file_piece (
    file  bigint NOT NULL,
    place bigint NOT NULL,
    data  bytea  NOT NULL,
    PRIMARY KEY (file, place)
);

-- The feed of changes that must bite on every node: sessions that ended, accounts that changed. Its head is locked until
-- the change is visible, so its versions become visible in their order. Nodes read it four times a second.
CREATE TABLE feed_head (
    one     boolean PRIMARY KEY CHECK (one),
    version bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO feed_head (one, version) VALUES (true, 0);

CREATE TABLE feed (
    version bigint PRIMARY KEY,
    kind    text   NOT NULL CHECK (kind IN ('account', 'session', 'logout')),
    id      bigint NOT NULL,
    account bigint NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION tell_feed(of_kind text, of_id bigint, of_account bigint) RETURNS void LANGUAGE sql AS $$
    WITH next AS (UPDATE feed_head SET version = version + 1 RETURNING version)
    INSERT INTO feed (version, kind, id, account) SELECT version, of_kind, of_id, of_account FROM next;
$$;

CREATE FUNCTION tell_of_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_feed('account', new.id, new.id);
    RETURN NULL;
END $$;

CREATE FUNCTION tell_of_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_feed(CASE current_setting('chatd.logout', true) WHEN old.id::text THEN 'logout' ELSE 'session' END,
        old.id, old.account);
    RETURN NULL;
END $$;

-- At the commit, so that the feed is locked last and only for as long as that takes.
CREATE CONSTRAINT TRIGGER account_changed AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tell_of_account();
CREATE CONSTRAINT TRIGGER session_ended AFTER DELETE ON session DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tell_of_session();

CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
$$;
