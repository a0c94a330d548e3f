//! Is this token what the provider's configuration asks for? (OpenID Connect Core 1.0, section
//! 3.1.3.7; RFC 8725)
//!
//! Two tables of checks with the signature between them. A sign-in stops at the first that fails;
//! `vestibule explain` shows them all. Both run the same entries.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::Value;
use vestibule_crds::oidc_provider::AcceptedClaim;
use vestibule_crds::snapshot::{Nonce, NonceForm, Provider};

use crate::refusal::{Reason, Refused};
use crate::token::UnverifiedToken;

pub mod logout;

/// Everything that a check may read.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub token: &'a UnverifiedToken<'a>,
    pub provider: &'a Provider,
    /// The nonce of the request.
    pub nonce: Option<&'a str>,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

/// One rule, with words for people.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    pub verify: fn(&Facts) -> Result<(), Reason>,
    pub expected: fn(&Facts) -> String,
    pub found: fn(&Facts) -> String,
}

impl Check {
    fn run(&self, facts: &Facts) -> Result<(), Refused> {
        (self.verify)(facts).map_err(|reason| {
            let (expected, found) = ((self.expected)(facts), (self.found)(facts));
            reason.because(format!("{}: expected {expected}; found {found}", self.name))
        })
    }
}

/// What can be known before a key is looked for: a token of another issuer causes no fetch.
pub fn check_header(facts: &Facts) -> Result<(), Refused> {
    HEADER_CHECKS.iter().try_for_each(|check| check.run(facts))
}

/// What is believed only under a valid signature.
pub fn check_claims(facts: &Facts) -> Result<(), Refused> {
    CLAIM_CHECKS.iter().try_for_each(|check| check.run(facts))
}

pub const HEADER_CHECKS: &[Check] = &[ISSUER, ALGORITHM, TYPE];

pub const CLAIM_CHECKS: &[Check] = &[
    AUDIENCE,
    AUTHORIZED_PARTY,
    EXPIRY,
    NOT_BEFORE,
    ISSUED_AT,
    NONCE,
];

const ISSUER: Check = Check {
    name: "issuer",
    source: "OpenID Connect Core 3.1.3.7, 2",
    verify: |facts| {
        let provider = facts.provider;
        let named = provider.issuer.as_str() == facts.token.issuer
            || provider.issuer_aliases.contains(&facts.token.issuer);
        named.then_some(()).ok_or(Reason::IssuerMismatch)
    },
    expected: |facts| {
        let provider = facts.provider;
        let aliases = provider.issuer_aliases.iter().map(String::as_str);
        list(std::iter::once(provider.issuer.as_str()).chain(aliases))
    },
    found: |facts| shown(&facts.token.issuer),
};

const ALGORITHM: Check = Check {
    name: "algorithm",
    source: "RFC 8725, 3.1",
    verify: |facts| match facts.token.jws.header.algorithm {
        Some(algorithm) if facts.provider.algorithms.contains(&algorithm) => Ok(()),
        _ => Err(Reason::AlgorithmNotAllowed),
    },
    expected: |facts| list(facts.provider.algorithms.iter().map(|alg| alg.name())),
    found: |facts| shown(&facts.token.jws.header.algorithm_name),
};

const TYPE: Check = Check {
    name: "type",
    source: "RFC 8725, 3.11; RFC 9068, 4",
    verify: |facts| match other_kind(facts.token, &facts.provider.token.accept) {
        None => Ok(()),
        Some(_) => Err(Reason::TypeNotAllowed),
    },
    expected: |facts| {
        let accepted = facts.provider.token.accept.iter().map(|claim| claim.name());
        let expected = "an ID token: typ absent or JWT, and no claim of an access or logout token";
        match list(accepted).as_str() {
            "none" => expected.to_owned(),
            accepted => format!("{expected} but {accepted}, by spec.token.accept"),
        }
    },
    found: |facts| match other_kind(facts.token, &facts.provider.token.accept) {
        None => "an ID token".to_owned(),
        Some(sign) => sign,
    },
};

const AUDIENCE: Check = Check {
    name: "audience",
    source: "OpenID Connect Core 3.1.3.7, 3",
    verify: |facts| {
        facts
            .token
            .audiences
            .iter()
            .any(|audience| facts.provider.audiences.contains(audience))
            .then_some(())
            .ok_or(Reason::AudienceMismatch)
    },
    expected: |facts| {
        let audiences = facts.provider.audiences.iter();
        list(audiences.map(String::as_str))
    },
    found: |facts| list(facts.token.audiences.iter().map(String::as_str)),
};

const AUTHORIZED_PARTY: Check = Check {
    name: "authorized party",
    source: "OpenID Connect Core 3.1.3.7, 4 and 5",
    verify: |facts| {
        authorized_party(facts)
            .then_some(())
            .ok_or(Reason::AudienceMismatch)
    },
    expected: |facts| {
        let provider = facts.provider;
        match facts.token.text("azp") {
            Some(_) => format!(
                "one of {}: name the client that asked for the token in spec.authorizedParties",
                list(authorized_parties(provider))
            ),
            None if facts.token.audiences.len() > 1 => format!(
                "azp, or no audience but {}",
                list(provider.audiences.iter().map(String::as_str))
            ),
            None => "none, or an audience of the provider".to_owned(),
        }
    },
    found: |facts| match facts.token.text("azp") {
        Some(party) => shown(party),
        None => format!(
            "none, with the audiences {}",
            list(facts.token.audiences.iter().map(String::as_str))
        ),
    },
};

const EXPIRY: Check = Check {
    name: "expiry",
    source: "RFC 7519, 4.1.4",
    verify: |facts| {
        let expired = facts.now >= facts.token.expires_at + skew(facts);
        (!expired).then_some(()).ok_or(Reason::Expired)
    },
    expected: |facts| format!("exp after {} less {} s", facts.now, skew(facts)),
    found: |facts| facts.token.expires_at.to_string(),
};

const NOT_BEFORE: Check = Check {
    name: "not before",
    source: "RFC 7519, 4.1.5",
    verify: |facts| match facts.token.not_before {
        Some(from) if from > facts.now + skew(facts) => Err(Reason::NotYetValid),
        _ => Ok(()),
    },
    expected: |facts| {
        format!(
            "nbf absent, or at most {} plus {} s",
            facts.now,
            skew(facts)
        )
    },
    found: |facts| {
        let from = facts.token.not_before;
        from.map_or_else(|| "absent".to_owned(), |from| from.to_string())
    },
};

const ISSUED_AT: Check = Check {
    name: "issued at",
    source: "OpenID Connect Core 3.1.3.7, 10",
    verify: |facts| {
        if facts.token.issued_at > facts.now + skew(facts) {
            return Err(Reason::NotYetValid);
        }
        let Some(max_age) = facts.provider.token.max_age else {
            return Ok(());
        };
        let age = facts.now - facts.token.issued_at;
        (age <= seconds(max_age.as_secs()) + skew(facts))
            .then_some(())
            .ok_or(Reason::TooOld)
    },
    expected: |facts| {
        let age = match facts.provider.token.max_age {
            Some(max_age) => format!(" and at most {} s ago", max_age.as_secs()),
            None => String::new(),
        };
        format!(
            "iat not after {}{age}, with {} s of skew",
            facts.now,
            skew(facts)
        )
    },
    found: |facts| facts.token.issued_at.to_string(),
};

const NONCE: Check = Check {
    name: "nonce",
    source: "OpenID Connect Core 3.1.3.7, 11",
    verify: nonce,
    expected: |facts| match (facts.provider.token.nonce, facts.nonce) {
        (Nonce::Off, _) => "not checked".to_owned(),
        (Nonce::Required, None) => "a nonce in the request".to_owned(),
        (Nonce::IfPresent, None) => "no nonce in the token, as in the request".to_owned(),
        (_, Some(_)) => format!("the request's nonce, {:?}", facts.provider.token.nonce_form),
    },
    found: |facts| match (facts.token.text("nonce"), facts.nonce) {
        (None, _) => "no nonce in the token".to_owned(),
        (Some(_), None) => "a nonce in the token, none in the request".to_owned(),
        (Some(_), Some(_)) => "a nonce in the token and in the request".to_owned(),
    },
};

/// What shows that a token is of another kind than an ID token, in words; none for an ID token.
///
/// `typ` is optional and `JWT` when it is there (RFC 7519, 5.1); a type that ends in `+jwt` names
/// another kind of token. Providers also say it in claims, and some access tokens have the client
/// as their audience: they are known by what only they hold. A claim that is null is absent.
fn other_kind(token: &UnverifiedToken, accepted: &[AcceptedClaim]) -> Option<String> {
    let types = ["jwt", "id+jwt", "id_token+jwt"];
    if !token.jws.header.has_type_among(&types) {
        let typ = token.jws.header.typ.as_deref().unwrap_or_default();
        return Some(format!("the header's typ {}", shown(typ)));
    }
    // Back-Channel Logout 1.0, section 2.4: only a logout token has this event, whatever else is
    // accepted.
    let event = token
        .claims
        .get("events")
        .and_then(|events| events.get(logout::EVENT));
    if event.is_some() {
        return Some("the event of a logout token".to_owned());
    }
    let claim = |name: &str| token.claims.get(name).filter(|value| !value.is_null());
    SIGNS.iter().find_map(|(sign, is_harmless)| {
        if accepted.contains(sign) {
            return None;
        }
        let value = claim(sign.name())?;
        (!is_harmless(value, &token.claims)).then(|| match value.as_str() {
            Some(text) => format!("the claim {} {}", sign.name(), shown(text)),
            None => format!("the claim {}", sign.name()),
        })
    })
}

/// A claim, and when it is in an ID token all the same: by its value and the other claims.
type Sign = (AcceptedClaim, fn(&Value, &Value) -> bool);

/// Claims that distinguish other kinds of tokens from ID tokens.
const SIGNS: &[Sign] = &[
    // Keycloak: `ID`, `Bearer`, `Refresh`, `Logout`, `Offline`.
    (AcceptedClaim::Typ, |value, _| {
        matches!(value.as_str(), Some("ID" | "JWT" | "id_token"))
    }),
    // Cognito: `id`, `access`.
    (AcceptedClaim::TokenUse, |value, _| {
        value.as_str() == Some("id")
    }),
    // RFC 9068, 2.2.3: access tokens of most providers.
    (AcceptedClaim::Scope, |_, _| false),
    // Entra ID, Okta.
    (AcceptedClaim::Scp, |_, _| false),
    // Entra ID, for applications.
    (AcceptedClaim::Idtyp, |_, _| false),
    // RFC 9068, 2.2: along with a scope.
    (AcceptedClaim::ClientId, |_, claims| {
        claims.get("scope").is_none_or(Value::is_null)
    }),
    // RFC 7800: bound to a key that the caller does not show here.
    (AcceptedClaim::Cnf, |_, _| false),
    // RFC 8693, 4.1: another party acts for the subject.
    (AcceptedClaim::Act, |_, _| false),
    // RFC 8417: security events.
    (AcceptedClaim::Events, |_, _| false),
];

/// Clients that may have asked for a token: the audiences, and those that the operator names in
/// addition.
fn authorized_parties(provider: &Provider) -> impl Iterator<Item = &str> {
    let parties = provider
        .audiences
        .iter()
        .chain(&provider.authorized_parties);
    parties.map(String::as_str)
}

/// A party that is named must be ours. Without one, a token for several is ours only if each of
/// them is.
fn authorized_party(facts: &Facts) -> bool {
    match facts.token.text("azp") {
        Some(party) => authorized_parties(facts.provider).any(|allowed| allowed == party),
        None => {
            let audiences = &facts.token.audiences;
            let is_ours = |audience| facts.provider.audiences.contains(audience);
            audiences.len() < 2 || audiences.iter().all(is_ours)
        }
    }
}

fn nonce(facts: &Facts) -> Result<(), Reason> {
    let rule = facts.provider.token.nonce;
    match (rule, facts.nonce, facts.token.text("nonce")) {
        (Nonce::Off, _, _) | (Nonce::IfPresent, None, None) => Ok(()),
        (Nonce::Required | Nonce::IfPresent, None, _) => Err(Reason::NonceRequired),
        (Nonce::Required | Nonce::IfPresent, Some(_), None) => Err(Reason::NonceMismatch),
        (Nonce::Required | Nonce::IfPresent, Some(sent), Some(claimed)) => {
            is_same_nonce(facts.provider.token.nonce_form, sent, claimed)
                .then_some(())
                .ok_or(Reason::NonceMismatch)
        }
    }
}

fn is_same_nonce(form: NonceForm, sent: &str, claimed: &str) -> bool {
    let raw = || verify_slices_are_equal(sent.as_bytes(), claimed.as_bytes()).is_ok();
    let hashed = || {
        let hex = HEXLOWER.encode(digest(&SHA256, sent.as_bytes()).as_ref());
        verify_slices_are_equal(hex.as_bytes(), claimed.as_bytes()).is_ok()
    };
    match form {
        NonceForm::Raw => raw(),
        NonceForm::Sha256Hex => hashed(),
        NonceForm::Either => raw() || hashed(),
    }
}

fn skew(facts: &Facts) -> i64 {
    seconds(facts.provider.token.clock_skew.as_secs())
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / 4)
}

/// Text of the token for people: short, and quoted so that control characters show.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    format!("{short:?}")
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.take(8).map(shown).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests;
