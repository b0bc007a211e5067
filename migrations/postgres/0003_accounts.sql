-- Accounts, sessions and groups: the changes of more than one step. Whatever depends on the last message locks the head
-- of the message log first, as whoever sends does, so no two wait for each other.

-- Opens a session; gives its number, or NULL: the account was shut, removed or given another password meanwhile.
CREATE FUNCTION open_session(of_account bigint, of_token bytea, from_address text, at bigint, of_label text, most bigint,
    checked text, rehashed text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_id bigint;
BEGIN
    PERFORM 1 FROM account a WHERE a.id = of_account AND a.removed_at IS NULL AND NOT a.disabled
        AND a.owner IS NULL AND a.password_hash = checked FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO session (account, token_hash, address, created_at, last_used_at, label)
    VALUES (of_account, of_token, from_address, at, at, of_label) RETURNING id INTO new_id;
    DELETE FROM session WHERE id IN (SELECT s.id FROM session s WHERE s.account = of_account AND s.scope IS NULL
        ORDER BY s.id = new_id DESC, s.last_used_at DESC, s.id DESC OFFSET greatest(most, 1));
    IF rehashed IS NOT NULL THEN
        UPDATE account SET password_hash = rehashed WHERE id = of_account;
    END IF;
    RETURN new_id;
END $$;

-- Ends a session because its user asked for it. What was handed out in its name stays with its connection.
CREATE FUNCTION log_out(of_session bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    of_account bigint;
BEGIN
    PERFORM set_config('chatd.logout', of_session::text, true);
    DELETE FROM session WHERE id = of_session RETURNING account INTO of_account;
    IF of_account IS NULL THEN
        RETURN false;
    END IF;
    UPDATE flight SET session = NULL WHERE account = of_account AND session = of_session;
    RETURN true;
END $$;

CREATE FUNCTION set_password(of_account bigint, hash text) RETURNS void LANGUAGE sql AS $$
    UPDATE account SET password_hash = hash WHERE id = of_account AND removed_at IS NULL;
    DELETE FROM session WHERE account = of_account;
$$;

CREATE FUNCTION set_disabled(of_account bigint, shut boolean) RETURNS void LANGUAGE sql AS $$
    UPDATE account SET disabled = shut WHERE id = of_account AND removed_at IS NULL;
    DELETE FROM session WHERE account = of_account;
$$;

CREATE FUNCTION change_password(of_account bigint, by_session bigint, checked text, hash text) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE account SET password_hash = hash WHERE id = of_account AND removed_at IS NULL AND NOT disabled
        AND password_hash = checked AND EXISTS (SELECT 1 FROM session WHERE id = by_session AND account = of_account);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM session WHERE account = of_account AND id <> by_session AND scope IS NULL;
    RETURN true;
END $$;

CREATE FUNCTION add_token(of_account bigint, by_session bigint, of_token bytea, at bigint, of_label text, of_scope text,
    of_target bigint, most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM account WHERE id = of_account FOR UPDATE;
    INSERT INTO session (account, token_hash, address, created_at, last_used_at, label, scope, target)
    SELECT s.account, of_token, s.address, at, at, of_label, of_scope, of_target FROM session s
    WHERE s.id = by_session AND s.account = of_account
        AND (SELECT count(*) FROM session t WHERE t.account = of_account AND t.scope IS NOT NULL) < most;
    RETURN FOUND;
END $$;

-- An account with its mailbox; gives its number. The unique index refuses a name that is taken.
CREATE FUNCTION add_account(of_name text, of_folded text, shown text, of_country text, hash text, is_administrator boolean)
    RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_id bigint;
BEGIN
    INSERT INTO account (name, folded, display_name, country, password_hash, administrator, created_at)
    VALUES (of_name, of_folded, shown, of_country, hash, is_administrator, now_ms()) RETURNING id INTO new_id;
    INSERT INTO mailbox (account) VALUES (new_id);
    INSERT INTO hand (account) VALUES (new_id);
    RETURN new_id;
END $$;

-- The same where there is no account at all; NULL where there is one.
CREATE FUNCTION add_first_account(of_name text, of_folded text, shown text, of_country text, hash text,
    is_administrator boolean) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM head FOR UPDATE;
    IF EXISTS (SELECT 1 FROM account WHERE owner IS NULL AND removed_at IS NULL) THEN
        RETURN NULL;
    END IF;
    RETURN add_account(of_name, of_folded, shown, of_country, hash, is_administrator);
END $$;

CREATE FUNCTION end_group(g bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE account SET removed_at = now_ms(), password_hash = '', disabled = true WHERE id = g AND removed_at IS NULL;
$$;

-- Takes a member out, after the last message; the last who leaves takes the group away, and after the owner the member
-- of the longest standing has it.
CREATE FUNCTION take_out(g bigint, who bigint, last_id bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE membership SET until = last_id WHERE grp = g AND member = who AND until IS NULL;
    SELECT member INTO next FROM membership WHERE grp = g AND until IS NULL ORDER BY since, member LIMIT 1;
    IF next IS NULL THEN
        PERFORM end_group(g);
    ELSE
        UPDATE account SET owner = next WHERE id = g AND owner = who;
    END IF;
END $$;

-- Removes an account; its unread mail counts as read by nobody and goes with retention. Gives how much that was.
CREATE FUNCTION remove_account(who bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint;
    at bigint := now_ms();
    waiting bigint;
    g bigint;
BEGIN
    SELECT last INTO last_id FROM head FOR UPDATE;
    UPDATE account SET removed_at = at, password_hash = '', disabled = true WHERE id = who AND removed_at IS NULL;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    DELETE FROM session WHERE account = who;
    FOR g IN SELECT grp FROM membership WHERE member = who AND until IS NULL ORDER BY grp LOOP
        PERFORM take_out(g, who, last_id);
    END LOOP;
    UPDATE mailbox SET closed = true WHERE account = who;
    PERFORM 1 FROM hand WHERE account = who FOR UPDATE;
    INSERT INTO receipt (id, account, read_at)
    SELECT u.id, who, at FROM unread_mail(who) u WHERE u.target = who ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS waiting = ROW_COUNT;
    DELETE FROM flight WHERE account = who;
    UPDATE hand h SET upto = last_id, taken = b.received, read = b.received, read_bytes = b.bytes
    FROM mailbox b WHERE h.account = who AND b.account = who;
    RETURN waiting;
END $$;

-- What becomes of changes of groups: these words are those of the program.
CREATE FUNCTION may_join(who bigint, most_groups bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN NOT EXISTS (SELECT 1 FROM account WHERE id = who AND owner IS NULL AND removed_at IS NULL) THEN 'gone'
        WHEN (SELECT count(*) FROM membership WHERE member = who AND until IS NULL) >= most_groups THEN 'too many groups'
    END;
$$;

CREATE FUNCTION put_in(g bigint, who bigint, last_id bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO membership (grp, member, since) VALUES (g, who, last_id)
    ON CONFLICT (grp, member, since) DO UPDATE SET until = NULL, full_from = NULL;
$$;

CREATE FUNCTION add_group(of_name text, of_folded text, shown text, hash text, by bigint, most_groups bigint) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint;
    refused text;
    new_id bigint;
BEGIN
    SELECT last INTO last_id FROM head FOR UPDATE;
    refused := may_join(by, most_groups);
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    INSERT INTO account (name, folded, display_name, country, password_hash, owner, created_at)
    VALUES (of_name, of_folded, shown, '', hash, by, now_ms())
    ON CONFLICT (folded) WHERE removed_at IS NULL DO NOTHING RETURNING id INTO new_id;
    IF new_id IS NULL THEN
        RETURN 'name taken';
    END IF;
    PERFORM put_in(new_id, by, last_id);
    RETURN 'done';
END $$;

CREATE FUNCTION join_group(g bigint, who bigint, most_groups bigint, most_members bigint) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint;
    refused text;
BEGIN
    SELECT last INTO last_id FROM head FOR UPDATE;
    IF NOT EXISTS (SELECT 1 FROM account WHERE id = g AND owner IS NOT NULL AND removed_at IS NULL) THEN
        RETURN 'gone';
    ELSIF EXISTS (SELECT 1 FROM membership WHERE grp = g AND member = who AND until IS NULL) THEN
        RETURN 'already a member';
    END IF;
    refused := may_join(who, most_groups);
    IF refused IS NOT NULL THEN
        RETURN refused;
    ELSIF (SELECT count(*) FROM membership WHERE grp = g AND until IS NULL) >= most_members THEN
        RETURN 'group full';
    END IF;
    PERFORM put_in(g, who, last_id);
    RETURN 'done';
END $$;

CREATE FUNCTION leave_group(g bigint, who bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint;
BEGIN
    SELECT last INTO last_id FROM head FOR UPDATE;
    IF NOT EXISTS (SELECT 1 FROM membership WHERE grp = g AND member = who AND until IS NULL) THEN
        RETURN 'not a member';
    END IF;
    PERFORM take_out(g, who, last_id);
    RETURN 'done';
END $$;

CREATE FUNCTION rename_group(g bigint, shown text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE account SET display_name = shown WHERE id = g AND owner IS NOT NULL AND removed_at IS NULL;
    RETURN CASE WHEN FOUND THEN 'done' ELSE 'gone' END;
END $$;

CREATE FUNCTION remove_group(g bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint;
BEGIN
    SELECT last INTO last_id FROM head FOR UPDATE;
    IF NOT EXISTS (SELECT 1 FROM account WHERE id = g AND owner IS NOT NULL AND removed_at IS NULL) THEN
        RETURN 'gone';
    END IF;
    UPDATE membership SET until = last_id WHERE grp = g AND until IS NULL;
    PERFORM end_group(g);
    RETURN 'done';
END $$;
