//! The key that what is remembered of sign-ins is hashed with.

use super::connect::Connection;
use super::fault::Fault;
use crate::{HASH_KEY_BYTES, HashKey};

/// The key of this database, the same for every replica; `fresh` becomes it where there is none.
pub(super) async fn hash_key(
    db: &Connection,
    fresh: &[u8; HASH_KEY_BYTES],
) -> Result<HashKey, Fault> {
    db.client
        .execute(
            "INSERT INTO risk_key (id, key) VALUES (1, $1) ON CONFLICT DO NOTHING",
            &[&fresh.as_slice()],
        )
        .await?;
    let row = db
        .client
        .query_one("SELECT key FROM risk_key WHERE id = 1", &[])
        .await?;
    let key: Vec<u8> = row.try_get(0)?;
    key.try_into()
        .map(HashKey)
        .map_err(|_| Fault::Unreadable("risk_key"))
}
