//! One refresh: find the session, judge the token, check user and provider again, rotate, issue.

use std::sync::Arc;

use crate::account::status_refusal;
use crate::app::{App, Caller};
use crate::client_address::{client_address, network};
use crate::dto::{LoginResponse, UserInfo};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::issue::{Carried, Stamp, access_token};
use crate::limits::of_address;
use crate::live::{Live, LivePolicy, LiveProvider};
use crate::oauth::door::Door;
use crate::password::{self, CHANGE_SCOPE, Standing};
use crate::refresh_token::{Presented, RefreshToken, judge, remember};
use crate::signin::lifetime;
use crate::store::{Event, EventKind, Rotation, RotationOutcome, Session, User};
use crate::trail::Trail;

/// How often a refresh is decided anew because another one was first. Each loss means that another refresh won, and the
/// next look finds its successor.
const DECISIONS_MAX: usize = 8;

pub async fn refresh(
    app: &Arc<App>,
    refresh_token: &str,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    refresh_at(app, &Door::Api, refresh_token, caller).await
}

/// The same through any door.
pub(crate) async fn refresh_at(
    app: &Arc<App>,
    door: &Door<'_>,
    refresh_token: &str,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let now = app.clock.now();
    let live = app.serving.live();
    let client = client_address(caller.peer, caller.headers, &live.trusted_proxies);
    let mut trail = Trail::new(EventKind::Refresh, now, caller.request_id, network(client));
    trail.client = door.client_id().map(str::to_owned);
    let result = match app.check_address(client, live.failures_per_minute, now) {
        Err(limited) => Err(limited),
        Ok(()) => rotate(app, &live, door, refresh_token, &mut trail, now).await,
    };
    if let Err(failure) = &result {
        if let Failure::Refused(_) = failure {
            let _over = app
                .failures
                .count(of_address(client), live.failures_per_minute, now);
        }
        app.record(trail.failure(failure));
    }
    app.metrics.refresh(result.as_ref().err());
    result
}

async fn rotate(
    app: &Arc<App>,
    live: &Live,
    door: &Door<'_>,
    text: &str,
    trail: &mut Trail,
    now: i64,
) -> Result<LoginResponse, Failure> {
    let invalid = |why: &'static str| Failure::from(Code::RefreshTokenInvalid.because(why));
    let token = RefreshToken::parse(text).ok_or_else(|| invalid("it is no refresh token"))?;
    for _ in 0..DECISIONS_MAX {
        let found = app.store.session(token.session()).await?;
        let (session, user) = found.ok_or_else(|| invalid("there is no such session"))?;
        trail.of_session(&session, &user);
        check_session(&session, &user, now)?;
        let (policy, _provider) = still_allowed(live, &session.policy, &session.provider, &user)?;
        let carried = Carried::read(&session.carried)?;
        // Before the token is judged: nobody ends a session whose client it is not.
        door.admit_refresh(policy, carried.client_id.as_deref())?;
        let standing = password::standing(user.password, &policy.spec.password, now);
        if standing.must_change || carried.scope == CHANGE_SCOPE {
            let why = "the password must be changed at a new sign-in";
            return Err(Code::PasswordChangeRequired.because(why).into());
        }
        let grace = lifetime(policy.spec.token.refresh_reuse_grace);

        let live_token = match judge(&token, &session, grace, now) {
            Presented::Reused => {
                let failure = Failure::from(
                    Code::RefreshTokenReused.because("it was rotated before: the session is ended"),
                );
                let mut event = trail.failure(&failure);
                event.kind = EventKind::Signout;
                let _was_live = app.store.end_session(session.id, now, event).await?;
                return Err(failure);
            }
            // The last answer was lost: the same one again, and nothing to write.
            Presented::Superseded(live_token) => live_token,
            Presented::Live => {
                let salt = app.random()?;
                let next = token.successor(&salt);
                let rotation = Rotation {
                    session: session.id,
                    expected_digest: session.refresh_digest,
                    new_digest: next.digest(),
                    refresh_expires_at: now
                        .saturating_add(lifetime(policy.spec.token.refresh_ttl))
                        .min(session.ends_at),
                    rotated: remember(&session, salt, grace, now),
                    now,
                    event: trail.success(),
                };
                match app.store.rotate(rotation).await? {
                    RotationOutcome::Rotated => next,
                    RotationOutcome::Changed => continue,
                }
            }
        };
        return answer(
            app,
            policy,
            &session,
            (&user, standing),
            &carried,
            &live_token,
            now,
        );
    }
    Err(TryAgainReason::StoreUnavailable
        .after(1, "the session kept changing while it was refreshed")
        .into())
}

pub(crate) fn check_session(session: &Session, user: &User, now: i64) -> Result<(), Failure> {
    let over = if session.ended_at.is_some() {
        "the session has ended"
    } else if now >= session.refresh_expires_at || now >= session.ends_at {
        "the session has expired"
    } else if session.created_at < user.sessions_valid_from {
        "the user's sessions were revoked"
    } else {
        return Ok(());
    };
    Err(Code::RefreshTokenInvalid.because(over).into())
}

/// User, provider and policy may have changed since the sign-in.
pub(crate) fn still_allowed<'l>(
    live: &'l Live,
    policy: &str,
    provider: &str,
    user: &User,
) -> Result<(&'l Arc<LivePolicy>, &'l Arc<LiveProvider>), Failure> {
    if live.revision.is_none() {
        return Err(TryAgainReason::NotReady
            .after(1, "no configuration is served yet")
            .into());
    }
    if let Some(refused) = status_refusal(user.status) {
        return Err(refused.into());
    }
    let suspended = |why: &'static str| Failure::from(Code::ProviderSuspended.because(why));
    let policy = live
        .policy_of_key(policy)
        .ok_or_else(|| suspended("the session's policy is gone"))?;
    let provider = live
        .provider(provider)
        .filter(|found| found.key == provider)
        .ok_or_else(|| suspended("the session's provider is gone"))?;
    if provider.spec.suspended {
        return Err(suspended("the provider is suspended"));
    }
    if provider.spec.policy_key() != policy.key {
        return Err(suspended("the provider belongs to another policy now"));
    }
    Ok((policy, provider))
}

fn answer(
    app: &App,
    policy: &LivePolicy,
    session: &Session,
    (user, standing): (&User, Standing),
    carried: &Carried,
    refresh_token: &RefreshToken,
    now: i64,
) -> Result<LoginResponse, Failure> {
    let key = policy.current_key()?;
    let stamp = Stamp {
        now,
        jti: app.id(now)?,
        session: session.id,
    };
    let token = access_token(policy, key, user, carried, stamp, session.ends_at)?;
    let info = UserInfo::of(user, standing);
    Ok(LoginResponse::of_session(
        token,
        refresh_token,
        info,
        standing,
    ))
}

/// The event of a session that its own user ends, or the client whose it is.
pub fn signout_event(
    app: &App,
    caller: Caller<'_>,
    session: &Session,
    user: &User,
    client: Option<&str>,
) -> Event {
    let live = app.serving.live();
    let address = client_address(caller.peer, caller.headers, &live.trusted_proxies);
    let now = app.clock.now();
    let mut trail = Trail::new(EventKind::Signout, now, caller.request_id, network(address));
    trail.of_session(session, user);
    trail.client = client.map(str::to_owned);
    trail.success()
}
