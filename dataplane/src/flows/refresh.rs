//! One refresh: find the session, judge the token, check user and provider again, rotate, issue.

use std::sync::Arc;

use crate::app::{App, Caller};
use crate::clock::lifetime;
use crate::dto::{LoginResponse, RefreshRequest, UserInfo};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::flows::account::status_refusal;
use crate::flows::client::ClientContext;
use crate::flows::frame::Frame;
use crate::flows::issue::{SessionClaims, TokenTimes, Wanted, access_token};
use crate::password::{self, Standing};
use crate::protocol::CHANGE_SCOPE;
use crate::refresh_token::{Presented, RefreshToken, judge, remember};
use crate::runtime_config::{ActiveConfig, ActivePolicy, ActiveProvider};
use vestibule_store::{
    EndSession, EventKind, ReadSession, Rotation, RotationOutcome, Session, User,
};

/// How often a refresh is decided again because another one was first. Each loss means that another
/// refresh won, and the next read finds its successor.
const DECISIONS_MAX: usize = 8;
/// The outcome of the audit event when a token that was rotated a moment ago leads to its
/// successor.
pub const GRACE_USED: &str = "grace_used";

pub async fn refresh(
    app: &Arc<App>,
    request: &RefreshRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    refresh_at(app, &ClientContext::Api, request, caller).await
}

/// The same in any client context.
pub(crate) async fn refresh_at(
    app: &Arc<App>,
    client_context: &ClientContext<'_>,
    request: &RefreshRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let mut frame = Frame::begin(app, EventKind::Refresh, caller);
    frame.audit.client = client_context.client_id().map(str::to_owned);
    let result = rotate(app, &mut frame, client_context, request).await;
    let result = frame.end(app, result);
    app.metrics.refresh(result.as_ref().err());
    result
}

async fn rotate(
    app: &Arc<App>,
    frame: &mut Frame<'_>,
    client_context: &ClientContext<'_>,
    request: &RefreshRequest,
) -> Result<LoginResponse, Failure> {
    let (active, now) = (Arc::clone(&frame.active), frame.now);
    let wanted = Wanted::parse(request.scope.as_deref())?;
    let invalid = |why: &'static str| Failure::from(Code::RefreshTokenInvalid.because(why));
    let token = RefreshToken::parse(&request.refresh_token);
    let token = token.ok_or_else(|| invalid("it is no refresh token"))?;
    for _ in 0..DECISIONS_MAX {
        let found = app.store.run(ReadSession(token.session())).await?;
        let (session, user) = found.ok_or_else(|| invalid("there is no such session"))?;
        frame.session(app, &session, &user);
        check_session(&session, &user, now)?;
        let (policy, provider) = still_allowed(&active, &session.policy, &session.provider, &user)?;
        let carried = SessionClaims::read(&session.carried)?;
        // Before the token is judged: only a session's own client can end it.
        client_context.admit_refresh(policy, carried.client_id.as_deref())?;
        let standing = password::standing(user.password, policy.spec.password.as_ref(), now);
        if standing.must_change || carried.scope == CHANGE_SCOPE {
            let why = "the password must be changed at a new sign-in";
            return Err(Code::PasswordChangeRequired.because(why).into());
        }
        let grace = lifetime(policy.spec.token.refresh_reuse_grace);
        let holder = frame.holder();
        let answer = Answer {
            policy,
            provider,
            session: &session,
            user: &user,
            standing,
            carried: &carried,
            wanted,
        };
        let reused = match judge(&token, &session, &holder, grace, now) {
            Presented::Reused => "it was rotated before: the session is ended",
            Presented::Elsewhere => {
                "it was rotated a moment ago from another network or program: the session is ended"
            }
            // The last answer was lost: the same one again, and nothing of the session to write.
            Presented::Superseded(live_token) => {
                app.record(frame.audit.noted(GRACE_USED, ""));
                app.metrics.refresh_grace();
                return answer.issue(app, &live_token, now);
            }
            Presented::Current => {
                let salt = app.random()?;
                let next = token.successor(&salt, &holder);
                let rotation = Rotation {
                    session: session.id,
                    expected_digest: session.refresh_digest,
                    new_digest: next.digest(),
                    refresh_expires_at: now
                        .saturating_add(lifetime(policy.spec.token.refresh_ttl))
                        .min(session.ends_at),
                    rotated: remember(&session, salt, grace, now),
                    now,
                    event: frame.audit.success(),
                };
                match app.store.run(rotation).await? {
                    RotationOutcome::Changed => continue,
                    RotationOutcome::Rotated => {}
                }
                return answer.issue(app, &next, now);
            }
        };
        let failure = Failure::from(Code::RefreshTokenReused.because(reused));
        let mut event = frame.audit.failure(&failure);
        event.kind = EventKind::Signout;
        let _was_live = app
            .store
            .run(EndSession {
                id: session.id,
                now,
                event,
            })
            .await?;
        return Err(failure);
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
    active: &'l ActiveConfig,
    policy: &str,
    provider: &str,
    user: &User,
) -> Result<(&'l Arc<ActivePolicy>, &'l Arc<ActiveProvider>), Failure> {
    if active.revision.is_none() {
        return Err(TryAgainReason::NotReady
            .after(1, "no configuration is served yet")
            .into());
    }
    if let Some(refused) = status_refusal(user.status) {
        return Err(refused.into());
    }
    let suspended = |why: &'static str| Failure::from(Code::ProviderSuspended.because(why));
    let policy = active
        .policy_of_key(policy)
        .ok_or_else(|| suspended("the session's policy is gone"))?;
    let provider = active
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

/// What the answer to a refresh is made from.
struct Answer<'a> {
    policy: &'a ActivePolicy,
    provider: &'a ActiveProvider,
    session: &'a Session,
    user: &'a User,
    standing: Standing,
    carried: &'a SessionClaims,
    wanted: Wanted,
}

impl Answer<'_> {
    fn issue(
        self,
        app: &App,
        refresh_token: &RefreshToken,
        now: i64,
    ) -> Result<LoginResponse, Failure> {
        let Self {
            policy,
            provider,
            session,
            user,
            standing,
            carried,
            wanted,
        } = self;
        let stamp = TokenTimes {
            now,
            jti: app.id(now)?,
            session: session.id,
            session_ends_at: session.ends_at,
        };
        let token = access_token(policy, &provider.spec, user, carried, wanted, stamp)?;
        let info = UserInfo::of(user, standing);
        Ok(LoginResponse::of_session(
            token,
            refresh_token,
            info,
            standing,
        ))
    }
}
