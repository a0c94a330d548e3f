//! Local access tokens: the JWT profile of RFC 9068, signed with a key that was parsed when the
//! snapshot was built.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;
use vestibule_crds::signing_key::SigningFailed;
use vestibule_crds::snapshot::Provider;

use crate::clock::lifetime;
use crate::failure::{Code, Failure, Refused};
use crate::password::Standing;
use crate::protocol::{ACCOUNT_SCOPE, ACCOUNT_SECONDS, FULL_SCOPE};
use crate::protocol::{CHANGE_SCOPE, CHANGE_SECONDS};
use crate::runtime_config::{ActivePolicy, PolicyKey};
use vestibule_store::User;

/// Ordinary claims fit; more grow.
const CLAIMS_BYTES: usize = 1024;

/// What the tokens of a session carry on from its sign-in, at every refresh alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionClaims {
    pub scope: String,
    /// When the person last authenticated at the provider; `None`: the provider does not say, and
    /// `iat` is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// What was proved here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// What the provider said of its own factors. It counts for as long as the operator honours it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
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

impl SessionClaims {
    /// Has the tokens of a sign-in change the password and nothing else, where it must be changed.
    pub fn restrict(&mut self, standing: Standing) {
        if standing.must_change {
            CHANGE_SCOPE.clone_into(&mut self.scope);
        }
    }

    /// As a session keeps it.
    pub fn read(text: &str) -> Result<Self, Refused> {
        serde_json::from_str(text).map_err(|_| Code::Internal.because("the session cannot be read"))
    }

    /// What the provider said of its own factors, while it counts.
    pub fn recent_upstream(&self, provider: &Provider, now: i64) -> Option<Upstream> {
        let honoured = self.upstream.clone()?.honoured(provider)?;
        honoured.is_recent(provider, now).then_some(honoured)
    }

    /// All factors that count now: those proved here, and those of the provider.
    pub fn methods(&self, provider: &Provider, now: i64) -> Vec<String> {
        let upstream = self.recent_upstream(provider, now);
        let mut methods = upstream.map(|upstream| upstream.amr).unwrap_or_default();
        for proved in &self.amr {
            if !methods.contains(proved) {
                methods.push(proved.clone());
            }
        }
        methods
    }
}

/// What a provider said of its own factors (OpenID Connect Core 1.0, section 2), and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Seconds since the Unix epoch.
    pub auth_time: i64,
}

impl Upstream {
    /// As far as the operator honours it: none where nothing of it is.
    pub fn honoured(mut self, provider: &Provider) -> Option<Self> {
        let trusted = provider.upstream_mfa.as_ref()?;
        self.amr.retain(|value| trusted.amr.contains(value));
        self.acr.take_if(|value| !trusted.acr.contains(value));
        (!self.amr.is_empty() || self.acr.is_some()).then_some(self)
    }

    /// Whether it is within `maxAuthAge`. A time that has not come yet, beyond the skew of clocks,
    /// is not recent.
    pub fn is_recent(&self, provider: &Provider, now: i64) -> bool {
        let skew = lifetime(provider.token.clock_skew);
        provider.upstream_mfa.as_ref().is_some_and(|trusted| {
            is_recent(self.auth_time, lifetime(trusted.max_auth_age), skew, now)
        })
    }
}

/// Whether a time is at most `age_max` seconds ago, and not in the future beyond the skew of
/// clocks.
pub fn is_recent(at: i64, age_max: i64, skew: i64, now: i64) -> bool {
    let age = now.saturating_sub(at);
    age <= age_max && age >= -skew
}

/// Which access token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// For the services of the policy.
    Services,
    /// For changes of the own account.
    Account,
}

impl Wanted {
    /// A `scope` parameter (RFC 6749, section 3.3).
    pub fn parse(scope: Option<&str>) -> Result<Self, Refused> {
        let mut wanted = Self::Services;
        let scopes = scope.unwrap_or_default().split(' ');
        for scope in scopes.filter(|scope| !scope.is_empty()) {
            match scope {
                FULL_SCOPE => {}
                ACCOUNT_SCOPE => wanted = Self::Account,
                _ => return Err(Code::ScopeInvalid.because("a scope that there is not")),
            }
        }
        Ok(wanted)
    }

    /// The scope that the token gets.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Services => FULL_SCOPE,
            Self::Account => ACCOUNT_SCOPE,
        }
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
pub struct TokenTimes {
    pub now: i64,
    pub jti: Uuid,
    pub session: Uuid,
    pub session_ends_at: i64,
}

/// The access token, and how many seconds it lives: never past the end of its session.
pub fn access_token(
    policy: &ActivePolicy,
    provider: &Provider,
    user: &User,
    carried: &SessionClaims,
    wanted: Wanted,
    stamp: TokenTimes,
) -> Result<(String, i64), Failure> {
    let key = policy.current_key()?;
    let kind = Kind::of(policy, carried, wanted);
    let left = stamp.session_ends_at.saturating_sub(stamp.now);
    let expires_in = kind.ttl.min(left);
    let amr = carried.methods(provider, stamp.now);
    let upstream = carried.recent_upstream(provider, stamp.now);
    let claims = AccessClaims {
        iss: policy.spec.token.issuer.as_str(),
        sub: user.id,
        aud: kind.aud,
        exp: stamp.now.saturating_add(expires_in),
        iat: stamp.now,
        nbf: stamp.now,
        jti: stamp.jti,
        sid: stamp.session,
        scope: kind.scope,
        auth_time: carried.auth_time,
        amr: &amr,
        acr: upstream
            .as_ref()
            .and_then(|upstream| upstream.acr.as_deref()),
        client_id: carried.client_id.as_deref(),
        idp: &carried.idp,
        email: user.profile.email.as_deref(),
        groups: kind.groups,
        extra: kind.extra,
    };
    Ok((sign(key, &claims)?, expires_in))
}

/// What differs between the kinds of access tokens.
struct Kind<'a> {
    scope: &'a str,
    aud: Audience<'a>,
    ttl: i64,
    groups: &'a [String],
    extra: &'a Map<String, Value>,
}

impl<'a> Kind<'a> {
    fn of(policy: &'a ActivePolicy, carried: &'a SessionClaims, wanted: Wanted) -> Self {
        static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        let token = &policy.spec.token;
        // Only this service is meant, also where another service checks no scope.
        let own = |scope, ttl| Self {
            scope,
            aud: Audience::One(token.issuer.as_str()),
            ttl,
            groups: &[],
            extra: &NOTHING,
        };
        if carried.scope == CHANGE_SCOPE {
            return own(CHANGE_SCOPE, CHANGE_SECONDS);
        }
        match wanted {
            Wanted::Account => own(ACCOUNT_SCOPE, ACCOUNT_SECONDS),
            Wanted::Services => Self {
                scope: &carried.scope,
                aud: match token.audiences.as_slice() {
                    [only] => Audience::One(only),
                    several => Audience::Several(several),
                },
                ttl: lifetime(token.access_ttl),
                groups: &carried.groups,
                extra: &carried.extra,
            },
        }
    }
}

fn sign(key: &PolicyKey, claims: &AccessClaims<'_>) -> Result<String, IssueError> {
    let mut json = Vec::with_capacity(CLAIMS_BYTES);
    serde_json::to_writer(&mut json, claims).map_err(|_| IssueError::Claims)?;
    let claims = json;

    let mut token = String::with_capacity(key.encoded_header.len() + claims.len() * 4 / 3 + 96);
    token.push_str(&key.encoded_header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&claims, &mut token);
    let signature = key.signing.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
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
