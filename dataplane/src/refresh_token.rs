//! Refresh tokens: opaque, single-use, and with a successor that only their holder can compute.
//!
//! A token is a family id and a secret. The store has the SHA-256 of the whole, never the token.
//! Rotating derives the successor from the token's secret and a stored random salt: when an answer
//! is lost, the same old token leads to the same successor again, so a session has one current
//! token at any time and a second use never forks it.
//!
//! The session's id is derived from the family id, which stands in no access token: who knows a
//! `sid` can neither refresh nor make the service believe that a token was reused.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::{Builder, Uuid};

use crate::encoding::sha256;
use vestibule_store::{ROTATED_MAX, Rotated, Session};

/// So that secret scanners and people know one when they see it.
const PREFIX: &str = "vrt_";
const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// A refresh token in the clear: it exists only while a request is answered.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; FAMILY_BYTES + SECRET_BYTES]);

/// What a presented token means for its session.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented {
    /// It is the session's current token.
    Current,
    /// It was rotated a moment ago: the current token that it leads to.
    Superseded(RefreshToken),
    /// It was rotated longer ago, or never was this session's: another party may hold a copy.
    Reused,
    /// It was rotated a moment ago, and comes from another network or another kind of program than
    /// what rotated it.
    Elsewhere,
}

/// Who shows a refresh token: the client's network and what kind of program it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder([u8; 32]);

impl Holder {
    pub fn of(network: &str, agent: &str) -> Self {
        // Neither holds a character 0, so that no two pairs are one text.
        Self(sha256(format!("{network}\0{agent}").as_bytes()))
    }
}

impl RefreshToken {
    /// The first token of a session. `random` must be fresh; the family begins with the time, so
    /// that sessions are stored in order.
    pub fn first(now: i64, random: [u8; FAMILY_BYTES + SECRET_BYTES]) -> Self {
        let mut bytes = random;
        let milliseconds = u64::try_from(now).unwrap_or(0).saturating_mul(1000);
        bytes[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
        Self(bytes)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX)?;
        if encoded.len() != (FAMILY_BYTES + SECRET_BYTES) / 3 * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The token as the caller gets it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    pub fn session(&self) -> Uuid {
        let family = &self.0[..FAMILY_BYTES];
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(family)[..16]);
        id[..6].copy_from_slice(&family[..6]);
        // RFC 9562, section 5.8: a custom layout.
        Builder::from_custom_bytes(id).into_uuid()
    }

    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// The token that takes this one's place when this holder rotates it. Another holder derives
    /// another one, so that nothing need be stored to tell them apart.
    pub fn successor(&self, salt: &[u8; 16], holder: &Holder) -> Self {
        self.derived(salt, Some(holder))
    }

    /// `holder`: none for what versions rotated that knew of no holders.
    fn derived(&self, salt: &[u8; 16], holder: Option<&Holder>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0[FAMILY_BYTES..]);
        let mut context = hmac::Context::with_key(&key);
        context.update(b"vestibule refresh token");
        context.update(salt);
        if let Some(holder) = holder {
            context.update(&holder.0);
        }
        let mut bytes = self.0;
        bytes[FAMILY_BYTES..].copy_from_slice(context.sign().as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken([redacted])")
    }
}

/// Pure: what `token` is to `session` at `now`, when `holder` shows it.
pub fn judge(
    token: &RefreshToken,
    session: &Session,
    holder: &Holder,
    grace_seconds: i64,
    now: i64,
) -> Presented {
    let mut token = token.clone();
    let mut rotated = session.rotated.as_slice();
    // Each step goes forward in the list, so this ends.
    loop {
        if token.digest() == session.refresh_digest {
            return if rotated.len() == session.rotated.len() {
                Presented::Current
            } else {
                Presented::Superseded(token)
            };
        }
        let Some(index) = rotated
            .iter()
            .position(|past| past.digest == token.digest())
        else {
            return Presented::Reused;
        };
        let past = &rotated[index];
        if now - past.at > grace_seconds {
            return Presented::Reused;
        }
        rotated = &rotated[index + 1..];
        let next = rotated
            .first()
            .map_or(session.refresh_digest, |next| next.digest);
        let salt = &past.salt;
        let candidates = [token.derived(salt, Some(holder)), token.derived(salt, None)];
        let Some(successor) = candidates.into_iter().find(|token| token.digest() == next) else {
            return Presented::Elsewhere;
        };
        token = successor;
    }
}

/// Whether the session knows `token`, as its current one or as one that was rotated a moment ago.
pub fn is_current(token: &RefreshToken, session: &Session, grace_seconds: i64, now: i64) -> bool {
    let digest = token.digest();
    let mut rotated = session.rotated.iter();
    digest == session.refresh_digest
        || rotated.any(|past| past.digest == digest && now - past.at <= grace_seconds)
}

/// The history after one more rotation: only what is still inside the grace, newest last.
pub fn remember(session: &Session, salt: [u8; 16], grace_seconds: i64, now: i64) -> Vec<Rotated> {
    let mut rotated: Vec<Rotated> = session
        .rotated
        .iter()
        .filter(|past| now - past.at <= grace_seconds)
        .cloned()
        .collect();
    if rotated.len() >= ROTATED_MAX {
        rotated.drain(..=rotated.len() - ROTATED_MAX);
    }
    rotated.push(Rotated {
        digest: session.refresh_digest,
        salt,
        at: now,
    });
    rotated
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: i64 = 10;

    fn session_of(token: &RefreshToken) -> Session {
        Session {
            id: token.session(),
            policy: "auth/default".to_owned(),
            provider: "auth/corp".to_owned(),
            created_at: 1000,
            refresh_digest: token.digest(),
            refresh_expires_at: 10_000,
            ends_at: 10_000,
            ended_at: None,
            rotated: Vec::new(),
            carried: String::new(),
            last_used_at: None,
            device: None,
            network: None,
            origin: Default::default(),
        }
    }

    fn here() -> Holder {
        Holder::of("192.0.2.0/24", "Firefox, Linux")
    }

    fn rotate(session: &mut Session, token: &RefreshToken, salt: u8, now: i64) -> RefreshToken {
        let salt = [salt; 16];
        session.rotated = remember(session, salt, GRACE, now);
        let next = token.successor(&salt, &here());
        session.refresh_digest = next.digest();
        next
    }

    #[test]
    fn the_text_form_reads_back_and_nothing_else_does() {
        let token = RefreshToken::first(1000, [7; 48]);
        let text = token.expose();
        assert_eq!(RefreshToken::parse(&text), Some(token));
        let cut = &text[..text.len() - 1];
        for bad in ["", "vrt_", cut, &text[4..], &format!("{text}A"), "vrt_!"] {
            assert_eq!(RefreshToken::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_session_id_is_one_for_the_family_and_does_not_reveal_it() {
        let token = RefreshToken::first(1000, [7; 48]);
        let next = token.successor(&[1; 16], &here());
        assert_ne!(token, next);
        assert_eq!(token.session(), next.session());
        assert_ne!(token.session().as_bytes()[6..], token.0[6..16]);
    }

    #[test]
    fn sessions_are_ordered_by_time() {
        let early = RefreshToken::first(1000, [255; 48]).session();
        let late = RefreshToken::first(1001, [0; 48]).session();
        assert!(early < late);
    }

    #[test]
    fn a_rotated_token_leads_to_the_live_one_inside_the_grace_only() {
        let first = RefreshToken::first(1000, [7; 48]);
        let mut session = session_of(&first);
        assert_eq!(
            judge(&first, &session, &here(), GRACE, 1000),
            Presented::Current
        );
        let second = rotate(&mut session, &first, 1, 1000);
        assert_eq!(
            judge(&second, &session, &here(), GRACE, 1000),
            Presented::Current
        );
        let superseded = Presented::Superseded(second.clone());
        assert_eq!(judge(&first, &session, &here(), GRACE, 1010), superseded);
        assert_eq!(
            judge(&first, &session, &here(), GRACE, 1011),
            Presented::Reused
        );
    }

    #[test]
    fn a_chain_of_rotations_inside_the_grace_leads_to_its_end() {
        let first = RefreshToken::first(1000, [7; 48]);
        let mut session = session_of(&first);
        let second = rotate(&mut session, &first, 1, 1000);
        let third = rotate(&mut session, &second, 2, 1004);
        assert_eq!(
            judge(&first, &session, &here(), GRACE, 1008),
            Presented::Superseded(third.clone())
        );
        assert_eq!(
            judge(&first, &session, &here(), GRACE, 1012),
            Presented::Reused
        );
        assert_eq!(
            judge(&second, &session, &here(), GRACE, 1012),
            Presented::Superseded(third)
        );
    }

    #[test]
    fn a_token_of_the_family_that_was_never_issued_counts_as_reuse() {
        let first = RefreshToken::first(1000, [7; 48]);
        let session = session_of(&first);
        let forged = first.successor(&[9; 16], &here());
        assert_eq!(
            judge(&forged, &session, &here(), GRACE, 1000),
            Presented::Reused
        );
    }

    #[test]
    fn a_thief_inside_the_grace_gets_no_successor() {
        let first = RefreshToken::first(1000, [7; 48]);
        let mut session = session_of(&first);
        let second = rotate(&mut session, &first, 1, 1000);
        let third = rotate(&mut session, &second, 2, 1001);
        for elsewhere in [
            Holder::of("198.51.100.0/24", "Firefox, Linux"),
            Holder::of("192.0.2.0/24", "curl"),
        ] {
            for token in [&first, &second] {
                let judged = judge(token, &session, &elsewhere, GRACE, 1002);
                assert_eq!(judged, Presented::Elsewhere);
            }
            // The holder of the current token rotates it, wherever that is.
            let judged = judge(&third, &session, &elsewhere, GRACE, 1002);
            assert_eq!(judged, Presented::Current);
        }
        let judged = judge(&first, &session, &here(), GRACE, 1002);
        assert_eq!(judged, Presented::Superseded(third));
    }

    #[test]
    fn what_a_version_without_holders_rotated_is_found_inside_the_grace() {
        let first = RefreshToken::first(1000, [7; 48]);
        let mut session = session_of(&first);
        session.rotated = remember(&session, [1; 16], GRACE, 1000);
        let second = first.derived(&[1; 16], None);
        session.refresh_digest = second.digest();
        let judged = judge(&first, &session, &here(), GRACE, 1001);
        assert_eq!(judged, Presented::Superseded(second));
    }

    #[test]
    fn the_history_is_bounded() {
        let mut token = RefreshToken::first(1000, [7; 48]);
        let mut session = session_of(&token);
        for round in 0..100 {
            token = rotate(&mut session, &token, round, 1000);
            assert!(session.rotated.len() <= ROTATED_MAX);
        }
        assert_eq!(
            judge(&token, &session, &here(), GRACE, 1000),
            Presented::Current
        );
    }
}
