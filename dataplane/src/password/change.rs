//! One change of a local password: who asks, what is asked for, is the current one right, commit, issue.

use std::sync::Arc;

use vestibule_crds::secret::Secret;

use super::hashing::HashingError;
use super::{LocalPassword, standing};
use crate::account::status_refusal;
use crate::agent::device;
use crate::app::{App, Caller};
use crate::client_address::{client_address, network};
use crate::dto::{LoginResponse, PasswordRequest, UserInfo};
use crate::failure::{Code, Failure, Refused, TryAgainReason};
use crate::issue::{Carried, Stamp, access_token};
use crate::limits::of_address;
use crate::live::Live;
use crate::refresh::still_allowed;
use crate::refresh_token::RefreshToken;
use crate::session::{Opens, authenticate_for};
use crate::signin::{FULL_SCOPE, new_session};
use crate::store::passwords::{ChangeOutcome, ChangePassword, ChangedBy, PasswordTry};
use crate::store::{EventKind, User};
use crate::trail::Trail;

/// Shortest password (NIST SP 800-63B-4, section 3.1.1.2, for one that is not the only factor).
pub const CHARS_MIN: usize = 8;
/// Longest, so that nobody has a book hashed.
pub const BYTES_MAX: usize = 256;

pub async fn change(
    app: &Arc<App>,
    request: PasswordRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let now = app.clock.now();
    let live = app.serving.live();
    let client = client_address(caller.peer, caller.headers, &live.trusted_proxies);
    let mut trail = Trail::new(
        EventKind::PasswordChange,
        now,
        caller.request_id,
        network(client),
    );
    let result = match app.check_address(client, live.failures_per_minute, now) {
        Err(limited) => Err(limited),
        Ok(()) => run(app, &live, request, caller, &mut trail, now).await,
    };
    if let Err(failure) = &result {
        if let Failure::Refused(_) = failure {
            let _over = app
                .failures
                .count(of_address(client), live.failures_per_minute, now);
        }
        app.record(trail.failure(failure));
    }
    result
}

async fn run(
    app: &Arc<App>,
    live: &Live,
    request: PasswordRequest,
    caller: Caller<'_>,
    trail: &mut Trail,
    now: i64,
) -> Result<LoginResponse, Failure> {
    let (session, user) = authenticate_for(app, caller.headers, Opens::PasswordChange).await?;
    trail.of_session(&session, &user);
    let (policy, _provider) = still_allowed(live, &session.policy, &session.provider, &user)?;
    let key = policy.current_key()?;
    let PasswordRequest {
        current_password: current,
        new_password: new,
    } = request;
    check_new(&new, current.as_ref(), &user)?;
    let stored = app.store.password_hash(user.id).await?;
    if let Some(stored) = &stored {
        let current =
            current.ok_or_else(|| Code::CurrentPasswordRequired.because("it is not sent"))?;
        check_current(app, current, stored, &user, now).await?;
    }
    let hash = app.hashing_passwords.hash(new, app.random()?).await;
    let hash = hash.map_err(unhashed)?;

    let mut carried = Carried::read(&session.carried)?;
    FULL_SCOPE.clone_into(&mut carried.scope);
    let refresh = RefreshToken::first(now, app.random()?);
    // The new one takes the other's place, at the provider as well.
    let (from, origin) = (device(caller.headers), session.origin);
    let provider = &session.provider;
    let next = new_session(policy, provider, &refresh, &carried, from, origin, now)?;
    let ends_at = next.ends_at;
    trail.session_id = Some(refresh.session());
    let change = ChangePassword {
        user: user.id,
        by: ChangedBy::User {
            hash: stored,
            session: session.id,
            next: Box::new(next),
        },
        hash,
        must_change: false,
        event: trail.success(),
        now,
    };
    match app.store.change_password(change).await? {
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
    let standing = standing(Some(changed), &policy.spec.password, now);
    let stamp = Stamp {
        now,
        jti: app.id(now)?,
        session: refresh.session(),
    };
    let token = access_token(policy, key, &user, &carried, stamp, ends_at)?;
    let info = UserInfo::of(&user, standing);
    Ok(LoginResponse::of_session(token, &refresh, info, standing))
}

/// A try counts before it is looked at, so that a thousand at once are no more than one after the other.
async fn check_current(
    app: &App,
    current: Secret,
    stored: &Secret,
    user: &User,
    now: i64,
) -> Result<(), Failure> {
    let wrong = || Code::PasswordInvalid.because("the current password is another");
    match app.store.count_password_try(user.id, now).await? {
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

/// What holds for every new password, whoever sets it.
pub fn check_text(new: &Secret) -> Result<(), &'static str> {
    let text = new.expose();
    if text.chars().count() < CHARS_MIN {
        Err("it has less than 8 characters")
    } else if text.len() > BYTES_MAX {
        Err("it is longer than 256 bytes")
    } else {
        Ok(())
    }
}

fn unhashed(error: HashingError) -> Failure {
    match error {
        HashingError::Busy => TryAgainReason::Busy.after(1, error.to_string()).into(),
        HashingError::Failed => Code::Internal.because(error.to_string()).into(),
    }
}
