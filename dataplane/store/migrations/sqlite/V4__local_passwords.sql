-- Local passwords. What a sign-in must know of one stands in the user's own row, which it reads anyway.
ALTER TABLE users ADD COLUMN password_changed_at INTEGER;
ALTER TABLE users ADD COLUMN password_must_change INTEGER NOT NULL DEFAULT 0;

CREATE TABLE passwords (
    user_id BLOB NOT NULL PRIMARY KEY,
    -- argon2id as a PHC string, or bcrypt as it was imported.
    hash TEXT NOT NULL,
    -- Tries of the current password: JSON, bounded.
    tries TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever may lose a password when somebody proves to own the address; and users by what a person calls them.
CREATE INDEX users_unverified_email ON users (policy, email) WHERE NOT email_verified;
CREATE INDEX users_username ON users (policy, username) WHERE username IS NOT NULL;
