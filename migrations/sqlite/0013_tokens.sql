-- Personal tokens and hooks lie beside the sessions: what is said of a session's token, its user and its end holds for
-- them, too. A login has no scope. `label` is what its user calls it, or the browser that it was made in; `target` is
-- the only account or group to which it may send.
ALTER TABLE session ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN scope TEXT CHECK (scope IN ('send', 'read', 'all', 'hook'));
ALTER TABLE session ADD COLUMN target INTEGER REFERENCES user (id);

-- Who may administer over HTTP.
ALTER TABLE user ADD COLUMN administrator INTEGER NOT NULL DEFAULT 0 CHECK (administrator IN (0, 1));
