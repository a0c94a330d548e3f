//! What a remembered device shows at its next sign-in: an id and a secret, of which the store has
//! the SHA-256.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::encoding::sha256;
use vestibule_store::mfa::DeviceKey;

/// So that secret scanners and people know one when they see it.
const PREFIX: &str = "vdt_";
const SECRET_BYTES: usize = 32;

/// In the clear: it exists only while a request is answered.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceToken {
    id: Uuid,
    secret: [u8; SECRET_BYTES],
}

impl DeviceToken {
    pub fn new(id: Uuid, secret: [u8; SECRET_BYTES]) -> Self {
        Self { id, secret }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let id = URL_SAFE_NO_PAD.decode(id).ok()?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        Some(Self {
            id: Uuid::from_slice(&id).ok()?,
            secret: secret.try_into().ok()?,
        })
    }

    /// The token as the caller gets it.
    pub fn expose(&self) -> String {
        let [id, secret] = [self.id.as_bytes().as_slice(), self.secret.as_slice()]
            .map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        format!("{PREFIX}{id}.{secret}")
    }

    pub fn key(&self) -> DeviceKey {
        DeviceKey {
            id: self.id,
            digest: sha256(&self.secret),
        }
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceToken({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back_and_nothing_else_does() {
        let token = DeviceToken::new(Uuid::from_u128(7), [9; 32]);
        let text = token.expose();
        assert_eq!(DeviceToken::parse(&text), Some(token));
        let cut = &text[..text.len() - 1];
        for bad in ["", "vdt_", "vdt_.", cut, &text[4..], &text.replace('.', "")] {
            assert_eq!(DeviceToken::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = DeviceToken::new(Uuid::from_u128(7), [9; 32]);
        let shown = format!("{token:?}");
        assert!(
            !shown.contains("CQkJ") && !shown.contains("9, 9"),
            "{shown}"
        );
    }
}
