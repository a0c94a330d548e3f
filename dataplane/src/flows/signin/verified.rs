//! From an unverified token to a verified identity.

use vestibule_crds::claims::MappedClaims;
use vestibule_crds::snapshot::Replay;

use crate::clock::lifetime;
use crate::encoding::sha256;
use crate::failure::{Code, Failure};
use crate::runtime_config::{ActivePolicy, ActiveProvider};
use vestibule_idtoken::keys::{Fetching, check_signature};
use vestibule_idtoken::token::UnverifiedToken;
use vestibule_idtoken::verify::{Facts, check_claims, check_header};
use vestibule_store::sessions::{Login, Origin};
use vestibule_store::{IdentityKey, ReplayKey};

/// A person, as far as the provider's word and the provider's rules go.
#[derive(Debug)]
pub struct VerifiedIdentity<'a> {
    pub identity: IdentityKey,
    pub mapped: MappedClaims,
    pub claims: serde_json::Value,
    pub expires_at: i64,
    pub issued_at: i64,
    /// The token as it was signed: another encoding of the same signature is the same token.
    signed: &'a str,
}

impl VerifiedIdentity<'_> {
    /// What the token is known by.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.signed.as_bytes())
    }

    /// What the provider may end the session by (OpenID Connect Back-Channel Logout 1.0, section
    /// 2.1).
    pub fn origin(&self) -> Origin {
        let IdentityKey {
            policy: _,
            issuer,
            subject,
        } = &self.identity;
        let sid = self.claims.get("sid").and_then(serde_json::Value::as_str);
        Origin::of(issuer, subject, sid.filter(|sid| !sid.is_empty()))
    }

    /// The login at the provider that the token is from.
    pub fn login(&self, provider: &str, origin: Origin) -> Login {
        Login::of(provider, origin, &self.identity, self.issued_at)
    }

    /// Present where the provider refuses a token's second use.
    pub fn replay_key(&self, replay: Replay) -> Option<ReplayKey> {
        match replay {
            Replay::Allow => None,
            Replay::Reject => Some(ReplayKey {
                expires_at: self.expires_at,
                digest: self.digest(),
            }),
        }
    }
}

/// From an unverified token to a verified identity, or the first reason why not.
pub async fn verify<'a>(
    provider: &ActiveProvider,
    policy: &ActivePolicy,
    token: UnverifiedToken<'a>,
    nonce: Option<&str>,
    fetching: Fetching,
    now: i64,
) -> Result<VerifiedIdentity<'a>, Failure> {
    let facts = Facts {
        token: &token,
        provider: &provider.spec,
        nonce,
        now,
    };
    check_header(&facts)?;
    check_signature(&provider.keys, &token.jws, fetching).await?;
    check_claims(&facts)?;
    let mapped = provider.rules.apply(&token.claims).map_err(|rejected| {
        let mut refused = Code::ClaimsRejected.because(rejected.cause.to_string());
        refused.message = Some(rejected.message);
        refused
    })?;
    let skew = lifetime(provider.spec.token.clock_skew);
    Ok(VerifiedIdentity {
        identity: IdentityKey {
            policy: policy.key.clone(),
            issuer: provider.spec.issuer.as_str().to_owned(),
            subject: token.subject,
        },
        mapped,
        expires_at: token.expires_at.saturating_add(skew),
        issued_at: token.issued_at,
        signed: token.jws.signing_input,
        claims: token.claims,
    })
}
