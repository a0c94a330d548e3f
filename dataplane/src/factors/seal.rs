//! Secrets of second factors at rest: AES-256-GCM with a policy's encryption keys, the first of
//! which seals and all of which open.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this layout |
//! | 8 | id of the key |
//! | 12 | nonce |
//! | the rest | ciphertext and tag; the first two and what the caller says it belongs to are authenticated with it |

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use vestibule_crds::encryption_key::EncryptionKey;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES;
/// Longest sealed secret that is opened: a credential of a security key fits many times.
pub const SEALED_BYTES_MAX: usize = 64 * 1024;

/// The keys of one policy, ready to use.
pub struct SealingKeys {
    current: SealingKey,
    previous: Vec<SealingKey>,
}

struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    key: LessSafeKey,
}

/// Why a secret is not opened. None of it is for a caller's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it is nothing that was sealed here")]
    Malformed,
    #[error("the key that sealed it is none of the policy's encryption keys")]
    UnknownKey,
    #[error("it was altered, or belongs to something else")]
    NotAuthentic,
}

impl SealingKeys {
    /// None while the policy has no key yet.
    pub fn new(keys: &[EncryptionKey]) -> Option<Self> {
        let mut keys = keys.iter().map(SealingKey::new);
        let current = keys.next()??;
        Some(Self {
            current,
            previous: keys.flatten().collect(),
        })
    }

    /// `associated` says whose secret it is and what for; it is opened with the same alone. A nonce
    /// is used once.
    pub fn seal(&self, associated: &[u8], plain: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let head = self.current.head();
        let mut sealed = Zeroizing::new(plain.to_vec());
        self.current
            .key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                authenticated(&head, associated),
                &mut *sealed,
            )
            .expect("a secret is shorter than the 64 GiB that AES-GCM seals");
        [head.as_slice(), &nonce, &sealed].concat()
    }

    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if sealed.len() > SEALED_BYTES_MAX {
            return Err(SealError::Malformed);
        }
        let (head, rest) = sealed
            .split_at_checked(HEAD_BYTES)
            .ok_or(SealError::Malformed)?;
        let (nonce, ciphertext) = rest
            .split_at_checked(NONCE_LEN)
            .ok_or(SealError::Malformed)?;
        if head[0] != VERSION {
            return Err(SealError::Malformed);
        }
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        let key = keys
            .find(|key| key.id == head[1..])
            .ok_or(SealError::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        let bytes = key
            .key
            .open_in_place(nonce, authenticated(head, associated), &mut plain)
            .map_err(|_| SealError::NotAuthentic)?
            .len();
        plain.truncate(bytes);
        Ok(plain)
    }

    /// Whether the key that seals now has sealed it; what an older one has sealed is sealed again
    /// when it is used.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.starts_with(&self.current.head())
    }
}

impl SealingKey {
    fn new(key: &EncryptionKey) -> Option<Self> {
        let mut id = [0; KEY_ID_BYTES];
        for (byte, place) in id.iter_mut().zip(0..) {
            *byte = u8::from_str_radix(key.id.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        let bytes = key.bytes()?;
        let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).ok()?;
        Some(Self {
            id,
            key: LessSafeKey::new(key),
        })
    }

    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [VERSION; HEAD_BYTES];
        head[1..].copy_from_slice(&self.id);
        head
    }
}

/// The head has a fixed length, so nothing of it can be taken for the rest.
fn authenticated(head: &[u8], associated: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([head, associated].concat())
}

impl std::fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKeys")
            .field("keys", &(1 + self.previous.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &[u8] = b"totp 01a2 alice";

    fn key() -> EncryptionKey {
        EncryptionKey::generate().expect("a key")
    }

    fn sealing(keys: &[EncryptionKey]) -> SealingKeys {
        SealingKeys::new(keys).expect("there is a key")
    }

    fn text(opened: Result<Zeroizing<Vec<u8>>, SealError>) -> Result<Vec<u8>, SealError> {
        opened.map(|plain| plain.to_vec())
    }

    #[test]
    fn what_was_sealed_is_opened_and_looks_like_nothing() {
        let keys = sealing(&[key()]);
        let sealed = keys.seal(ALICE, b"hunter2 hunter2", [7; 12]);
        assert_eq!(
            text(keys.open(ALICE, &sealed)),
            Ok(b"hunter2 hunter2".to_vec())
        );
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(
            text(keys.open(ALICE, &keys.seal(ALICE, b"", [8; 12]))),
            Ok(vec![])
        );
    }

    #[test]
    fn a_key_that_seals_no_more_still_opens() {
        let (old, new) = (key(), key());
        let sealed = sealing(std::slice::from_ref(&old)).seal(ALICE, b"secret", [7; 12]);
        let both = sealing(&[new.clone(), old]);
        assert_eq!(text(both.open(ALICE, &sealed)), Ok(b"secret".to_vec()));
        assert!(!both.is_current(&sealed));
        let again = both.seal(ALICE, b"secret", [8; 12]);
        assert!(both.is_current(&again));
        assert_eq!(
            text(sealing(&[new]).open(ALICE, &again)),
            Ok(b"secret".to_vec())
        );
    }

    #[test]
    fn a_secret_sealed_with_another_key_is_refused() {
        let sealed = sealing(&[key()]).seal(ALICE, b"secret", [7; 12]);
        assert_eq!(
            text(sealing(&[key()]).open(ALICE, &sealed)),
            Err(SealError::UnknownKey)
        );
    }

    #[test]
    fn a_secret_of_somebody_else_is_refused() {
        let keys = sealing(&[key()]);
        let sealed = keys.seal(ALICE, b"secret", [7; 12]);
        for other in [&b"totp 01a2 bob"[..], b"webauthn 01a2 alice", b""] {
            assert_eq!(
                text(keys.open(other, &sealed)),
                Err(SealError::NotAuthentic)
            );
        }
    }

    #[test]
    fn a_secret_with_any_bit_altered_is_refused() {
        let keys = sealing(&[key(), key()]);
        let sealed = keys.seal(ALICE, b"secret", [7; 12]);
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(ALICE, &altered).is_err(), "bit {bit}");
        }
        for end in 0..sealed.len() {
            assert!(
                keys.open(ALICE, &sealed[..end]).is_err(),
                "cut off at {end}"
            );
        }
    }

    #[test]
    fn what_is_too_long_is_not_opened() {
        let keys = sealing(&[key()]);
        let sealed = keys.seal(ALICE, &vec![0; SEALED_BYTES_MAX], [7; 12]);
        assert_eq!(text(keys.open(ALICE, &sealed)), Err(SealError::Malformed));
    }

    #[test]
    fn without_a_key_nothing_is_sealed() {
        assert!(SealingKeys::new(&[]).is_none());
    }

    #[test]
    fn debug_shows_no_key() {
        let key = key();
        let shown = format!("{:?}", sealing(std::slice::from_ref(&key)));
        assert!(
            !shown.contains(key.key.expose()) && shown.len() < 60,
            "{shown}"
        );
    }
}
