-- Second factors. Nothing here is touched by a sign-in that needs none.

-- What a sign-in waits for: one for each user, and a new one takes the place of the one before it. Kept after it was
-- answered until it would have expired, so that a second answer finds it used.
CREATE TABLE mfa_challenges (
    user_id UUID NOT NULL PRIMARY KEY,
    -- SHA-256 of the token.
    digest BYTEA NOT NULL,
    provider TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT,
    tries INTEGER NOT NULL,
    -- JSON: the sign-in as far as it went.
    content TEXT NOT NULL,
    -- What the method that was chosen waits for.
    pending BYTEA
);
CREATE UNIQUE INDEX mfa_challenges_digest ON mfa_challenges (digest);
CREATE INDEX mfa_challenges_expiry ON mfa_challenges (expires_at);

-- Tries and codes sent, whatever becomes of the challenges: JSON, bounded.
CREATE TABLE mfa_counters (
    user_id UUID NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
);

-- `expires_at` is set until the factor is confirmed. `secret` is sealed, or a public credential.
CREATE TABLE mfa_factors (
    user_id UUID NOT NULL,
    id UUID NOT NULL,
    method TEXT NOT NULL,
    name TEXT,
    secret BYTEA NOT NULL,
    -- The last time step whose code was used.
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    expires_at BIGINT,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX mfa_factors_expiry ON mfa_factors (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE mfa_recovery_codes (
    user_id UUID NOT NULL,
    -- SHA-256 of the code.
    digest BYTEA NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (user_id, digest)
);

CREATE TABLE mfa_devices (
    user_id UUID NOT NULL,
    id UUID NOT NULL,
    -- SHA-256 of the secret.
    digest BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX mfa_devices_expiry ON mfa_devices (expires_at);
