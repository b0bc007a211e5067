-- Whether an account has room for a text of a sender, to a group or to itself (then NULL). A sender may have as much of
-- it as is still free, with what he wrote to groups; so may a group. All groups together may have half.
CREATE FUNCTION has_room(r bigint, from_id bigint, grp_id bigint, size bigint, most_messages bigint, most_bytes bigint)
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
    SELECT count(*) FILTER (WHERE u.sender = from_id) AS messages,
        coalesce(sum(u.size) FILTER (WHERE u.sender = from_id), 0) AS bytes,
        count(*) FILTER (WHERE u.target = grp_id) AS of_group,
        coalesce(sum(u.size) FILTER (WHERE u.target = grp_id), 0) AS bytes_of_group,
        count(*) FILTER (WHERE u.target <> r) AS of_groups,
        coalesce(sum(u.size) FILTER (WHERE u.target <> r), 0) AS bytes_of_groups
    INTO theirs FROM unread_mail(r) AS u;
    RETURN theirs.messages < free_messages AND theirs.bytes + has_room.size <= free_bytes
        AND (grp_id IS NULL OR theirs.of_group < free_messages AND theirs.bytes_of_group + has_room.size <= free_bytes
            AND theirs.of_groups < most_messages - most_messages / 2
            AND theirs.bytes_of_groups + has_room.size <= most_bytes - most_bytes / 2);
END $$;

-- As it was, with the room that is now.
CREATE OR REPLACE FUNCTION send_each(w bigint, n bigint, senders bigint[], targets bigint[], texts bytea[],
    files bigint[], attached bigint[], grouped boolean[], keys text[], keys_since bigint,
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
                    (WHERE has_room(s.member, senders[i], targets[i], size, most_messages, most_bytes)), '{}'),
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
            IF NOT has_room(targets[i], senders[i], NULL, size, most_messages, most_bytes) THEN
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

DROP FUNCTION has_room(bigint, bigint, bigint, bigint, bigint);
DROP FUNCTION share_of(bigint, bigint, bigint);
