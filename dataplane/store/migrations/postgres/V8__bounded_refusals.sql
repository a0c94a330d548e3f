-- A row may stand for several equal refusals. Refusals know their size, so that the oldest can be deleted where they are too many;
-- rows without a size are kept for as long as any event. A data plane of an older version goes on inserting without either.
ALTER TABLE events ADD COLUMN count BIGINT NOT NULL DEFAULT 1;
ALTER TABLE events ADD COLUMN refusal_bytes BIGINT;

CREATE INDEX events_refusals ON events (id) INCLUDE (refusal_bytes) WHERE refusal_bytes IS NOT NULL;
