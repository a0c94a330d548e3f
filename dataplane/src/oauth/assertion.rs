//! JWTs that prove a client: its own assertion (RFC 7523, section 3), or the token of its
//! Kubernetes service account.

use serde_json::{Map, Value};

use crate::app::App;
use crate::encoding::sha256;
use crate::failure::{Failure, TryAgain};
use crate::runtime_config::documents::endpoint;
use crate::runtime_config::{ActivePolicy, ActiveProvider};
use vestibule_idtoken::keys::ProviderKeys;
use vestibule_idtoken::keys::{Fetching, check_signature};
use vestibule_idtoken::refusal::Refused;
use vestibule_idtoken::strict_json;
use vestibule_idtoken::token::{Jws, Malformed, UnverifiedToken};
use vestibule_idtoken::verify::{Facts, check_claims, check_header};
use vestibule_store::{ReplayKey, UseOnce};

/// How far clocks may be apart.
const SKEW_SECONDS: i64 = 30;
/// How far ahead an assertion may expire: it is made for one request.
const LIFETIME_SECONDS_MAX: i64 = 300;
const JTI_CHARS_MAX: usize = 256;

/// Nothing of it is believed yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    text: &'a str,
    jws: Jws<'a>,
    claims: Map<String, Value>,
    subject: String,
}

/// Why a token does not prove a client, for the audit event.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    #[error("no client of this name")]
    Unknown,
    #[error("the client has a secret, and no key")]
    NoKey,
    #[error("the assertion: {0}")]
    Malformed(#[from] Malformed),
    #[error("the assertion: {0}")]
    NotClaims(#[from] strict_json::NotStrictJson),
    #[error("the assertion's {0} is not what it must be")]
    Claim(&'static str),
    #[error("the assertion was used before")]
    Replayed,
    #[error("the service account's provider is not served, or is suspended")]
    NoProvider,
    #[error("{0}")]
    Refused(String),
    #[error("{}", .0.audit)]
    Later(TryAgain),
}

impl<'a> Unverified<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Unproved> {
        let jws = Jws::parse(text)?;
        let claims = strict_json::parse_object(&jws.payload)?;
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.ok_or(Unproved::Claim("sub"))?.to_owned();
        Ok(Self {
            text,
            jws,
            claims,
            subject,
        })
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// A NumericDate; none when it is left out.
    fn time(&self, name: &'static str) -> Result<Option<f64>, Unproved> {
        match self.claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(Unproved::Claim(name)),
        }
    }

    /// The only audience, a string or an array of one.
    fn audience(&self) -> Option<&str> {
        match self.claims.get("aud")? {
            Value::String(audience) => Some(audience),
            Value::Array(audiences) => match audiences.as_slice() {
                [Value::String(audience)] => Some(audience),
                _ => None,
            },
            _ => None,
        }
    }
}

/// With a key that the policy declares for the client. It is used up.
pub async fn by_own_key(
    app: &App,
    policy: &ActivePolicy,
    client_id: &str,
    keys: &ProviderKeys,
    token: &Unverified<'_>,
    now: i64,
) -> Result<(), Unproved> {
    let expires_at = check_assertion(policy, client_id, token, now)?;
    check_signature(keys, &token.jws, Fetching::Allowed)
        .await
        .map_err(|error| unproved(error.into()))?;
    let jti = token.text("jti").unwrap_or_default();
    let identity = [policy.key.as_str(), client_id, jti].join("\n");
    let first = app.store.run(UseOnce(ReplayKey {
        expires_at: expires_at + SKEW_SECONDS,
        digest: sha256(format!("client assertion\n{identity}").as_bytes()),
    }));
    match first.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unproved::Replayed),
        Err(error) => Err(unproved(error.into())),
    }
}

/// All but the signature; when it expires. The audience is the issuer or the token endpoint and
/// nothing else: an assertion for several audiences could be passed on by one of them.
fn check_assertion(
    policy: &ActivePolicy,
    client_id: &str,
    token: &Unverified<'_>,
    now: i64,
) -> Result<i64, Unproved> {
    let issuer = policy.spec.token.issuer.as_str();
    let types = ["jwt", "client-authentication+jwt"];
    if !token.jws.header.has_type_among(&types) {
        return Err(Unproved::Claim("typ"));
    }
    if token.text("iss") != Some(client_id) {
        return Err(Unproved::Claim("iss"));
    }
    if token.subject != client_id {
        return Err(Unproved::Claim("sub"));
    }
    let audience = token.audience();
    if audience != Some(issuer) && audience != Some(&endpoint(issuer, crate::protocol::TOKEN_PATH))
    {
        return Err(Unproved::Claim("aud"));
    }
    let jti = token.text("jti").map_or(0, |jti| jti.chars().count());
    if !(1..=JTI_CHARS_MAX).contains(&jti) {
        return Err(Unproved::Claim("jti"));
    }
    let latest = now + LIFETIME_SECONDS_MAX + SKEW_SECONDS;
    #[expect(clippy::cast_precision_loss, reason = "times of today are exact")]
    let (oldest, youngest, latest) = (
        (now - SKEW_SECONDS) as f64,
        (now + SKEW_SECONDS) as f64,
        latest as f64,
    );
    let expiry = token.time("exp")?.ok_or(Unproved::Claim("exp"))?;
    if expiry <= oldest || expiry > latest {
        return Err(Unproved::Claim("exp"));
    }
    for name in ["nbf", "iat"] {
        if token.time(name)?.is_some_and(|from| from > youngest) {
            return Err(Unproved::Claim(name));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is near now")]
    Ok(expiry as i64)
}

/// By the rules of the provider that verifies it, its claim rules excepted: those are about users.
pub async fn by_service_account(
    provider: Option<&std::sync::Arc<ActiveProvider>>,
    subject: &str,
    token: &Unverified<'_>,
    fetching: Fetching,
    now: i64,
) -> Result<(), Unproved> {
    let provider = provider.filter(|provider| !provider.spec.suspended);
    let provider = provider.ok_or(Unproved::NoProvider)?;
    let token = UnverifiedToken::parse(token.text)?;
    if token.subject != subject {
        return Err(Unproved::Claim("sub"));
    }
    let facts = Facts {
        token: &token,
        provider: &provider.spec,
        nonce: None,
        now,
    };
    let refused = |refused: Refused| Unproved::Refused(refused.detail.into_owned());
    check_header(&facts).map_err(refused)?;
    check_signature(&provider.keys, &token.jws, fetching)
        .await
        .map_err(|error| unproved(error.into()))?;
    check_claims(&facts).map_err(refused)
}

fn unproved(failure: Failure) -> Unproved {
    match failure {
        Failure::Refused(refused) => Unproved::Refused(refused.audit.into_owned()),
        Failure::TryAgain(again) => Unproved::Later(again),
    }
}
