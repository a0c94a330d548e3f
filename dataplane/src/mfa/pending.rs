//! What a challenge waits for once a method was chosen: a code that was sent, or the answer to a
//! ceremony.
//!
//! Of a code only a digest is stored, over the challenge's token as well, which is not stored: a
//! reader of the database cannot try the million codes that there are.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use vestibule_crds::signin_policy::MfaMethod;

use crate::flows::challenge::ChallengeToken;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    method: MfaMethod,
    expires_at: i64,
    /// A digest of the code, or the state of the ceremony: base64.
    secret: String,
}

impl Pending {
    pub(super) fn code(
        method: MfaMethod,
        token: &ChallengeToken,
        code: &str,
        expires_at: i64,
    ) -> Self {
        Self {
            method,
            expires_at,
            secret: STANDARD_NO_PAD.encode(token.bind(code)),
        }
    }

    pub(super) fn ceremony(state: &[u8], expires_at: i64) -> Self {
        Self {
            method: MfaMethod::Webauthn,
            expires_at,
            secret: STANDARD_NO_PAD.encode(state),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// None for content that this program did not write.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether this is the code that was sent.
    pub(super) fn is(
        &self,
        method: MfaMethod,
        token: &ChallengeToken,
        code: &str,
        now: i64,
    ) -> bool {
        let expected = STANDARD_NO_PAD.encode(token.bind(code));
        self.method == method
            && now < self.expires_at
            && verify_slices_are_equal(expected.as_bytes(), self.secret.as_bytes()).is_ok()
    }

    /// Of the ceremony.
    pub(super) fn state(&self, now: i64) -> Option<Vec<u8>> {
        let good = self.method == MfaMethod::Webauthn && now < self.expires_at;
        let state = STANDARD_NO_PAD.decode(&self.secret).ok()?;
        good.then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_900_000_000;

    #[test]
    fn a_code_is_good_for_its_challenge_and_method_and_in_time() {
        let [one, other] = [[1; 32], [2; 32]].map(ChallengeToken::new);
        let sent = Pending::code(MfaMethod::EmailOtp, &one, "012345", NOW + 60);
        let sent = Pending::decode(&sent.encode()).expect("it reads back");
        assert!(sent.is(MfaMethod::EmailOtp, &one, "012345", NOW + 59));
        assert!(!sent.is(MfaMethod::EmailOtp, &one, "012345", NOW + 60));
        assert!(!sent.is(MfaMethod::SmsOtp, &one, "012345", NOW));
        assert!(!sent.is(MfaMethod::EmailOtp, &other, "012345", NOW));
        for wrong in ["", "12345", "012346", "0123456"] {
            assert!(!sent.is(MfaMethod::EmailOtp, &one, wrong, NOW), "{wrong}");
        }
        assert_eq!(sent.state(NOW), None);
    }

    #[test]
    fn a_ceremony_is_no_code() {
        let token = ChallengeToken::new([1; 32]);
        let begun = Pending::ceremony(b"state", NOW + 60);
        assert_eq!(begun.state(NOW).as_deref(), Some(&b"state"[..]));
        assert_eq!(begun.state(NOW + 60), None);
        assert!(!begun.is(MfaMethod::Webauthn, &token, "state", NOW));
    }
}
