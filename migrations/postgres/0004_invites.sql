-- Codes that an administrator gave out; each is good for one account, until it expires. A code that was used is gone.
-- `label` says for whom it was made.
CREATE TABLE invite (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code_hash  bytea  NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    label      text   NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

-- An account by a code, which is used up with it; NULL: the code does not work. Where the name is taken, the error takes
-- the removal of the code back.
CREATE FUNCTION add_invited_account(of_code bytea, of_name text, of_folded text, shown text, of_country text, hash text,
    is_administrator boolean) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM invite WHERE code_hash = of_code AND expires_at > now_ms();
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN add_account(of_name, of_folded, shown, of_country, hash, is_administrator);
END $$;

CREATE FUNCTION add_invite(of_code bytea, of_label text, lasts bigint, latest bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_id bigint;
BEGIN
    DELETE FROM invite WHERE expires_at <= now_ms();
    INSERT INTO invite (code_hash, label, created_at, expires_at)
    VALUES (of_code, of_label, now_ms(), least(now_ms() + least(lasts, latest), latest)) RETURNING id INTO new_id;
    RETURN new_id;
END $$;
