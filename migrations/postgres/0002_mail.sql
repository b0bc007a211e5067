-- Mail: sending, handing out, reading. Each is one function, so that it is one statement and one round trip, commits by
-- itself, and leaves no lock to a client that may have died.

-- What waits for an account after a message, or is handed out and not read: oldest first.
CREATE FUNCTION mail_after(r bigint, after bigint, most bigint)
    RETURNS TABLE (id bigint, target bigint, sender bigint, size bigint) LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        (SELECT m.id, m.target, m.sender, octet_length(m.text) + coalesce(m.attached, 0)
            FROM message m WHERE m.target = r AND m.id > after ORDER BY m.id LIMIT most)
        UNION ALL
        SELECT g.* FROM membership s CROSS JOIN LATERAL (
            SELECT m.id, m.target, m.sender, octet_length(m.text) + coalesce(m.attached, 0)
            FROM message m
            WHERE m.target = s.grp AND m.id > greatest(s.since, after) AND m.id <= coalesce(s.until, m.id)
                AND m.sender <> r AND m.id < coalesce(s.full_from, 9223372036854775807)
                AND NOT EXISTS (SELECT 1 FROM missed x
                    WHERE x.grp = s.grp AND x.member = r AND m.id BETWEEN x.first_id AND x.last_id)
            ORDER BY m.id LIMIT most) g
        WHERE s.member = r AND (s.until IS NULL OR s.until > after)
    ) AS waiting (id, target, sender, size) ORDER BY id LIMIT most;
$$;

CREATE FUNCTION lives(n bigint) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (SELECT 1 FROM node WHERE id = n AND beat_at > clock_timestamp() - interval '5 seconds');
$$;

-- Whether what was handed out waits again. The clock is this server's, and it is asked when the messages are taken.
CREATE FUNCTION is_free(f flight) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT f.ids <> '{}' AND (f.node = 0
        OR NOT EXISTS (SELECT 1 FROM node WHERE id = f.node AND beat_at > clock_timestamp() - interval '5 seconds')
        OR f.session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM session WHERE id = f.session));
$$;

CREATE FUNCTION unread_mail(r bigint) RETURNS TABLE (id bigint, target bigint, sender bigint, size bigint)
    LANGUAGE sql STABLE AS $$
    SELECT u.id, u.target, m.sender, u.size
    FROM flight f CROSS JOIN LATERAL unnest(f.ids, f.targets, f.sizes) AS u (id, target, size)
        JOIN message m ON m.target = u.target AND m.id = u.id
    WHERE f.account = r
    UNION ALL
    SELECT * FROM mail_after(r, (SELECT upto FROM hand WHERE account = r), 9223372036854775807);
$$;

-- What of an account's unread mail one sender has, or one group; no more than `most` are counted.
CREATE FUNCTION share_of(r bigint, share bigint, most bigint, OUT messages bigint, OUT bytes bigint)
    LANGUAGE sql STABLE AS $$
    SELECT count(*), coalesce(sum(size), 0)::bigint FROM (
        SELECT u.size FROM flight f CROSS JOIN LATERAL unnest(f.ids, f.targets, f.sizes) AS u (id, target, size)
            JOIN message m ON m.target = u.target AND m.id = u.id
        WHERE f.account = r AND CASE u.target WHEN r THEN m.sender = share ELSE u.target = share END
        UNION ALL
        SELECT octet_length(m.text) + coalesce(m.attached, 0) FROM message m
        WHERE m.sender = share AND m.target = r AND m.id > (SELECT upto FROM hand WHERE account = r)
        UNION ALL
        SELECT octet_length(m.text) + coalesce(m.attached, 0) FROM membership s JOIN message m ON m.target = s.grp
        WHERE s.grp = share AND s.member = r AND m.sender <> r
            AND m.id > greatest(s.since, (SELECT upto FROM hand WHERE account = r))
            AND m.id <= coalesce(s.until, m.id) AND m.id < coalesce(s.full_from, 9223372036854775807)
            AND NOT EXISTS (SELECT 1 FROM missed x
                WHERE x.grp = s.grp AND x.member = r AND m.id BETWEEN x.first_id AND x.last_id)
        LIMIT most) AS theirs (size);
$$;

-- Begins a batch: gives the last message, which stays locked, or NULL where this batch was done already. What was done
-- is written before it is said, so that it is not said while no standby has it.
CREATE FUNCTION begin_batch(w bigint, n bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
    last_id bigint;
BEGIN
    SELECT last INTO done FROM writer WHERE id = w FOR UPDATE;
    IF done IS NULL THEN
        RAISE EXCEPTION 'writer % is not known', w USING ERRCODE = 'CH001';
    ELSIF done = n THEN
        UPDATE writer SET last = last WHERE id = w;
        RETURN NULL;
    ELSIF done > n THEN
        RAISE EXCEPTION 'batch % of writer % comes after batch %', n, w, done USING ERRCODE = 'CH002';
    END IF;
    SELECT last INTO last_id FROM head FOR UPDATE;
    RETURN last_id;
END $$;

-- Sends messages between people. `accounts` are all senders and recipients, each once and in order, with what comes to
-- them and what is charged to them. Gives the numbers of the messages; or, in `reached`, the accounts that have not half
-- of their room left: then nothing was sent, and whoever has to do with these is to be sent one by one.
CREATE FUNCTION send_plain(w bigint, n bigint, senders bigint[], targets bigint[], texts bytea[], files bigint[],
    attached bigint[], accounts bigint[], counts bigint[], sizes bigint[], charges bigint[], fresh bigint[],
    most_messages bigint, most_bytes bigint, most_stored bigint,
    OUT ids bigint[], OUT missing bigint[], OUT reached bigint[]) LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint := begin_batch(w, n);
    at bigint := now_ms();
BEGIN
    IF last_id IS NULL THEN
        SELECT d.ids, d.missing, d.reached INTO ids, missing, reached FROM writer d WHERE d.id = w;
        RETURN;
    END IF;
    SELECT array_agg(a.id) INTO reached
    FROM unnest(accounts, counts, sizes, charges) AS a (id, c, b, s)
        LEFT JOIN mailbox m ON m.account = a.id LEFT JOIN hand h ON h.account = a.id
    WHERE a.c > 0 AND (coalesce(m.closed, true) OR m.received - h.read + a.c > most_messages / 2
            OR m.bytes - h.read_bytes + a.b > most_bytes / 2)
        OR most_stored > 0 AND a.s > 0 AND coalesce(m.stored, 0) + a.s > most_stored;
    IF reached IS NULL THEN
        INSERT INTO message (target, id, sender, sent_at, text, file, attached)
        SELECT m.t, last_id + m.o, m.s, at, m.x, m.f, m.a
        FROM unnest(targets, senders, texts, files, attached) WITH ORDINALITY AS m (t, s, x, f, a, o);
        UPDATE mailbox SET received = received + a.c, bytes = bytes + a.b, stored = stored + a.s
        FROM unnest(accounts, counts, sizes, charges) AS a (id, c, b, s) WHERE account = a.id;
        IF cardinality(fresh) > 0 THEN
            INSERT INTO correspondent (recipient, sender, first_id)
            SELECT targets[o], senders[o], last_id + o FROM unnest(fresh) AS f (o) ORDER BY o ON CONFLICT DO NOTHING;
        END IF;
        UPDATE head SET last = last_id + cardinality(targets);
        SELECT array_agg(i) INTO ids FROM generate_series(last_id + 1, last_id + cardinality(targets)) AS s (i);
    END IF;
    UPDATE writer SET last = n, ids = send_plain.ids, missing = NULL, reached = send_plain.reached WHERE id = w;
END $$;

-- Whether an account has room for a text of a sender or a group: they may have as much of it as is still free.
CREATE FUNCTION has_room(r bigint, share bigint, size bigint, most_messages bigint, most_bytes bigint)
    RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    free_messages bigint;
    free_bytes bigint;
    theirs record;
BEGIN
    SELECT most_messages - (m.received - h.read), most_bytes - (m.bytes - h.read_bytes)
    INTO free_messages, free_bytes
    FROM mailbox m JOIN hand h ON h.account = m.account WHERE m.account = r AND NOT m.closed;
    IF free_messages IS NULL OR free_messages <= 0 OR size > free_bytes THEN
        RETURN false;
    ELSIF free_messages > most_messages / 2 AND free_bytes - size >= most_bytes / 2 THEN
        RETURN true;
    END IF;
    SELECT * INTO theirs FROM share_of(r, share, free_messages);
    RETURN theirs.messages < free_messages AND theirs.bytes + size <= free_bytes;
END $$;

-- Sends messages one by one: to groups, under keys, and where somebody has little room. A number below 0 says why one was
-- not sent: -1 no room, -2 no member of that group, -3 the sender has stored as much as he may. `missing` counts members
-- who had no room.
CREATE FUNCTION send_each(w bigint, n bigint, senders bigint[], targets bigint[], texts bytea[], files bigint[],
    attached bigint[], grouped boolean[], keys text[], keys_since bigint,
    most_messages bigint, most_bytes bigint, most_stored bigint,
    OUT ids bigint[], OUT missing bigint[], OUT reached bigint[]) LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint := begin_batch(w, n);
    at bigint := now_ms();
    size bigint;
    code bigint;
    without bigint;
    takers bigint[];
    others bigint[];
BEGIN
    IF last_id IS NULL THEN
        SELECT d.ids, d.missing, d.reached INTO ids, missing, reached FROM writer d WHERE d.id = w;
        RETURN;
    END IF;
    ids := '{}'; missing := '{}'; reached := '{}';
    FOR i IN 1 .. cardinality(senders) LOOP
        size := octet_length(texts[i]) + coalesce(attached[i], 0);
        code := NULL; without := 0; takers := '{}'; others := '{}';
        IF keys[i] IS NOT NULL THEN
            SELECT k.id INTO code FROM send_key k
            WHERE k.sender = senders[i] AND k.key = keys[i] AND k.sent_at >= at - keys_since;
        END IF;
        IF code IS NULL AND grouped[i] AND NOT EXISTS (SELECT 1 FROM membership s
            WHERE s.grp = targets[i] AND s.member = senders[i] AND s.until IS NULL) THEN
            code := -2;
        END IF;
        IF code IS NULL AND most_stored > 0 AND size + 100 +
            coalesce((SELECT m.stored FROM mailbox m WHERE m.account = senders[i]), 0) > most_stored THEN
            code := -3;
        END IF;
        IF code IS NULL AND grouped[i] THEN
            SELECT coalesce(array_agg(s.member) FILTER
                    (WHERE has_room(s.member, targets[i], size, most_messages, most_bytes)), '{}'),
                coalesce(array_agg(s.member), '{}')
            INTO takers, others FROM membership s
            WHERE s.grp = targets[i] AND s.until IS NULL AND s.member <> senders[i];
            without := cardinality(others) - cardinality(takers);
            IF without > 0 AND takers = '{}' THEN
                code := -1;
            END IF;
        ELSIF code IS NULL THEN
            takers := ARRAY[targets[i]];
            others := takers;
            IF NOT has_room(targets[i], senders[i], size, most_messages, most_bytes) THEN
                code := -1;
            END IF;
        END IF;
        IF code IS NULL THEN
            last_id := last_id + 1;
            code := last_id;
            INSERT INTO message (target, id, sender, sent_at, text, file, attached)
            VALUES (targets[i], last_id, senders[i], at, texts[i], files[i], attached[i]);
            UPDATE mailbox m SET received = received + 1, bytes = bytes + size WHERE m.account = ANY (takers);
            UPDATE mailbox m SET stored = stored + size + 100 WHERE m.account = senders[i];
            IF NOT grouped[i] THEN
                INSERT INTO correspondent (recipient, sender, first_id)
                VALUES (targets[i], senders[i], last_id) ON CONFLICT DO NOTHING;
            ELSIF without > 0 THEN
                UPDATE membership s SET full_from = last_id WHERE s.grp = targets[i] AND s.until IS NULL
                    AND s.full_from IS NULL AND s.member = ANY (others) AND NOT s.member = ANY (takers);
            END IF;
            IF grouped[i] THEN
                WITH again AS (UPDATE membership s SET full_from = NULL
                    FROM membership f WHERE f.grp = s.grp AND f.member = s.member AND f.since = s.since
                        AND s.grp = targets[i] AND s.until IS NULL AND s.full_from IS NOT NULL
                        AND s.member = ANY (takers)
                    RETURNING s.grp, s.member, f.full_from)
                INSERT INTO missed (grp, member, first_id, last_id)
                SELECT a.grp, a.member, a.full_from, last_id - 1 FROM again a;
            END IF;
            IF keys[i] IS NOT NULL THEN
                INSERT INTO send_key AS k (sender, key, id, sent_at) VALUES (senders[i], keys[i], last_id, at)
                ON CONFLICT (sender, key) DO UPDATE SET id = excluded.id, sent_at = excluded.sent_at;
            END IF;
            UPDATE head SET last = last_id;
            reached := reached || others;
        END IF;
        ids := ids || code;
        missing := missing || without;
    END LOOP;
    UPDATE writer SET last = n, ids = send_each.ids, missing = send_each.missing, reached = send_each.reached
    WHERE id = w;
END $$;

-- Hands out what waits, oldest first: up to so many messages and bytes, but one at least.
CREATE FUNCTION hand_out(r bigint, n bigint, lease bigint, in_session bigint, most bigint, most_bytes bigint)
    RETURNS TABLE (id bigint, target bigint, sender bigint, sent_at bigint, text bytea)
    LANGUAGE plpgsql AS $$
DECLARE
    h hand;
    free_ids bigint[];
    free_targets bigint[];
    free_sizes bigint[];
    new_ids bigint[];
    new_targets bigint[];
    new_sizes bigint[];
BEGIN
    IF NOT EXISTS (SELECT 1 FROM mailbox b JOIN hand x ON x.account = b.account
            WHERE b.account = r AND b.received > x.taken)
        AND NOT EXISTS (SELECT 1 FROM flight f WHERE f.account = r AND is_free(f)) THEN
        RETURN;
    END IF;
    SELECT * INTO h FROM hand x WHERE x.account = r FOR UPDATE;
    IF NOT lives(n) THEN
        RAISE EXCEPTION 'node % is dead', n USING ERRCODE = 'CH003';
    END IF;
    IF in_session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM session s WHERE s.id = in_session) THEN
        RETURN;
    END IF;
    WITH gone AS (DELETE FROM flight f WHERE f.account = r AND is_free(f) RETURNING f.ids, f.targets, f.sizes)
    SELECT array_agg(u.id ORDER BY u.id), array_agg(u.target ORDER BY u.id), array_agg(u.size ORDER BY u.id)
    INTO free_ids, free_targets, free_sizes
    FROM gone CROSS JOIN LATERAL unnest(gone.ids, gone.targets, gone.sizes) AS u (id, target, size);
    SELECT array_agg(c.id ORDER BY c.id), array_agg(c.target ORDER BY c.id), array_agg(c.size ORDER BY c.id)
    INTO new_ids, new_targets, new_sizes
    FROM (SELECT a.*, row_number() OVER w AS k, sum(a.size) OVER w AS total FROM (
            SELECT * FROM unnest(free_ids, free_targets, free_sizes)
            UNION ALL
            SELECT m.id, m.target, m.size FROM mail_after(r, h.upto, most) m) AS a (id, target, size)
        WINDOW w AS (ORDER BY a.id)) AS c
    WHERE c.k = 1 OR c.k <= most AND c.total <= most_bytes;
    IF new_ids IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO flight VALUES (r, hand_out.lease, n, in_session, new_ids, new_targets, new_sizes);
    -- What waited again and is not taken now goes on waiting.
    INSERT INTO flight SELECT r, -nextval('flight_lease'), 0, NULL, array_agg(u.id), array_agg(u.target), array_agg(u.size)
    FROM unnest(free_ids, free_targets, free_sizes) AS u (id, target, size)
    WHERE u.id > new_ids[cardinality(new_ids)] HAVING count(*) > 0;
    UPDATE hand x SET upto = greatest(h.upto, new_ids[cardinality(new_ids)]),
        taken = x.taken + (SELECT count(*) FROM unnest(new_ids) AS u (id) WHERE u.id > h.upto)
    WHERE x.account = r;
    RETURN QUERY SELECT m.id, m.target, m.sender, m.sent_at, m.text
    FROM unnest(new_ids, new_targets) AS u (id, target) JOIN message m ON m.target = u.target AND m.id = u.id
    ORDER BY m.id;
END $$;

-- Ends leases of a node: each was read, or waits again. Gives how many messages of each were read. A lease that is over,
-- because its session or its node is, changes nothing.
CREATE FUNCTION settle(nodes bigint[], accounts bigint[], leases bigint[], is_read boolean[]) RETURNS bigint[]
    LANGUAGE plpgsql AS $$
DECLARE
    at bigint := now_ms();
    done bigint[] := '{}';
    f flight;
BEGIN
    FOR i IN 1 .. cardinality(accounts) LOOP
        IF NOT is_read[i] THEN
            UPDATE flight x SET node = 0, session = NULL
            WHERE x.account = accounts[i] AND x.lease = leases[i] AND x.node = nodes[i];
            done := done || 0::bigint;
            CONTINUE;
        END IF;
        PERFORM 1 FROM hand h WHERE h.account = accounts[i] FOR UPDATE;
        f := NULL;
        DELETE FROM flight x WHERE x.account = accounts[i] AND x.lease = leases[i] AND x.node = nodes[i] AND lives(nodes[i])
            AND (x.session IS NULL OR EXISTS (SELECT 1 FROM session s WHERE s.id = x.session))
        RETURNING * INTO f;
        done := done || coalesce(cardinality(f.ids), 0)::bigint;
        IF cardinality(f.ids) > 0 THEN
            PERFORM note_read(accounts[i], f.ids, f.targets, f.sizes, at);
        END IF;
    END LOOP;
    RETURN done;
END $$;

-- An account has read these.
CREATE FUNCTION note_read(r bigint, ids bigint[], targets bigint[], sizes bigint[], at bigint) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO receipt (id, account, read_at)
    SELECT u.id, r, at FROM unnest(ids, targets) AS u (id, target) WHERE u.target = r ON CONFLICT DO NOTHING;
    UPDATE hand SET read = read + cardinality(ids),
        read_bytes = read_bytes + (SELECT coalesce(sum(s), 0)::bigint FROM unnest(sizes) AS u (s))
    WHERE account = r;
$$;

-- An account has read what these people and groups wrote up to a message, whoever holds it. Gives how many had not been
-- read.
CREATE FUNCTION read_upto(r bigint, shares bigint[], last_id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    h hand;
    held bigint[];
    held_targets bigint[];
    held_sizes bigint[];
    fresh bigint[];
    fresh_targets bigint[];
    fresh_sizes bigint[];
    rest bigint[];
    rest_targets bigint[];
    rest_sizes bigint[];
BEGIN
    SELECT * INTO h FROM hand x WHERE x.account = r FOR UPDATE;
    SELECT coalesce(array_agg(u.id), '{}'), coalesce(array_agg(u.target), '{}'), coalesce(array_agg(u.size), '{}')
    INTO held, held_targets, held_sizes
    FROM flight f CROSS JOIN LATERAL unnest(f.ids, f.targets, f.sizes) AS u (id, target, size)
        JOIN message m ON m.target = u.target AND m.id = u.id
    WHERE f.account = r AND u.id <= last_id
        AND CASE u.target WHEN r THEN m.sender = ANY (shares) ELSE u.target = ANY (shares) END;
    IF held <> '{}' THEN
        UPDATE flight f SET (ids, targets, sizes) = (
            SELECT coalesce(array_agg(u.id), '{}'), coalesce(array_agg(u.target), '{}'), coalesce(array_agg(u.size), '{}')
            FROM unnest(f.ids, f.targets, f.sizes) AS u (id, target, size) WHERE NOT u.id = ANY (held))
        WHERE f.account = r AND f.ids && held;
        DELETE FROM flight f WHERE f.account = r AND f.node = 0 AND f.ids = '{}';
    END IF;
    WITH w AS (SELECT m.*, CASE m.target WHEN r THEN m.sender = ANY (shares) ELSE m.target = ANY (shares) END AS is_read
        FROM mail_after(r, h.upto, 9223372036854775807) m WHERE m.id <= last_id)
    SELECT coalesce(array_agg(w.id) FILTER (WHERE is_read), '{}'),
        coalesce(array_agg(w.target) FILTER (WHERE is_read), '{}'),
        coalesce(array_agg(w.size) FILTER (WHERE is_read), '{}'),
        coalesce(array_agg(w.id ORDER BY w.id) FILTER (WHERE NOT is_read), '{}'),
        coalesce(array_agg(w.target ORDER BY w.id) FILTER (WHERE NOT is_read), '{}'),
        coalesce(array_agg(w.size ORDER BY w.id) FILTER (WHERE NOT is_read), '{}')
    INTO fresh, fresh_targets, fresh_sizes, rest, rest_targets, rest_sizes FROM w;
    IF fresh <> '{}' THEN
        -- What others wrote in between waits on.
        INSERT INTO flight SELECT r, -nextval('flight_lease'), 0, NULL, array_agg(u.id), array_agg(u.target), array_agg(u.size)
        FROM unnest(rest, rest_targets, rest_sizes) AS u (id, target, size)
        WHERE u.id < (SELECT max(x) FROM unnest(fresh) AS a (x)) HAVING count(*) > 0;
        UPDATE hand x SET upto = (SELECT max(a.i) FROM unnest(fresh) AS a (i)),
            taken = x.taken + cardinality(fresh) + (SELECT count(*) FROM unnest(rest) AS b (i)
                WHERE b.i < (SELECT max(a.i) FROM unnest(fresh) AS a (i)))
        WHERE x.account = r;
    END IF;
    PERFORM note_read(r, held || fresh, held_targets || fresh_targets, held_sizes || fresh_sizes, now_ms());
    RETURN cardinality(held) + cardinality(fresh);
END $$;

-- How many have read a message of a group, and how many got it.
CREATE FUNCTION read_count(g bigint, of_id bigint, of_sender bigint, OUT have_read bigint, OUT got bigint)
    LANGUAGE sql STABLE AS $$
    SELECT count(*) FILTER (WHERE of_id <= h.upto AND NOT EXISTS
            (SELECT 1 FROM flight f WHERE f.account = s.member AND of_id = ANY (f.ids))), count(*)
    FROM membership s JOIN hand h ON h.account = s.member
    WHERE s.grp = g AND s.since < of_id AND of_id <= coalesce(s.until, of_id) AND s.member <> of_sender
        AND of_id < coalesce(s.full_from, 9223372036854775807)
        AND NOT EXISTS (SELECT 1 FROM missed x
            WHERE x.grp = g AND x.member = s.member AND of_id BETWEEN x.first_id AND x.last_id);
$$;

-- Removes some of what was read before a time; gives how many messages. One node at a time, and only for a moment, for
-- all who send wait meanwhile. When a member read a message of a group is not known, so its time is that of the sending.
CREATE FUNCTION prune_some(read_before bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    gone bigint[];
    gone_targets bigint[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(7450891236) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(o.id), array_agg(o.target) INTO gone, gone_targets FROM (
        (SELECT r.id, r.account AS target FROM receipt r WHERE r.read_at < read_before ORDER BY r.id LIMIT most)
        UNION ALL
        (SELECT m.id, m.target FROM account g JOIN message m ON m.target = g.id
            CROSS JOIN LATERAL read_count(m.target, m.id, m.sender) AS c
            WHERE g.owner IS NOT NULL AND m.sent_at < read_before AND c.have_read = c.got LIMIT most)) AS o;
    IF gone IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM head FOR UPDATE;
    UPDATE mailbox b SET stored = b.stored - c.charge FROM (
        SELECT m.sender, sum(octet_length(m.text) + coalesce(m.attached, 0) + 100)::bigint AS charge
        FROM unnest(gone, gone_targets) AS u (id, target) JOIN message m ON m.target = u.target AND m.id = u.id
        GROUP BY m.sender ORDER BY m.sender) AS c
    WHERE b.account = c.sender;
    DELETE FROM message m USING unnest(gone, gone_targets) AS u (id, target) WHERE m.target = u.target AND m.id = u.id;
    DELETE FROM receipt r USING unnest(gone) AS u (id) WHERE r.id = u.id;
    RETURN cardinality(gone);
END $$;
