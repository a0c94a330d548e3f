//! A provider says that a user signed out there (OpenID Connect Back-Channel Logout 1.0): the
//! sessions that it names end here.

use std::sync::Arc;

use vestibule_crds::snapshot::TokenRules;

use crate::app::{App, Caller};
use crate::clock::lifetime;
use crate::encoding::sha256;
use crate::failure::{Code, Failure};
use crate::flows::frame::Frame;
use crate::runtime_config::ActiveProvider;
use vestibule_idtoken::keys::{Fetching, check_signature};
use vestibule_idtoken::token::UnverifiedToken;
use vestibule_idtoken::verify::Facts;
use vestibule_idtoken::verify::logout::{check_claims, check_header};
use vestibule_store::sessions::{LoggedOut, LogoutOutcome, ProviderLogout};
use vestibule_store::{EventKind, IdentityKey, ReplayKey};

pub const PATH: &str = "/auth/logout/backchannel";
/// Providers of one issuer and audience that one token may be for.
const PROVIDERS_MAX: usize = 16;
/// How long past its expiry a token is remembered: past any clock skew that a provider may have,
/// and the same for all replicas, whatever configuration each has at that moment.
const KEPT_SECONDS: i64 = 3600;
/// How long an ended login is remembered where no age of tokens is set.
const MAX_AGE_UNSET: i64 = 30 * 24 * 3600;

pub async fn log_out(
    app: &Arc<App>,
    logout_token: &str,
    caller: Caller<'_>,
) -> Result<(), Failure> {
    let mut frame = Frame::begin(app, EventKind::ProviderLogout, caller);
    let result = run(app, &mut frame, logout_token).await;
    frame.end(app, result)
}

async fn run(app: &App, frame: &mut Frame<'_>, text: &str) -> Result<(), Failure> {
    let token = UnverifiedToken::parse_without_subject(text)
        .map_err(|malformed| Code::TokenMalformed.because(malformed.to_string()))?;
    let meant = meant(app, frame, &token).await?;
    let jti = token.text("jti").unwrap_or_default();
    let logout = ProviderLogout {
        meant,
        subject: Some(token.subject.clone()).filter(|subject| !subject.is_empty()),
        sid: token.text("sid").map(str::to_owned),
        issued_at: token.issued_at,
        // Of the issuer, so that one provider uses up nothing of another's.
        replay: ReplayKey {
            expires_at: token.expires_at.saturating_add(KEPT_SECONDS),
            digest: sha256(format!("logout\0{}\0{jti}", token.issuer).as_bytes()),
        },
        event: frame.audit.success(),
        now: frame.now,
    };
    match app.store.run(logout).await? {
        LogoutOutcome::Ended(_) => Ok(()),
        LogoutOutcome::Replayed => Err(Code::TokenReplayed
            .because("the logout token was used before")
            .into()),
    }
}

/// The providers that the token is for, each with its own keys and settings. One that is suspended
/// may still sign people out.
async fn meant(
    app: &App,
    frame: &mut Frame<'_>,
    token: &UnverifiedToken<'_>,
) -> Result<Vec<LoggedOut>, Failure> {
    let active = Arc::clone(&frame.active);
    let of_audience = |provider: &&Arc<ActiveProvider>| {
        let audiences = &provider.spec.audiences;
        token.audiences.iter().any(|of| audiences.contains(of))
    };
    let candidates = active
        .providers_of(&token.issuer)
        .iter()
        .filter(of_audience);
    let (mut meant, mut refused) = (Vec::new(), None);
    for provider in candidates.take(PROVIDERS_MAX) {
        frame.audit.provider.clone_from(&provider.key);
        if let Some(policy) = active.policy_of(provider) {
            frame.policy(app, policy, &provider.key);
        }
        let facts = Facts {
            token,
            provider: &provider.spec,
            nonce: None,
            now: frame.now,
        };
        if let Err(failure) = verify(provider, &facts, frame.fetching()).await {
            refused.get_or_insert(failure);
            continue;
        }
        let policy = format!("{}/{}", provider.spec.namespace, provider.spec.policy);
        meant.push(LoggedOut {
            provider: provider.key.clone(),
            tokens_live: tokens_live(&provider.spec.token),
            identity: IdentityKey {
                policy,
                issuer: provider.spec.issuer.as_str().to_owned(),
                subject: token.subject.clone(),
            },
        });
    }
    match (meant.is_empty(), refused) {
        (false, _) => Ok(meant),
        (true, Some(failure)) => Err(failure),
        (true, None) => Err(Code::ProviderRequired
            .because("no provider has the token's issuer and audience")
            .into()),
    }
}

/// How long a token may sign in after it was issued, by the provider's settings.
fn tokens_live(rules: &TokenRules) -> i64 {
    let max_age = rules.max_age.map_or(MAX_AGE_UNSET, lifetime);
    max_age.saturating_add(lifetime(rules.clock_skew))
}

async fn verify(
    provider: &ActiveProvider,
    facts: &Facts<'_>,
    fetching: Fetching,
) -> Result<(), Failure> {
    check_header(facts)?;
    check_signature(&provider.keys, &facts.token.jws, fetching).await?;
    check_claims(facts)?;
    Ok(())
}
