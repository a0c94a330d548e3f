//! A provider says that somebody signed out there (OpenID Connect Back-Channel Logout 1.0): the sessions that it names end here.

use std::net::IpAddr;
use std::sync::Arc;

use crate::app::{App, Caller};
use crate::client_address::{client_address, network};
use crate::encoding::sha256;
use crate::failure::{Code, Failure};
use crate::live::{Live, LiveProvider};
use crate::signin::check_signature;
use crate::store::sessions::{LoggedOut, LogoutOutcome, ProviderLogout};
use crate::store::{EventKind, IdentityKey, ReplayKey};
use crate::token::UnverifiedToken;
use crate::trail::Trail;
use crate::verify::Facts;
use crate::verify::logout::{check_claims, check_header};

pub const PATH: &str = "/auth/logout/backchannel";
/// Providers of one issuer and audience that one token may be for.
const PROVIDERS_MAX: usize = 16;
/// How long past its expiry a token is remembered: past any clock skew that a provider may have, and the same for all replicas,
/// whatever configuration each has at that moment.
const KEPT_SECONDS: i64 = 3600;

pub async fn log_out(
    app: &Arc<App>,
    logout_token: &str,
    caller: Caller<'_>,
) -> Result<(), Failure> {
    let now = app.clock.now();
    let live = app.serving.live();
    let client = client_address(caller.peer, caller.headers, &live.trusted_proxies);
    let kind = EventKind::ProviderLogout;
    let mut trail = Trail::new(kind, now, caller.request_id, network(client));
    let result = run(app, &live, client, logout_token, &mut trail, now).await;
    if let Err(failure) = &result {
        if let Failure::Refused(_) = failure {
            app.count_failure(&live, client, live.failures_per_minute, None, now);
        }
        app.record(trail.failure(failure));
    }
    result
}

async fn run(
    app: &App,
    live: &Live,
    client: IpAddr,
    text: &str,
    trail: &mut Trail,
    now: i64,
) -> Result<(), Failure> {
    app.check_address(client, live.failures_per_minute, now)?;
    let token = UnverifiedToken::parse_without_subject(text)
        .map_err(|malformed| Code::TokenMalformed.because(malformed.to_string()))?;
    let meant = meant(live, &token, trail, now).await?;
    let jti = token.text("jti").unwrap_or_default();
    let logout = ProviderLogout {
        meant,
        subject: Some(token.subject.clone()).filter(|subject| !subject.is_empty()),
        sid: token.text("sid").map(str::to_owned),
        // Of the issuer, so that one provider uses up nothing of another's.
        replay: ReplayKey {
            expires_at: token.expires_at.saturating_add(KEPT_SECONDS),
            digest: sha256(format!("logout\0{}\0{jti}", token.issuer).as_bytes()),
        },
        event: trail.success(),
        now,
    };
    match app.store.log_out(logout).await? {
        LogoutOutcome::Ended(_) => Ok(()),
        LogoutOutcome::Replayed => Err(Code::TokenReplayed
            .because("the logout token was used before")
            .into()),
    }
}

/// The providers that the token is for, each with its own keys and settings. One that is suspended may still sign people out.
async fn meant(
    live: &Live,
    token: &UnverifiedToken<'_>,
    trail: &mut Trail,
    now: i64,
) -> Result<Vec<LoggedOut>, Failure> {
    let of_audience = |provider: &&Arc<LiveProvider>| {
        let audiences = &provider.spec.audiences;
        token.audiences.iter().any(|of| audiences.contains(of))
    };
    let candidates = live.providers_of(&token.issuer).iter().filter(of_audience);
    let (mut meant, mut refused) = (Vec::new(), None);
    for provider in candidates.take(PROVIDERS_MAX) {
        trail.provider.clone_from(&provider.key);
        let facts = Facts {
            token,
            provider: &provider.spec,
            nonce: None,
            now,
        };
        if let Err(failure) = verify(provider, &facts).await {
            refused.get_or_insert(failure);
            continue;
        }
        let policy = format!("{}/{}", provider.spec.namespace, provider.spec.policy);
        trail.policy.clone_from(&policy);
        meant.push(LoggedOut {
            provider: provider.key.clone(),
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

async fn verify(provider: &LiveProvider, facts: &Facts<'_>) -> Result<(), Failure> {
    check_header(facts)?;
    check_signature(&provider.keys, &facts.token.jws).await?;
    check_claims(facts)?;
    Ok(())
}
