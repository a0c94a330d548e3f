-- What all users of a policy have shown together, where it scores sign-ins. Each data plane adds what it has counted now and
-- then, so that no sign-in waits for a row that all of them change. `seen_day`: days since 1970.
CREATE TABLE risk_population (
    policy TEXT NOT NULL,
    kind INTEGER NOT NULL,
    -- Of a keyed hash, the bits.
    value INTEGER NOT NULL,
    count INTEGER NOT NULL,
    seen_day INTEGER NOT NULL,
    PRIMARY KEY (policy, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX risk_population_seen ON risk_population (seen_day);

CREATE TABLE risk_totals (
    policy TEXT NOT NULL PRIMARY KEY,
    users INTEGER NOT NULL,
    signins INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
