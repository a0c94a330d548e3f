-- A sign-in of a known user inserts one session and one event, and nothing else: no table but users has a secondary index.
-- The one writer checks what foreign keys would, by primary key and inside the transaction.

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY,
    policy TEXT NOT NULL,
    username TEXT,
    email TEXT,
    email_verified INTEGER NOT NULL,
    phone TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'disabled', 'locked')),
    created_at INTEGER NOT NULL,
    sessions_valid_from INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX users_verified_email ON users (policy, email) WHERE email_verified = 1;

CREATE TABLE identities (
    policy TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id BLOB NOT NULL,
    PRIMARY KEY (policy, issuer, subject)
) STRICT, WITHOUT ROWID;

-- Ids begin with their time, so that rows are appended. A session's policy is its user's.
CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL,
    provider TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    refresh_digest BLOB NOT NULL,
    refresh_expires_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    ended_at INTEGER,
    -- Records of 56 bytes: digest, salt, time (big-endian).
    rotated BLOB,
    carried TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    policy TEXT NOT NULL,
    provider TEXT NOT NULL,
    user_id BLOB,
    session_id BLOB,
    request_id TEXT NOT NULL,
    network TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE TABLE replay_guard (
    expires_at INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (expires_at, digest)
) STRICT, WITHOUT ROWID;

-- Only a write tells whether the store can be written to.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    times INTEGER NOT NULL
) STRICT;
INSERT INTO probe (id, times) VALUES (1, 0);

-- "VEST": tells our files from other programs' databases.
PRAGMA application_id = 1447383892;
