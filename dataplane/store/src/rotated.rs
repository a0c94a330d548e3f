//! Rotated refresh tokens as a session's row holds them.

use super::{ROTATED_MAX, Rotated};

const DIGEST_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
const ROTATED_BYTES: usize = DIGEST_BYTES + SALT_BYTES + 8;

/// The newest [`ROTATED_MAX`].
pub(super) fn encode(rotated: &[Rotated]) -> Vec<u8> {
    let newest = &rotated[rotated.len().saturating_sub(ROTATED_MAX)..];
    let mut bytes = Vec::with_capacity(newest.len() * ROTATED_BYTES);
    for Rotated { digest, salt, at } in newest {
        bytes.extend_from_slice(digest);
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(&at.to_be_bytes());
    }
    bytes
}

/// `None` when these are not bytes that this program wrote.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Rotated>> {
    let (records, rest) = bytes.as_chunks::<ROTATED_BYTES>();
    if !rest.is_empty() || records.len() > ROTATED_MAX {
        return None;
    }
    records
        .iter()
        .map(|record| {
            let (digest, rest) = record.split_first_chunk::<DIGEST_BYTES>()?;
            let (salt, at) = rest.split_first_chunk::<SALT_BYTES>()?;
            Some(Rotated {
                digest: *digest,
                salt: *salt,
                at: i64::from_be_bytes(at.try_into().ok()?),
            })
        })
        .collect()
}
