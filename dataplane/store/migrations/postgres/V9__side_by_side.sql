-- The address that a provider verified whose own linking covers it: only such an address leads to an account. And a number
-- that the provider says is not verified: no code goes there. Each holds the value itself, so that an older version, which
-- changes the address or the number alone, leaves nothing that is wrong.
ALTER TABLE users ADD COLUMN link_email TEXT;
ALTER TABLE users ADD COLUMN unverified_phone TEXT;

-- Sign-ins that wait for a second factor, up to five of a user side by side. Kept after they were answered until they would
-- have expired, so that a second answer finds them used. An older version goes on with mfa_challenges.
CREATE TABLE challenges (
    -- SHA-256 of the token.
    digest BYTEA NOT NULL PRIMARY KEY,
    user_id UUID NOT NULL,
    provider TEXT NOT NULL,
    -- Where the sign-in came from: one network's sign-ins push out their own first.
    network TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT,
    tries INTEGER NOT NULL,
    -- JSON: the sign-in as far as it went.
    content TEXT NOT NULL,
    -- What the method that was chosen waits for.
    pending BYTEA
);
CREATE INDEX challenges_user ON challenges (user_id, created_at);
CREATE INDEX challenges_expiry ON challenges (expires_at);
INSERT INTO challenges (digest, user_id, provider, network, created_at, expires_at, consumed_at, tries, content, pending)
SELECT digest, user_id, provider, '', created_at, expires_at, consumed_at, tries, content, pending FROM mfa_challenges;

-- What a provider has ended: its own session, or all of a subject's before a time. Kept for as long as a token from before
-- could sign in.
CREATE TABLE ended_logins (
    provider TEXT NOT NULL,
    -- Of the provider's session, or of the subject: as in sessions.
    digest BYTEA NOT NULL,
    -- Tokens issued until then sign nobody in.
    issued_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (provider, digest)
);
CREATE INDEX ended_logins_expiry ON ended_logins (expires_at);
