-- A refresh writes its session's row anew: where the page has room for it, and the last version leaves that room behind, no index is touched.
ALTER TABLE sessions SET (fillfactor = 85);
