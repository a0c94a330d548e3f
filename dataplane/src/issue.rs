//! Local access tokens: the JWT profile of RFC 9068, signed with a key that was parsed when the snapshot was built.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use vestibule_crds::signing_key::{SigningFailed, SigningKey};

use crate::failure::{Code, Failure, Refused};
use crate::live::{LivePolicy, PolicyKey};
use crate::password::{CHANGE_SCOPE, CHANGE_SECONDS};
use crate::store::User;

/// Ordinary claims fit; more grow.
const CLAIMS_BYTES: usize = 1024;

/// What the tokens of a session carry on from its sign-in, at every refresh alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    pub scope: String,
    /// When the person last authenticated at the provider; `None`: the provider does not say, and `iat` is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The OAuth client whose session it is: no other may refresh it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Name of the provider.
    pub idp: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Carried {
    /// As a session keeps it.
    pub fn read(text: &str) -> Result<Self, Refused> {
        serde_json::from_str(text).map_err(|_| Code::Internal.because("the session cannot be read"))
    }
}

#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    sub: Uuid,
    aud: Audience<'a>,
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: Uuid,
    sid: Uuid,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    idp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    /// None of them has a name from above: `compile` refuses that.
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

/// One audience as a string, several as an array (RFC 7519, section 4.1.3).
#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Several(&'a [String]),
}

/// The times and ids of one access token, passed in so that issuing is a function of its input.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub now: i64,
    pub jti: Uuid,
    pub session: Uuid,
}

/// The access token, and how many seconds it lives: never past the end of its session.
pub fn access_token(
    policy: &LivePolicy,
    key: &PolicyKey,
    user: &User,
    carried: &Carried,
    stamp: Stamp,
    session_ends_at: i64,
) -> Result<(String, i64), IssueError> {
    let only_changes_password = carried.scope == CHANGE_SCOPE;
    let ttl = if only_changes_password {
        CHANGE_SECONDS
    } else {
        i64::try_from(policy.spec.token.access_ttl.as_secs()).unwrap_or(i64::MAX)
    };
    let expires_in = ttl.min(session_ends_at.saturating_sub(stamp.now));
    let issuer = policy.spec.token.issuer.as_str();
    let nothing = Map::new();
    let (aud, groups, extra) = if only_changes_password {
        // Nobody but us is meant, also where a service looks at no scope.
        (Audience::One(issuer), [].as_slice(), &nothing)
    } else {
        let aud = match policy.spec.token.audiences.as_slice() {
            [only] => Audience::One(only),
            several => Audience::Several(several),
        };
        (aud, carried.groups.as_slice(), &carried.extra)
    };
    let claims = AccessClaims {
        iss: issuer,
        sub: user.id,
        aud,
        exp: stamp.now.saturating_add(expires_in),
        iat: stamp.now,
        nbf: stamp.now,
        jti: stamp.jti,
        sid: stamp.session,
        scope: &carried.scope,
        auth_time: carried.auth_time,
        amr: &carried.amr,
        acr: carried.acr.as_deref(),
        client_id: carried.client_id.as_deref(),
        idp: &carried.idp,
        email: user.profile.email.as_deref(),
        groups,
        extra,
    };
    let mut json = Vec::with_capacity(CLAIMS_BYTES);
    serde_json::to_writer(&mut json, &claims).map_err(|_| IssueError::Claims)?;
    let claims = json;

    let mut token = String::with_capacity(key.encoded_header.len() + claims.len() * 4 / 3 + 96);
    token.push_str(&key.encoded_header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&claims, &mut token);
    let signature = key.signing.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok((token, expires_in))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("the claims could not be written")]
    Claims,
    #[error(transparent)]
    Signing(#[from] SigningFailed),
}

impl From<IssueError> for Failure {
    fn from(error: IssueError) -> Self {
        Code::Internal.because(error.to_string()).into()
    }
}

/// `typ` says access token (RFC 9068, section 2.1), so that no verifier takes one for an ID token.
pub fn encoded_header(key: &SigningKey) -> String {
    let header = json!({"alg": key.algorithm.name(), "kid": key.kid, "typ": "at+jwt"});
    URL_SAFE_NO_PAD.encode(header.to_string())
}
