//! What a client shows to prove itself: one way, and one way only (RFC 6749, section 2.3; RFC 7521,
//! section 4.2).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use vestibule_crds::secret::Secret;

use crate::body::form::{self, Form};
use crate::failure::{Code, Failure};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// As long as a declared one may be.
const CLIENT_ID_CHARS_MAX: usize = 128;
const SECRET_CHARS_MAX: usize = 1024;
/// Of one character in a form: four bytes, each a percent sign and two digits.
const ENCODED_BYTES_MAX: usize = 12;

/// Nothing of it is believed yet.
#[derive(Debug)]
pub enum Credentials {
    /// `client_secret_basic` or `client_secret_post`: the secret, as each way to read it has it.
    Secret {
        client_id: String,
        secrets: Vec<Secret>,
    },
    /// An assertion or a service account's token, and perhaps whose the request says that it is.
    Token {
        client_id: Option<String>,
        token: Token,
    },
}

/// A JWT that proves who shows it.
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// None where the request shows nothing; a `client_id` alone proves nothing.
pub fn credentials(headers: &HeaderMap, form: &mut Form) -> Result<Option<Credentials>, Failure> {
    let client_id = form.text("client_id", CLIENT_ID_CHARS_MAX)?;
    let secret = form.text("client_secret", SECRET_CHARS_MAX)?;
    let assertion = form.text("client_assertion", form::BODY_BYTES_MAX)?;
    let assertion_type = form.text("client_assertion_type", ASSERTION_TYPE.len())?;
    let header = header(headers)?;

    let ways = [header.is_some(), secret.is_some(), assertion.is_some()];
    if ways.into_iter().filter(|shown| *shown).count() > 1 {
        return Err(invalid("it shows more than one proof of its client"));
    }
    if assertion.is_some() != assertion_type.is_some() {
        return Err(invalid("an assertion and its type go together"));
    }
    if let Some(secret) = secret {
        let client_id = client_id.ok_or_else(|| invalid("client_id is missing"))?;
        let secrets = vec![Secret::new(secret)];
        return Ok(Some(Credentials::Secret { client_id, secrets }));
    }
    if let Some(token) = assertion {
        if assertion_type.as_deref() != Some(ASSERTION_TYPE) {
            return Err(Code::ClientInvalid
                .because("an unknown type of assertion")
                .into());
        }
        let token = Token(token);
        return Ok(Some(Credentials::Token { client_id, token }));
    }
    match header {
        None => Ok(None),
        Some(Credentials::Secret {
            client_id: named,
            secrets,
        }) => {
            if client_id.is_some_and(|client_id| client_id != named) {
                return Err(invalid("client_id differs from the header's"));
            }
            let client_id = named;
            Ok(Some(Credentials::Secret { client_id, secrets }))
        }
        Some(Credentials::Token { token, .. }) => Ok(Some(Credentials::Token { client_id, token })),
    }
}

fn header(headers: &HeaderMap) -> Result<Option<Credentials>, Failure> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid("it has the header Authorization twice"));
    }
    let unusable = |why: &'static str| Failure::from(Code::ClientInvalid.because(why));
    let value = value.to_str().map_err(|_| unusable("not ASCII"))?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && rest.len() <= form::BODY_BYTES_MAX {
        return Ok(Some(Credentials::Token {
            client_id: None,
            token: Token(rest.to_owned()),
        }));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unusable("neither Basic nor Bearer"));
    }
    let (client_id, secrets) = basic(rest).ok_or_else(|| unusable("no id and secret"))?;
    Ok(Some(Credentials::Secret { client_id, secrets }))
}

/// Id and secret are each encoded as a form's values are before they are joined (RFC 6749, section
/// 2.3.1). Not every library does that, so the secret counts as it stands there, too: a secret in
/// base64 often has a `+`.
fn basic(encoded: &str) -> Option<(String, Vec<Secret>)> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (client_id, secret) = decoded.split_once(':')?;
    let client_id = form::decode(client_id).filter(|id| id.len() <= CLIENT_ID_CHARS_MAX)?;
    if secret.len() > SECRET_CHARS_MAX * ENCODED_BYTES_MAX {
        return None;
    }
    let mut secrets = vec![Secret::new(secret)];
    secrets.extend(form::decode(secret).map(Secret::new));
    Some((client_id, secrets))
}

fn invalid(why: &'static str) -> Failure {
    Code::InvalidRequest.because(why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(authorization: Option<&str>, body: &str) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().expect("a value"));
        }
        let mut form = Form::parse(body.as_bytes()).expect("a form");
        let shown = credentials(&headers, &mut form).map_err(|failure| failure.code())?;
        Ok(match shown {
            None => "nothing".to_owned(),
            Some(Credentials::Secret { client_id, secrets }) => {
                let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
                format!("{client_id} {}", secrets.join(" or "))
            }
            Some(Credentials::Token { client_id, token }) => {
                format!("{} {}", client_id.unwrap_or_default(), token.0)
            }
        })
    }

    #[test]
    fn each_way_to_show_a_proof_is_read() {
        let assertion = format!("client_assertion=a.b.c&client_assertion_type={ASSERTION_TYPE}");
        let named = format!("{assertion}&client_id=gw");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let encoded = basic("https%3A%2F%2Fgw.example:a%2Bb+c%3A%25");
        for (header, body, expected) in [
            (None, "", "nothing"),
            (None, "client_id=gw", "nothing"),
            (None, "client_id=gw&client_secret=", "nothing"),
            (None, "client_id=gw&client_secret=a%2Bb", "gw a+b"),
            (None, assertion.as_str(), " a.b.c"),
            (None, named.as_str(), "gw a.b.c"),
            (Some("Bearer a.b.c"), "", " a.b.c"),
            (Some("bearer a.b.c"), "client_id=gw", "gw a.b.c"),
            (Some(basic("gw:secret").as_str()), "", "gw secret or secret"),
            (Some(basic("gw:50%:a").as_str()), "", "gw 50%:a"),
            (
                Some(basic("gw:secret").as_str()),
                "client_id=gw",
                "gw secret or secret",
            ),
            (
                Some(encoded.as_str()),
                "",
                "https://gw.example a%2Bb+c%3A%25 or a+b c:%",
            ),
        ] {
            assert_eq!(
                shown(header, body).as_deref(),
                Ok(expected),
                "{header:?} {body}"
            );
        }
    }

    #[test]
    fn two_proofs_half_a_proof_and_none_that_is_known_are_told_apart() {
        let basic = format!("Basic {}", STANDARD.encode("gw:secret"));
        let basic = Some(basic.as_str());
        let assertion = format!("client_assertion=a.b.c&client_assertion_type={ASSERTION_TYPE}");
        let both = format!("{assertion}&client_id=gw&client_secret=s");
        for (header, body, code) in [
            (
                basic,
                "client_id=gw&client_secret=secret",
                "invalid_request",
            ),
            (basic, assertion.as_str(), "invalid_request"),
            (Some("Bearer a.b.c"), assertion.as_str(), "invalid_request"),
            (None, both.as_str(), "invalid_request"),
            (basic, "client_id=other", "invalid_request"),
            (None, "client_secret=s", "invalid_request"),
            (None, "client_assertion=a.b.c", "invalid_request"),
            (None, "client_assertion_type=x", "invalid_request"),
            (
                None,
                "client_assertion=a&client_assertion_type=x",
                "invalid_client",
            ),
            (Some("Digest x"), "", "invalid_client"),
            (Some("Basic"), "", "invalid_client"),
            (Some("Basic !"), "", "invalid_client"),
            (Some("Basic Z3c="), "", "invalid_client"),
        ] {
            assert_eq!(shown(header, body), Err(code), "{header:?} {body}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut form = Form::parse(b"client_id=gw&client_secret=hunter2").expect("a form");
        assert!(!format!("{form:?}").contains("hunter2"));
        let shown = credentials(&HeaderMap::new(), &mut form).expect("a secret");
        assert!(!format!("{shown:?}").contains("hunter2"));
        let token = Token("hunter2".to_owned());
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
