-- Where a session comes from and when it was used last, for whoever lists and ends sessions. All columns may be missing: a data
-- plane of an older version goes on inserting without them.
ALTER TABLE sessions ADD COLUMN last_used_at INTEGER;
ALTER TABLE sessions ADD COLUMN device TEXT;
ALTER TABLE sessions ADD COLUMN network TEXT;
-- SHA-256 over the provider's issuer and the subject, and over the issuer and the provider's own session: what a logout token
-- of the provider names.
ALTER TABLE sessions ADD COLUMN subject_digest BLOB;
ALTER TABLE sessions ADD COLUMN sid_digest BLOB;

CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_sid ON sessions (sid_digest) WHERE sid_digest IS NOT NULL;
