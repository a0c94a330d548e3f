-- What is remembered of a user's sign-ins where the policy scores them: one row, so that it is read and written with the
-- user's own. `version` counts its writes, so that of two sign-ins at once one is not undone by the other.
CREATE TABLE risk_history (
    user_id UUID NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    content BYTEA NOT NULL
);

-- What addresses and user agents are hashed with.
CREATE TABLE risk_key (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    key BYTEA NOT NULL
);
