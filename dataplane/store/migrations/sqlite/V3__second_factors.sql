-- Second factors. Nothing here is touched by a sign-in that needs none.

-- What a sign-in waits for: one for each user, and a new one takes the place of the one before it. Kept after it was
-- answered until it would have expired, so that a second answer finds it used.
CREATE TABLE mfa_challenges (
    user_id BLOB NOT NULL PRIMARY KEY,
    -- SHA-256 of the token.
    digest BLOB NOT NULL,
    provider TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    consumed_at INTEGER,
    tries INTEGER NOT NULL,
    -- JSON: the sign-in as far as it went.
    content TEXT NOT NULL,
    -- What the method that was chosen waits for.
    pending BLOB
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX mfa_challenges_digest ON mfa_challenges (digest);
CREATE INDEX mfa_challenges_expiry ON mfa_challenges (expires_at);

-- Tries and codes sent, whatever becomes of the challenges: JSON, bounded.
CREATE TABLE mfa_counters (
    user_id BLOB NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `expires_at` is set until the factor is confirmed. `secret` is sealed, or a public credential.
CREATE TABLE mfa_factors (
    user_id BLOB NOT NULL,
    id BLOB NOT NULL,
    method TEXT NOT NULL,
    name TEXT,
    secret BLOB NOT NULL,
    -- The last time step whose code was used.
    last_step INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    expires_at INTEGER,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mfa_factors_expiry ON mfa_factors (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE mfa_recovery_codes (
    user_id BLOB NOT NULL,
    -- SHA-256 of the code.
    digest BLOB NOT NULL,
    used_at INTEGER,
    PRIMARY KEY (user_id, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE mfa_devices (
    user_id BLOB NOT NULL,
    id BLOB NOT NULL,
    -- SHA-256 of the secret.
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mfa_devices_expiry ON mfa_devices (expires_at);
