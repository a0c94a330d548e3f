//! What a local access token opens here: who one is, and the end of one's session.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;
use uuid::Uuid;
use vestibule_crds::verification_key::Lookup;

use crate::app::{App, Caller};
use crate::clock::lifetime;
use crate::dto::UserInfo;
use crate::failure::{Code, Failure, Refused};
use crate::flows::account::status_refusal;
use crate::flows::client::{Admission, ClientContext};
use crate::flows::frame::Frame;
use crate::flows::issue::{SessionClaims, is_recent};
use crate::password;
use crate::protocol::ACCOUNT_SCOPE;
use crate::protocol::CHANGE_SCOPE;
use crate::refresh_token::RefreshToken;
use crate::runtime_config::{ActiveConfig, ActivePolicy};
use vestibule_idtoken::token::UnverifiedToken;
use vestibule_store::{EndSession, EventKind, ReadSession, Session, User};

/// How far the clock of a provider that says when a user authenticated may be ahead.
const AUTH_TIME_SKEW_SECONDS: i64 = 60;

pub async fn userinfo(app: &Arc<App>, caller: Caller<'_>) -> Result<UserInfo, Failure> {
    let mut frame = Frame::begin(app, EventKind::Signout, caller);
    let Bearer { user, policy, .. } = authenticate(app, &mut frame, Opens::Services).await?;
    let standing = password::standing(user.password, policy.spec.password.as_ref(), frame.now);
    Ok(UserInfo::of(&user, standing))
}

pub async fn signout(app: &Arc<App>, caller: Caller<'_>) -> Result<(), Failure> {
    let mut frame = Frame::begin(app, EventKind::Signout, caller);
    let Bearer { session, .. } = authenticate(app, &mut frame, Opens::Services).await?;
    let ending = app.store.run(EndSession {
        id: session.id,
        now: frame.now,
        event: frame.audit.success(),
    });
    let _was_live = ending.await?;
    Ok(())
}

/// Ends the session of a refresh or access token. A token that is not valid has no session to end:
/// that is no error (RFC 7009, section 2.2).
pub async fn revoke(app: &Arc<App>, token: &str, caller: Caller<'_>) -> Result<(), Failure> {
    revoke_at(app, &ClientContext::Api, token, caller).await
}

/// The same in any client context.
pub(crate) async fn revoke_at(
    app: &Arc<App>,
    client_context: &ClientContext<'_>,
    token: &str,
    caller: Caller<'_>,
) -> Result<(), Failure> {
    let mut frame = Frame::begin(app, EventKind::Signout, caller);
    let session = match RefreshToken::parse(token) {
        Some(refresh) => {
            let found = app.store.run(ReadSession(refresh.session())).await?;
            // Only a token that the session knows: its family id alone is no proof.
            found.filter(|(session, _)| {
                let digest = refresh.digest();
                session.refresh_digest == digest
                    || session.rotated.iter().any(|past| past.digest == digest)
            })
        }
        None => match verify_access_token(&frame.active, token, frame.now) {
            Ok(presented) => session_of(app, &presented).await?,
            Err(_) => None,
        },
    };
    let Some((session, user)) = session else {
        return Ok(());
    };
    match client_context.admit_revocation(&frame.active, &session)? {
        Admission::Admitted => {}
        Admission::Unknown => return Ok(()),
    }
    frame.session(app, &session, &user);
    frame.audit.client = client_context.client_id().map(str::to_owned);
    let ending = app.store.run(EndSession {
        id: session.id,
        now: frame.now,
        event: frame.audit.success(),
    });
    let _was_live = ending.await?;
    Ok(())
}

/// What a token is presented for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// Who one is, and the end of one's own session: any token but one that only changes the
    /// password.
    Services,
    /// A read of the own account: an account token.
    Account,
    /// A change of the own account: an account token of a user who authenticated recently.
    AccountChange,
    /// A new password: as a change, or a token that opens nothing else.
    PasswordChange,
}

/// The active session and user of a request's Bearer token (RFC 6750).
#[derive(Debug)]
pub(crate) struct Bearer {
    pub(crate) session: Session,
    pub(crate) user: User,
    pub(crate) policy: Arc<ActivePolicy>,
}

/// Key, issuer, subject, session and user of the token must be of one policy, and the token must
/// open what it is presented for.
pub(crate) async fn authenticate(
    app: &Arc<App>,
    frame: &mut Frame<'_>,
    opens: Opens,
) -> Result<Bearer, Failure> {
    let invalid = |why: &'static str| Failure::from(Code::AccessTokenInvalid.because(why));
    let token = bearer(frame.caller.headers).ok_or_else(|| invalid("no Bearer token"))?;
    let now = frame.now;
    let presented = verify_access_token(&frame.active, token, now)
        .map_err(|why| Code::AccessTokenInvalid.because(why))?;
    if presented.only_changes_password && opens != Opens::PasswordChange {
        return Err(Code::PasswordChangeRequired
            .because("the token is for changing the password alone")
            .into());
    }
    let found = session_of(app, &presented).await?;
    let (session, user) = found.ok_or_else(|| invalid("there is no such session"))?;
    frame.session(app, &session, &user);
    if is_over(&session, &user, now) {
        return Err(invalid("the session is over"));
    }
    if let Some(refused) = status_refusal(user.status) {
        return Err(refused.into());
    }
    let policy = Arc::clone(&presented.policy);
    let bearer = Bearer {
        session,
        user,
        policy,
    };
    let only_changes_password = presented.only_changes_password;
    match opens {
        Opens::Services => {}
        Opens::PasswordChange if only_changes_password => {}
        Opens::Account => presented.check_account()?,
        Opens::AccountChange | Opens::PasswordChange => {
            presented.check_account()?;
            check_recent(&bearer, now)?;
        }
    }
    Ok(bearer)
}

/// Changes of the own account want a recent authentication (RFC 9470).
pub(crate) fn check_recent(bearer: &Bearer, now: i64) -> Result<(), Failure> {
    let carried = SessionClaims::read(&bearer.session.carried)?;
    let age_max = lifetime(bearer.policy.spec.max_auth_age);
    let recent = carried
        .auth_time
        .is_some_and(|at| is_recent(at, age_max, AUTH_TIME_SKEW_SECONDS, now));
    if recent {
        Ok(())
    } else {
        let audit = "the user authenticated too long ago, or the provider does not say when";
        let mut refused = Code::InsufficientUserAuthentication.because(audit);
        refused.max_age = Some(age_max);
        Err(refused.into())
    }
}

/// Whether a session takes no access token any more; a refresh token is held to more.
pub(crate) fn is_over(session: &Session, user: &User, now: i64) -> bool {
    session.ended_at.is_some()
        || now >= session.ends_at
        || session.created_at < user.sessions_valid_from
}

/// The session that a token names, if it is of the policy whose key signed the token, and of the
/// user that it names: the holder of one policy's key opens no session of another.
pub(crate) async fn session_of(
    app: &App,
    presented: &PresentedToken,
) -> Result<Option<(Session, User)>, Failure> {
    let found = app.store.run(ReadSession(presented.session)).await?;
    Ok(found.filter(|(session, user)| {
        let policy = &presented.policy.key;
        session.policy == *policy && user.policy == *policy && user.id == presented.user
    }))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// One of our own access tokens, verified.
#[derive(Debug)]
pub(crate) struct PresentedToken {
    pub(crate) session: Uuid,
    pub(crate) user: Uuid,
    pub(crate) only_changes_password: bool,
    /// Whose key signed it.
    pub(crate) policy: Arc<ActivePolicy>,
    pub(crate) claims: Value,
}

impl PresentedToken {
    /// Whether it is for the own account, and for this service alone (RFC 9068, section 4).
    fn check_account(&self) -> Result<(), Refused> {
        let claim = |name: &str| self.claims.get(name).and_then(Value::as_str);
        let mut scopes = claim("scope").unwrap_or_default().split(' ');
        let issuer = self.policy.spec.token.issuer.as_str();
        if scopes.any(|scope| scope == ACCOUNT_SCOPE) && claim("aud") == Some(issuer) {
            Ok(())
        } else {
            Err(Code::InsufficientUserAuthentication.because("it is no account token"))
        }
    }
}

/// What one of our own access tokens says (RFC 9068, section 4).
pub(crate) fn verify_access_token(
    active: &ActiveConfig,
    text: &str,
    now: i64,
) -> Result<PresentedToken, String> {
    let token = UnverifiedToken::parse(text).map_err(|malformed| malformed.to_string())?;
    if token.jws.header.typ.as_deref() != Some("at+jwt") {
        return Err("its type is not at+jwt".to_owned());
    }
    let policy = active
        .policy_of_issuer(&token.issuer)
        .ok_or("its issuer is no policy of ours")?;
    let kid = token.jws.header.kid.as_deref().unwrap_or_default();
    let key = policy.key_of(kid).ok_or("its key is none of ours")?;
    if token.jws.header.algorithm != Some(key.signing.algorithm) {
        return Err("its algorithm is not its key's".to_owned());
    }
    let verified = match key.public.find(Some(kid), key.signing.algorithm) {
        Lookup::Found(public) => {
            public.verify_sig(token.jws.signing_input.as_bytes(), &token.jws.signature)
        }
        Lookup::AlgorithmMismatch | Lookup::Unknown => {
            return Err("its key cannot verify".to_owned());
        }
    };
    verified.map_err(|_| "its signature does not verify")?;
    if now >= token.expires_at {
        return Err("it has expired".to_owned());
    }
    let claim = |name: &str| token.claims.get(name).and_then(Value::as_str);
    let session = claim("sid").and_then(|sid| sid.parse().ok());
    let user = token.subject.parse().map_err(|_| "it names no user")?;
    Ok(PresentedToken {
        session: session.ok_or("it names no session")?,
        user,
        only_changes_password: claim("scope") == Some(CHANGE_SCOPE),
        policy: Arc::clone(policy),
        claims: token.claims,
    })
}
