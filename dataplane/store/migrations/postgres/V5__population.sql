-- What all users of a policy have shown together, where it scores sign-ins. Each data plane adds what it has counted now and
-- then, so that no sign-in waits for a row that all of them change. `seen_day`: days since 1970.
CREATE TABLE risk_population (
    policy TEXT NOT NULL,
    kind SMALLINT NOT NULL,
    -- Of a keyed hash, the bits.
    value BIGINT NOT NULL,
    count BIGINT NOT NULL,
    seen_day BIGINT NOT NULL,
    PRIMARY KEY (policy, kind, value)
);
CREATE INDEX risk_population_seen ON risk_population (seen_day);

CREATE TABLE risk_totals (
    policy TEXT NOT NULL PRIMARY KEY,
    users BIGINT NOT NULL,
    signins BIGINT NOT NULL
);
