//! Text that must never reach a log, an error or a terminal.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What an entry without text is: a key of AES-256.
pub(crate) const KEY_BYTES: usize = 32;

/// Secret text: wiped when dropped, and its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// An entry of a Kubernetes Secret. Text stays as it is; what is none can only be a key of 32
    /// bytes here, and becomes base64.
    pub fn of_entry(bytes: Vec<u8>) -> Option<Self> {
        match String::from_utf8(bytes) {
            Ok(text) => Some(Self::new(text)),
            Err(error) => {
                let bytes = Zeroizing::new(error.into_bytes());
                (bytes.len() == KEY_BYTES).then(|| Self::new(STANDARD.encode(&*bytes)))
            }
        }
    }

    /// The text itself. Every call is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_text_or_a_key_and_nothing_else() {
        let of = |bytes: &[u8]| Secret::of_entry(bytes.to_vec());
        assert_eq!(of(b"hunter2\n"), Some(Secret::new("hunter2\n")));
        assert_eq!(
            of(&[0xFF; 32]),
            Some(Secret::new(STANDARD.encode([0xFF; 32])))
        );
        assert_eq!(of(&[0xFF; 31]), None);
    }
}
