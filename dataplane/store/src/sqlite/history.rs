//! What is remembered of a user's sign-ins, and the key that it is hashed with.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::{HASH_KEY_BYTES, HashKey, NewHistory, StoredHistory};

pub(super) fn history(db: &Connection, user: Uuid) -> rusqlite::Result<Option<StoredHistory>> {
    db.prepare_cached("SELECT version, content FROM risk_history WHERE user_id = ?1")?
        .query_row([user.as_bytes()], |row| {
            Ok(StoredHistory {
                version: row.get(0)?,
                content: row.get(1)?,
            })
        })
        .optional()
}

/// Nothing when another sign-in was first.
pub(super) fn learn(db: &Connection, user: Uuid, history: &NewHistory) -> rusqlite::Result<()> {
    let NewHistory { replaces, content } = history;
    match replaces {
        None => db
            .prepare_cached(
                "INSERT INTO risk_history (user_id, version, content) VALUES (?1, 1, ?2) ON CONFLICT DO NOTHING",
            )?
            .execute(params![user.as_bytes(), content])?,
        Some(version) => db
            .prepare_cached(
                "UPDATE risk_history SET version = version + 1, content = ?3 WHERE user_id = ?1 AND version = ?2",
            )?
            .execute(params![user.as_bytes(), version, content])?,
    };
    Ok(())
}

/// The key of this database; `fresh` becomes it where there is none.
pub(super) fn hash_key(db: &Connection, fresh: &[u8; HASH_KEY_BYTES]) -> rusqlite::Result<HashKey> {
    db.execute(
        "INSERT INTO risk_key (id, key) VALUES (1, ?1) ON CONFLICT DO NOTHING",
        [fresh],
    )?;
    db.query_row("SELECT key FROM risk_key WHERE id = 1", [], |row| {
        row.get(0)
    })
    .map(HashKey)
}
