//! One change of a local password: who asks, what is asked for, is the current one right, commit,
//! issue.

use std::sync::Arc;

use vestibule_crds::secret::Secret;

use crate::agent::device;
use crate::app::{App, Caller};
use crate::dto::{LoginResponse, PasswordRequest, UserInfo};
use crate::failure::{Code, Failure, Refused, TryAgainReason};
use crate::flows::account::status_refusal;
use crate::flows::client::ClientContext;
use crate::flows::frame::Frame;
use crate::flows::issue::{SessionClaims, TokenTimes, Wanted, access_token};
use crate::flows::refresh::still_allowed;
use crate::flows::session::{Bearer, Opens, authenticate};
use crate::flows::signin::{OpenSession, session_end};
use crate::password::hashing::HashingError;
use crate::password::{BYTES_MAX, check_text, standing};
use crate::protocol::FULL_SCOPE;
use crate::refresh_token::RefreshToken;
use vestibule_store::LocalPassword;
use vestibule_store::passwords::{
    ChangeOutcome, ChangePassword, ChangedBy, CountPasswordTry, PasswordTry, ReadPasswordHash,
};
use vestibule_store::{EventKind, User};

pub async fn change(
    app: &Arc<App>,
    request: PasswordRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let mut frame = Frame::begin(app, EventKind::PasswordChange, caller);
    let result = run(app, &mut frame, request).await;
    frame.end(app, result)
}

async fn run(
    app: &Arc<App>,
    frame: &mut Frame<'_>,
    request: PasswordRequest,
) -> Result<LoginResponse, Failure> {
    let (active, now) = (Arc::clone(&frame.active), frame.now);
    let bearer = authenticate(app, frame, Opens::PasswordChange).await?;
    let Bearer { session, user, .. } = bearer;
    let (policy, provider) = still_allowed(&active, &session.policy, &session.provider, &user)?;
    if policy.spec.password.is_none() {
        let audit = "spec.password is not set in the policy";
        return Err(Code::PasswordUnavailable.because(audit).into());
    }
    let mut carried = SessionClaims::read(&session.carried)?;
    ClientContext::Api.admit_session(policy, carried.client_id.as_deref())?;
    let PasswordRequest {
        current_password: current,
        new_password: new,
    } = request;
    check_new(&new, current.as_ref(), &user)?;
    let stored = app.store.run(ReadPasswordHash(user.id)).await?;
    if let Some(stored) = &stored {
        let current =
            current.ok_or_else(|| Code::CurrentPasswordRequired.because("it is not sent"))?;
        check_current(app, current, stored, &user, now).await?;
    }
    let hash = app.hashing_passwords.hash(new, app.random()?).await;
    let hash = hash.map_err(unhashed)?;

    FULL_SCOPE.clone_into(&mut carried.scope);
    let refresh = RefreshToken::first(now, app.random()?);
    // The new one takes the other's place, at the provider as well, and ends no later.
    let next = OpenSession {
        policy,
        provider: &session.provider,
        refresh: &refresh,
        carried: &carried,
        device: device(frame.caller.headers),
        origin: session.origin,
        ends_at: session_end(policy, now).min(session.ends_at),
        now,
    };
    let next = next.new_session()?;
    let ends_at = next.ends_at;
    frame.audit.session_id = Some(refresh.session());
    let change = ChangePassword {
        user: user.id,
        by: ChangedBy::User {
            hash: stored,
            session: session.id,
            next: Box::new(next),
        },
        hash,
        must_change: false,
        event: frame.audit.success(),
        now,
    };
    match app.store.run(change).await? {
        ChangeOutcome::Changed => {}
        ChangeOutcome::Gone => {
            return Err(Code::AccessTokenInvalid
                .because("the session ended, or the password changed, meanwhile")
                .into());
        }
        ChangeOutcome::UserNotActive(status) => {
            let refused = status_refusal(status);
            return Err(refused.map_or(Code::Internal.into(), Failure::from));
        }
    }
    let changed = LocalPassword {
        changed_at: now,
        must_change: false,
    };
    let standing = standing(Some(changed), policy.spec.password.as_ref(), now);
    let stamp = TokenTimes {
        now,
        jti: app.id(now)?,
        session: refresh.session(),
        session_ends_at: ends_at,
    };
    let spec = &provider.spec;
    let token = access_token(policy, spec, &user, &carried, Wanted::Services, stamp)?;
    let info = UserInfo::of(&user, standing);
    Ok(LoginResponse::of_session(token, &refresh, info, standing))
}

/// A try counts before it is verified, so that a thousand at once are no more than one after the
/// other.
async fn check_current(
    app: &App,
    current: Secret,
    stored: &Secret,
    user: &User,
    now: i64,
) -> Result<(), Failure> {
    let wrong = || Code::PasswordInvalid.because("the current password does not match");
    match app
        .store
        .run(CountPasswordTry { user: user.id, now })
        .await?
    {
        PasswordTry::Counted => {}
        PasswordTry::Locked(seconds) => {
            return Err(TryAgainReason::PasswordLocked
                .after(seconds, "too many wrong passwords of this user")
                .into());
        }
        PasswordTry::Gone => return Err(wrong().into()),
    }
    if current.expose().len() > BYTES_MAX {
        return Err(wrong().into());
    }
    let verified = app.hashing_passwords.verify(current, stored.clone()).await;
    if verified.map_err(unhashed)? {
        Ok(())
    } else {
        Err(wrong().into())
    }
}

fn check_new(new: &Secret, current: Option<&Secret>, user: &User) -> Result<(), Refused> {
    check_text(new).map_err(|why| Code::PasswordNotAcceptable.because(why))?;
    let profile = &user.profile;
    let is_name = [&profile.username, &profile.email]
        .into_iter()
        .flatten()
        .any(|name| name.eq_ignore_ascii_case(new.expose()));
    if is_name {
        return Err(Code::PasswordNotAcceptable.because("it is the user's name or address"));
    }
    if current == Some(new) {
        return Err(Code::PasswordNotAcceptable.because("it is the current one"));
    }
    Ok(())
}

fn unhashed(error: HashingError) -> Failure {
    match error {
        HashingError::Busy => TryAgainReason::Busy.after(1, error.to_string()).into(),
        HashingError::Failed => Code::Internal.because(error.to_string()).into(),
    }
}
