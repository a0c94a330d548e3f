-- Local passwords. What a sign-in must know of one stands in the user's own row, which it reads anyway.
ALTER TABLE users ADD COLUMN password_changed_at BIGINT;
ALTER TABLE users ADD COLUMN password_must_change BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE passwords (
    user_id UUID NOT NULL PRIMARY KEY,
    -- argon2id as a PHC string, or bcrypt as it was imported.
    hash TEXT NOT NULL,
    -- Tries of the current password: JSON, bounded.
    tries TEXT NOT NULL
);

-- Whoever may lose a password when somebody proves to own the address; and users by what a person calls them.
CREATE INDEX users_unverified_email ON users (policy, email) WHERE NOT email_verified;
CREATE INDEX users_username ON users (policy, username) WHERE username IS NOT NULL;
