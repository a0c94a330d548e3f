//! Keys that the secrets of second factors are sealed with (AES-256-GCM). The first of a policy
//! seals, all of them open, so that a key is rotated by putting another before it.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, general_purpose};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::{KEY_BYTES, Secret};

const ID_BYTES: usize = 8;

/// Base64 in either alphabet, padded or not: tools that make keys differ.
const LENIENT: GeneralPurposeConfig =
    general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
const EITHER_ALPHABET: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&alphabet::STANDARD, LENIENT),
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT),
];

/// A key and what it is called in what it has sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionKey {
    /// 16 hexadecimal digits, of a digest of the key.
    pub id: String,
    /// 32 bytes in base64.
    pub key: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionKeyError {
    #[error(
        "it is not a key of 32 bytes, raw or in base64 or hexadecimal: make one with `openssl rand -base64 32`"
    )]
    NotAKey,
    #[error("the key could not be made")]
    Generation,
}

impl EncryptionKey {
    /// 32 bytes as they are, or in base64 or hexadecimal with perhaps an end of line.
    pub fn parse(text: &Secret) -> Result<Self, EncryptionKeyError> {
        let text = text.expose();
        let bytes = match text.len() {
            KEY_BYTES => Some(Zeroizing::new(text.as_bytes().to_vec())),
            _ => from_hexadecimal(text.trim()).or_else(|| from_base64(text.trim())),
        };
        let bytes = bytes.filter(|bytes| bytes.len() == KEY_BYTES);
        Ok(Self::of(&bytes.ok_or(EncryptionKeyError::NotAKey)?))
    }

    /// A new key.
    pub fn generate() -> Result<Self, EncryptionKeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *bytes).map_err(|_| EncryptionKeyError::Generation)?;
        Ok(Self::of(&*bytes))
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        let bytes = from_base64(self.key.expose())?;
        Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
    }

    fn of(bytes: &[u8]) -> Self {
        // Of more than the key, so that it is no digest which anything else has a use for.
        let mut labelled = Zeroizing::new(b"vestibule encryption key id".to_vec());
        labelled.extend_from_slice(bytes);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &labelled);
        let id = digest.as_ref()[..ID_BYTES].iter();
        Self {
            id: id.map(|byte| format!("{byte:02x}")).collect(),
            key: Secret::new(STANDARD.encode(bytes)),
        }
    }
}

fn from_hexadecimal(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let digits = Zeroizing::new(digits?);
    let pairs = digits.chunks_exact(2);
    (digits.len() == 2 * KEY_BYTES)
        .then(|| Zeroizing::new(pairs.map(|pair| pair[0] << 4 | pair[1]).collect()))
}

fn from_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = EITHER_ALPHABET
        .iter()
        .filter_map(|engine| engine.decode(text).ok());
    decoded.next().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> String {
        "0123456789abcdef0123456789ABCDE\u{7f}".to_owned()
    }

    fn parse(text: &str) -> Result<EncryptionKey, EncryptionKeyError> {
        EncryptionKey::parse(&Secret::new(text))
    }

    #[test]
    fn a_key_is_the_same_in_each_form_that_it_is_written_in() {
        let raw = parse(&key()).expect("32 bytes");
        let base64 = STANDARD.encode(key());
        let unpadded = base64.trim_end_matches('=');
        let hexadecimal: String = key().bytes().map(|byte| format!("{byte:02X}")).collect();
        for text in [&base64, unpadded, &hexadecimal, &format!("{base64}\n")] {
            assert_eq!(parse(text), Ok(raw.clone()), "{text}");
        }
        assert_eq!(raw.bytes().expect("32 bytes").as_slice(), key().as_bytes());
    }

    #[test]
    fn what_has_not_32_bytes_is_no_key() {
        let short = STANDARD.encode([7; 31]);
        let long = STANDARD.encode([7; 33]);
        for text in [
            "",
            "hunter2",
            &short,
            &long,
            &"f".repeat(63),
            &"g".repeat(64),
        ] {
            assert_eq!(parse(text), Err(EncryptionKeyError::NotAKey), "{text}");
        }
    }

    #[test]
    fn a_new_key_differs_from_the_last_and_its_id_tells_it_apart() {
        let [one, other] = [(); 2].map(|()| EncryptionKey::generate().expect("a key"));
        assert_ne!((&one.id, &one.key), (&other.id, &other.key));
        assert_eq!(one.id.len(), 16);
        assert_eq!(EncryptionKey::parse(&one.key), Ok(one));
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        let key = EncryptionKey::generate().expect("a key");
        assert!(!format!("{key:?}").contains(key.key.expose()));
    }
}
