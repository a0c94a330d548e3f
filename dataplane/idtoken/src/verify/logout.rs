//! Verifies logout tokens, with which a provider says that a user signed out (OpenID Connect
//! Back-Channel Logout 1.0, section 2.6).
//!
//! The checks of an ID token that a logout token shares are the same entries; the others
//! distinguish the two.

use serde_json::Value;

use super::{
    ALGORITHM, AUDIENCE, Check, EXPIRY, Facts, ISSUED_AT, ISSUER, NOT_BEFORE, list, shown,
};
use crate::refusal::{Reason, Refused};
use crate::token::UnverifiedToken;

/// Only a logout token has this event.
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// The longest `jti` that is accepted.
const ID_CHARS_MAX: usize = 255;

/// What can be known before a key is looked for.
pub fn check_header(facts: &Facts) -> Result<(), Refused> {
    HEADER_CHECKS.iter().try_for_each(|check| check.run(facts))
}

/// What is believed only under a valid signature.
pub fn check_claims(facts: &Facts) -> Result<(), Refused> {
    CLAIM_CHECKS.iter().try_for_each(|check| check.run(facts))
}

const HEADER_CHECKS: &[Check] = &[ISSUER, ALGORITHM, TYPE];
const CLAIM_CHECKS: &[Check] = &[
    AUDIENCE,
    AUDIENCES,
    EXPIRY,
    NOT_BEFORE,
    ISSUED_AT,
    WHAT,
    NO_NONCE,
    SUBJECT_OR_SESSION,
    ID,
];

const TYPE: Check = Check {
    name: "type",
    source: "OpenID Connect Back-Channel Logout 1.0, 2.4",
    verify: |facts| {
        is_logout_token_type(facts.token)
            .then_some(())
            .ok_or(Reason::TypeNotAllowed)
    },
    expected: |_| "a logout token: typ logout+jwt, absent or JWT".to_owned(),
    found: |facts| shown(facts.token.jws.header.typ.as_deref().unwrap_or("absent")),
};

/// No claim says who of several is meant.
const AUDIENCES: Check = Check {
    name: "all audiences",
    source: "OpenID Connect Core 3.1.3.7, 3",
    verify: |facts| {
        let mut audiences = facts.token.audiences.iter();
        audiences
            .all(|audience| facts.provider.audiences.contains(audience))
            .then_some(())
            .ok_or(Reason::AudienceMismatch)
    },
    expected: |facts| list(facts.provider.audiences.iter().map(String::as_str)),
    found: |facts| list(facts.token.audiences.iter().map(String::as_str)),
};

const WHAT: Check = Check {
    name: "event",
    source: "OpenID Connect Back-Channel Logout 1.0, 2.6, 6",
    verify: |facts| {
        let events = facts.token.claims.get("events");
        let event = events.and_then(|events| events.get(EVENT));
        event
            .is_some_and(Value::is_object)
            .then_some(())
            .ok_or(Reason::TypeNotAllowed)
    },
    expected: |_| format!("the event {EVENT}"),
    found: |_| "none, or no object".to_owned(),
};

const NO_NONCE: Check = Check {
    name: "no nonce",
    source: "OpenID Connect Back-Channel Logout 1.0, 2.6, 7",
    verify: |facts| match facts.token.claims.get("nonce") {
        None => Ok(()),
        Some(_) => Err(Reason::NonceMismatch),
    },
    expected: |_| "no nonce, so that no ID token passes".to_owned(),
    found: |_| "a nonce".to_owned(),
};

const SUBJECT_OR_SESSION: Check = Check {
    name: "subject or session",
    source: "OpenID Connect Back-Channel Logout 1.0, 2.6, 5",
    verify: |facts| {
        let sid = facts.token.claims.get("sid");
        let named = match sid {
            None => !facts.token.subject.is_empty(),
            Some(sid) => sid.as_str().is_some_and(|sid| !sid.is_empty()),
        };
        named.then_some(()).ok_or(Reason::Malformed)
    },
    expected: |_| "sub, sid or both, each a text".to_owned(),
    found: |_| "neither, or another type".to_owned(),
};

const ID: Check = Check {
    name: "token id",
    source: "OpenID Connect Back-Channel Logout 1.0, 2.4",
    verify: |facts| {
        let id = facts.token.text("jti");
        id.is_some_and(|id| !id.is_empty() && id.chars().count() <= ID_CHARS_MAX)
            .then_some(())
            .ok_or(Reason::Malformed)
    },
    expected: |_| format!("jti of 1 to {ID_CHARS_MAX} characters"),
    found: |_| "none, or a longer one".to_owned(),
};

/// Keycloak says it in a claim, too.
fn is_logout_token_type(token: &UnverifiedToken) -> bool {
    let header = token.jws.header.has_type_among(&["jwt", "logout+jwt"]);
    let claim = match token.claims.get("typ") {
        None => true,
        Some(typ) => matches!(typ.as_str(), Some("Logout" | "JWT" | "logout+jwt")),
    };
    header && claim && token.claims.get("token_use").is_none()
}
