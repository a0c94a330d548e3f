//! Parses a compact JWS (RFC 7515, section 3.1); nothing of it is verified yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::verification_key::KID_BYTES_MAX;

use crate::strict_json::{self, NotStrictJson};

/// The longest ID token that is read.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest issuer, subject and audience that is read.
const SUBJECT_CHARS_MAX: usize = 255;
const ISSUER_BYTES_MAX: usize = 2048;
const AUDIENCES_MAX: usize = 64;
/// The last second of the year 9999: later times are mistakes, and could overflow sums.
const TIME_MAX: f64 = 253_402_300_799.0;

/// A compact JWS whose header is understood. Its signature is not checked.
#[derive(Debug)]
pub struct Jws<'a> {
    pub header: Header,
    pub payload: Vec<u8>,
    /// What the signature is over: header and payload as they came.
    pub signing_input: &'a str,
    pub signature: Vec<u8>,
}

/// A token whose form is right: header and claims are JSON objects of the right types. Its
/// signature is not checked.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    pub jws: Jws<'a>,
    pub issuer: String,
    pub subject: String,
    /// As the claim has them, a single string as one; empty when the claim is missing.
    pub audiences: Vec<String>,
    /// Seconds since the Unix epoch; a fraction is cut off.
    pub expires_at: i64,
    pub issued_at: i64,
    pub not_before: Option<i64>,
    pub claims: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `None`: not one of the algorithms that Vestibule knows.
    pub algorithm: Option<Algorithm>,
    /// As the token has it, shortened; for explanations only.
    pub algorithm_name: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

impl Header {
    /// Whether the type is one of these, in lower case, or left out. `application/` may stand
    /// before it (RFC 7515, 4.1.9).
    pub fn has_type_among(&self, types: &[&str]) -> bool {
        self.typ.as_deref().is_none_or(|typ| {
            let typ = typ.to_ascii_lowercase();
            types.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
        })
    }
}

/// What is wrong with the form of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is longer than 16 KiB")]
    TooLong,
    #[error("it is not three parts with two dots between them (RFC 7515, section 3.1)")]
    NotThreeParts,
    #[error("a part is not base64url without padding (RFC 7515, section 2)")]
    Base64,
    #[error("header: {0}")]
    HeaderJson(NotStrictJson),
    #[error("payload: {0}")]
    ClaimsJson(NotStrictJson),
    #[error("`alg` must be a string")]
    Algorithm,
    #[error("`kid` must be a string of at most 256 bytes")]
    KeyId,
    #[error("`typ` must be a short string")]
    Type,
    #[error(
        "`crit` or `b64` asks for an extension that is not supported (RFC 7515, section 4.1.11)"
    )]
    Critical,
    #[error("`iss` must be a string of at most 2048 bytes")]
    Issuer,
    #[error("`sub` must be a string of 1 to 255 characters, without control characters")]
    Subject,
    #[error("`aud` must be a string or an array of at most 64 strings")]
    Audience,
    #[error("`{0}` must be a number of seconds since 1970")]
    Time(&'static str),
    #[error("`{0}` must be a string")]
    NotAString(&'static str),
}

impl<'a> Jws<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Malformed::NotThreeParts)?;
        let (header, payload) = signing_input
            .split_once('.')
            .ok_or(Malformed::NotThreeParts)?;
        if payload.contains('.') || header.is_empty() || signature.is_empty() {
            return Err(Malformed::NotThreeParts);
        }
        Ok(Self {
            header: Header::parse(&base64url(header)?)?,
            payload: base64url(payload)?,
            signing_input,
            signature: base64url(signature)?,
        })
    }
}

impl<'a> UnverifiedToken<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let token = Self::parse_without_subject(text)?;
        if token.subject.is_empty() {
            return Err(Malformed::Subject);
        }
        Ok(token)
    }

    /// A logout token may name a session alone: then its subject is empty, which no subject is.
    pub fn parse_without_subject(text: &'a str) -> Result<Self, Malformed> {
        let jws = Jws::parse(text)?;
        let claims = strict_json::parse_object(&jws.payload).map_err(Malformed::ClaimsJson)?;

        let issuer = string(&claims, "iss")
            .filter(|issuer| issuer.len() <= ISSUER_BYTES_MAX)
            .ok_or(Malformed::Issuer)?;
        let subject = match claims.get("sub") {
            None => "",
            Some(Value::String(subject)) if is_subject(subject) => subject,
            Some(_) => return Err(Malformed::Subject),
        };
        for name in ["nonce", "azp", "acr", "jti"] {
            if claims.get(name).is_some_and(|value| !value.is_string()) {
                return Err(Malformed::NotAString(name));
            }
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audiences: audiences(claims.get("aud"))?,
            expires_at: required_time(&claims, "exp")?,
            issued_at: required_time(&claims, "iat")?,
            not_before: time(&claims, "nbf")?,
            claims: Value::Object(claims),
            jws,
        })
    }

    /// A claim that is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let members = strict_json::parse_object(bytes).map_err(Malformed::HeaderJson)?;
        // `jku`, `x5u`, `x5c` and `jwk` are for other protocols: keys come from the provider's
        // configuration alone.
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(Malformed::Critical);
        }
        let name = string(&members, "alg").ok_or(Malformed::Algorithm)?;
        let kid = optional_string(&members, "kid")
            .ok_or(Malformed::KeyId)?
            .map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(Malformed::KeyId);
        }
        let typ = optional_string(&members, "typ")
            .ok_or(Malformed::Type)?
            .map(str::to_owned);
        if typ.as_ref().is_some_and(|typ| typ.len() > 128) {
            return Err(Malformed::Type);
        }
        Ok(Self {
            algorithm: Algorithm::from_name(name),
            algorithm_name: name.chars().take(32).collect(),
            kid,
            typ,
        })
    }
}

/// Strict: no padding, no white space, no other alphabet, no bits left over.
fn base64url(text: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed::Base64)
}

fn string<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}

/// `Some(None)` when the member is missing, `None` when it is no string.
fn optional_string<'m>(members: &'m Map<String, Value>, name: &str) -> Option<Option<&'m str>> {
    match members.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

fn is_subject(subject: &str) -> bool {
    let length = subject.chars().count();
    (1..=SUBJECT_CHARS_MAX).contains(&length) && !subject.chars().any(char::is_control)
}

fn audiences(claim: Option<&Value>) -> Result<Vec<String>, Malformed> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(audience)) => Ok(vec![audience.clone()]),
        Some(Value::Array(items)) if items.len() <= AUDIENCES_MAX => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(Malformed::Audience),
        Some(_) => Err(Malformed::Audience),
    }
}

fn required_time(claims: &Map<String, Value>, name: &'static str) -> Result<i64, Malformed> {
    time(claims, name)?.ok_or(Malformed::Time(name))
}

/// A NumericDate (RFC 7519, section 2): a JSON number, which may have a fraction.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Malformed> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=TIME_MAX).contains(seconds));
    #[expect(clippy::cast_possible_truncation, reason = "bounded by TIME_MAX")]
    let seconds = seconds.ok_or(Malformed::Time(name))? as i64;
    Ok(Some(seconds))
}

#[cfg(test)]
mod tests;
