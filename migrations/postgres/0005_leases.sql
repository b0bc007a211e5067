-- Leases once more: an attempt to hand out that is made again finds what the first one took, and what a reader confirms is
-- read as long as nobody else has it.

-- Hands out what waits, oldest first: up to so many messages and bytes, but one at least. Where this lease has messages
-- already, it gives these.
CREATE OR REPLACE FUNCTION hand_out(r bigint, n bigint, lease bigint, in_session bigint, most bigint, most_bytes bigint)
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
        AND NOT EXISTS (SELECT 1 FROM flight f
            WHERE f.account = r AND (is_free(f) OR f.lease = hand_out.lease AND f.node = n)) THEN
        RETURN;
    END IF;
    -- A logout waits until the lease is there, and lets it outlive the session.
    IF in_session IS NOT NULL THEN
        PERFORM 1 FROM session s WHERE s.id = in_session FOR KEY SHARE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    SELECT * INTO h FROM hand x WHERE x.account = r FOR UPDATE;
    IF NOT lives(n) THEN
        RAISE EXCEPTION 'node % is dead', n USING ERRCODE = 'CH003';
    END IF;
    SELECT f.ids, f.targets INTO new_ids, new_targets FROM flight f
    WHERE f.account = r AND f.lease = hand_out.lease AND f.node = n;
    IF NOT FOUND THEN
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
        INSERT INTO flight
        SELECT r, -nextval('flight_lease'), 0, NULL, array_agg(u.id), array_agg(u.target), array_agg(u.size)
        FROM unnest(free_ids, free_targets, free_sizes) AS u (id, target, size)
        WHERE u.id > new_ids[cardinality(new_ids)] HAVING count(*) > 0;
        UPDATE hand x SET upto = greatest(h.upto, new_ids[cardinality(new_ids)]),
            taken = x.taken + (SELECT count(*) FROM unnest(new_ids) AS u (id) WHERE u.id > h.upto)
        WHERE x.account = r;
    END IF;
    RETURN QUERY SELECT m.id, m.target, m.sender, m.sent_at, m.text
    FROM unnest(new_ids, new_targets) AS u (id, target) JOIN message m ON m.target = u.target AND m.id = u.id
    ORDER BY m.id;
END $$;

-- Ends leases: each was read, or waits again. Gives how many messages of each were read. A lease whose messages somebody
-- else has, or whose session has ended, changes nothing. Whoever hands out takes the lock on `hand` first, so what is
-- still in its flight under that lock was given to nobody else; a node that was away confirms it, too.
CREATE OR REPLACE FUNCTION settle(nodes bigint[], accounts bigint[], leases bigint[], is_read boolean[]) RETURNS bigint[]
    LANGUAGE plpgsql AS $$
DECLARE
    at bigint := now_ms();
    done bigint[] := '{}';
    f flight;
BEGIN
    FOR i IN 1 .. cardinality(accounts) LOOP
        PERFORM 1 FROM hand h WHERE h.account = accounts[i] FOR UPDATE;
        f := NULL;
        IF is_read[i] THEN
            DELETE FROM flight x WHERE x.account = accounts[i] AND x.lease = leases[i] AND x.node = nodes[i]
                AND (x.session IS NULL OR EXISTS (SELECT 1 FROM session s WHERE s.id = x.session))
            RETURNING * INTO f;
        ELSE
            UPDATE flight x SET node = 0, session = NULL
            WHERE x.account = accounts[i] AND x.lease = leases[i] AND x.node = nodes[i];
            DELETE FROM flight x WHERE x.account = accounts[i] AND x.lease = leases[i] AND x.node = 0 AND x.ids = '{}';
        END IF;
        done := done || coalesce(cardinality(f.ids), 0)::bigint;
        IF cardinality(f.ids) > 0 THEN
            PERFORM note_read(accounts[i], f.ids, f.targets, f.sizes, at);
        END IF;
    END LOOP;
    RETURN done;
END $$;
