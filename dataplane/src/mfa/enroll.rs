//! Enrolling a factor: begin, confirm, list, remove.
//!
//! A user who has a factor enrols and removes others only with an account token behind which a
//! second factor stands. One who has none may enrol with any account token, or with a challenge
//! where its risk allows that; the sign-in is then complete. The user gets a mail about each
//! change, where the policy sends mail and the user has an address.

use std::sync::Arc;

use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;
use vestibule_crds::snapshot::Provider;

use crate::app::{App, Caller};
use crate::clock::rfc3339;
use crate::dto::{
    ConfirmRequest, EnrollRequest, Enrollment, EnrollmentConfirmed, EnrollmentInfo, Enrollments,
    LoginResponse,
};
use crate::factors::recovery;
use crate::factors::totp;
use crate::factors::webauthn::Owner;
use crate::failure::{Code, Failure};
use crate::flows::frame::Frame;
use crate::flows::issue::{SessionClaims, Wanted};
use crate::flows::mfa_requirement::can_be_enrolled;
use crate::flows::refresh::still_allowed;
use crate::flows::session::{Bearer, Opens, authenticate};
use crate::language::Language;
use crate::mfa::attempt::{Attempt, Open};
use crate::mfa::complete::{Proved, complete, holds_second_factor};
use crate::mfa::notice::Notice;
use crate::mfa::verify::{keys_of, no_key_yet};
use crate::runtime_config::ActivePolicy;
use vestibule_store::mfa::{
    ConfirmOutcome, Confirmation, Confirming, Enrollment as NewEnrollment, Factor, Factors, Proof,
    ReadFactors, Removal,
};
use vestibule_store::{EventKind, Session, User};

/// How long a factor waits to be confirmed.
const CONFIRM_SECONDS: i64 = 600;

/// Who enrols.
struct Enroller {
    user: User,
    factors: Factors,
    policy: Arc<ActivePolicy>,
    /// What the user is about to be known by.
    name: String,
    /// Present where a challenge is answered by it.
    open: Option<Open>,
}

pub async fn begin(
    app: &Arc<App>,
    method: MfaMethod,
    request: &EnrollRequest,
    caller: Caller<'_>,
) -> Result<Enrollment, Failure> {
    let mut attempt = Attempt::begin(app, caller, EventKind::MfaEnroll);
    let result = begin_story(app, method, request, &mut attempt).await;
    attempt.end(app, result)
}

async fn begin_story(
    app: &Arc<App>,
    method: MfaMethod,
    request: &EnrollRequest,
    attempt: &mut Attempt<'_>,
) -> Result<Enrollment, Failure> {
    let challenge = request.challenge_token.as_deref();
    let enroller = enroller(app, method, challenge, attempt).await?;
    match method {
        MfaMethod::Totp => begin_totp(app, enroller, request.name.clone(), attempt.now()).await,
        MfaMethod::Webauthn => {
            begin_webauthn(app, enroller, request.name.clone(), attempt.now()).await
        }
        MfaMethod::SmsOtp | MfaMethod::EmailOtp | MfaMethod::RecoveryCode => {
            Err(Code::MfaMethodUnavailable.into())
        }
    }
}

async fn begin_totp(
    app: &App,
    enroller: Enroller,
    name: Option<String>,
    now: i64,
) -> Result<Enrollment, Failure> {
    let keys = enroller.policy.sealing.as_ref().ok_or_else(no_key_yet)?;
    let id = app.id(now)?;
    let secret = totp::Secret::new(app.random()?);
    let associated = totp::associated(enroller.user.id, id);
    let factor = Factor {
        id,
        method: MfaMethod::Totp,
        name,
        secret: keys.seal(&associated, secret.bytes(), app.random()?),
        last_step: -1,
        created_at: now,
        last_used_at: None,
        expires_at: Some(now.saturating_add(CONFIRM_SECONDS)),
    };
    keep(app, enroller.user.id, factor).await?;
    let uri = secret.uri(site(&enroller.policy), &enroller.name);
    Ok(Enrollment {
        id: id.to_string(),
        method: MfaMethod::Totp.name(),
        secret: Some(secret.base32()),
        qr_svg: totp::qr_svg(&uri),
        otpauth_uri: Some(uri),
        options: None,
    })
}

async fn begin_webauthn(
    app: &App,
    enroller: Enroller,
    name: Option<String>,
    now: i64,
) -> Result<Enrollment, Failure> {
    let unavailable = |why: String| Failure::from(Code::MfaUnavailable.because(why));
    let site = enroller.policy.relying_party.as_ref();
    let site = site.ok_or_else(|| unavailable("there is no relying party".to_owned()))?;
    let owner = Owner {
        id: enroller.user.id,
        name: &enroller.name,
    };
    let (_, existing) = keys_of(&enroller.factors);
    let begun = site
        .begin_registration(owner, &existing)
        .map_err(|error| unavailable(error.to_string()))?;
    let id = app.id(now)?;
    let factor = Factor {
        id,
        method: MfaMethod::Webauthn,
        name,
        secret: begun.state,
        last_step: -1,
        created_at: now,
        last_used_at: None,
        expires_at: Some(now.saturating_add(CONFIRM_SECONDS)),
    };
    keep(app, enroller.user.id, factor).await?;
    Ok(Enrollment {
        id: id.to_string(),
        method: MfaMethod::Webauthn.name(),
        secret: None,
        otpauth_uri: None,
        qr_svg: None,
        options: Some(begun.options),
    })
}

async fn keep(app: &App, user: Uuid, factor: Factor) -> Result<(), Failure> {
    let kept = app.store.run(NewEnrollment { user, factor });
    if kept.await? {
        Ok(())
    } else {
        Err(Code::MfaMethodUnavailable
            .because("the user has as many factors as there may be")
            .into())
    }
}

/// What a person reads in an authenticator app.
fn site(policy: &ActivePolicy) -> &str {
    let issuer = policy.spec.token.issuer.as_str();
    let host = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    host.trim_end_matches('/')
}

/// What a confirmation answers.
#[derive(Debug)]
pub enum Confirmed {
    Enrolled(EnrollmentConfirmed),
    SignedIn(Box<LoginResponse>),
}

pub async fn confirm(
    app: &Arc<App>,
    method: MfaMethod,
    request: &ConfirmRequest,
    caller: Caller<'_>,
) -> Result<Confirmed, Failure> {
    let mut attempt = Attempt::begin(app, caller, EventKind::MfaEnroll);
    let result = confirm_story(app, method, request, &mut attempt).await;
    attempt.end(app, result)
}

async fn confirm_story(
    app: &Arc<App>,
    method: MfaMethod,
    request: &ConfirmRequest,
    attempt: &mut Attempt<'_>,
) -> Result<Confirmed, Failure> {
    let challenge = request.challenge_token.as_deref();
    let enroller = enroller(app, method, challenge, attempt).await?;
    let now = attempt.now();
    let wrong = |why: &'static str| Failure::from(Code::MfaCodeInvalid.because(why));
    let id: Option<Uuid> = request.id.parse().ok();
    let waiting = enroller.factors.all.iter().find(|factor| {
        Some(factor.id) == id
            && factor.method == method
            && factor.expires_at.is_some_and(|at| at > now)
    });
    let waiting = waiting.ok_or_else(|| wrong("no such factor waits to be confirmed"))?;
    let (step, secret) = match method {
        MfaMethod::Totp => {
            let keys = enroller.policy.sealing.as_ref().ok_or_else(no_key_yet)?;
            let associated = totp::associated(enroller.user.id, waiting.id);
            let secret = keys
                .open(&associated, &waiting.secret)
                .map_err(|error| Code::Internal.because(error.to_string()))?;
            let code = request.code.as_deref().unwrap_or_default();
            let step = totp::Secret::of_bytes(secret).step_of(code, now);
            (step.ok_or_else(|| wrong("totp"))?, None)
        }
        MfaMethod::Webauthn => {
            let site = enroller.policy.relying_party.as_ref();
            let site = site.ok_or_else(|| Failure::from(Code::MfaUnavailable))?;
            let answer = request.credential.as_ref();
            let answer = answer.ok_or_else(|| wrong("webauthn"))?;
            let credential = site
                .end_registration(&waiting.secret, answer)
                .map_err(|refused| Code::MfaCodeInvalid.because(refused.to_string()))?;
            // It has no steps: its state is used with the confirmation.
            (0, Some(credential.to_bytes()))
        }
        MfaMethod::SmsOtp | MfaMethod::EmailOtp | MfaMethod::RecoveryCode => {
            return Err(Code::MfaMethodUnavailable.into());
        }
    };
    let offers_recovery = enroller
        .policy
        .spec
        .mfa
        .methods
        .contains(&MfaMethod::RecoveryCode);
    let (codes, digests) = if offers_recovery {
        recovery::codes(&app.random()?)
    } else {
        (Vec::new(), Vec::new())
    };
    let confirmation = Confirmation {
        factor: waiting.id,
        step,
        secret,
        recovery_codes: digests,
    };
    let shown = (!codes.is_empty()).then_some(codes);
    let language = Language::of(attempt.frame.caller.headers);
    let notice = Notice::added(method, language);
    let Enroller {
        user, open, policy, ..
    } = enroller;
    if let Some(open) = open {
        let proved = Proved {
            method,
            proof: Proof::Enrolled(confirmation),
            tried: None,
            remember_device: false,
            wanted: Wanted::parse(request.scope.as_deref())?,
        };
        let signed_in = complete(app, attempt, open, proved).await?;
        notice.send(app, &policy, &user.profile, now);
        return Ok(Confirmed::SignedIn(Box::new(LoginResponse {
            recovery_codes: shown,
            ..signed_in
        })));
    }
    let confirming = Confirming {
        user: user.id,
        confirmation,
        event: attempt.frame.audit.success(),
        now,
    };
    match app.store.run(confirming).await? {
        ConfirmOutcome::Confirmed { first } => {
            notice.send(app, &policy, &user.profile, now);
            Ok(Confirmed::Enrolled(EnrollmentConfirmed {
                id: request.id.clone(),
                method: method.name(),
                recovery_codes: shown.filter(|_| first),
            }))
        }
        ConfirmOutcome::Gone => Err(wrong("the factor was confirmed or replaced meanwhile")),
    }
}

pub async fn list(app: &Arc<App>, caller: Caller<'_>) -> Result<Enrollments, Failure> {
    let mut frame = Frame::begin(app, EventKind::MfaEnroll, caller);
    let Bearer { user, .. } = authenticate(app, &mut frame, Opens::Account).await?;
    let factors = app.store.run(ReadFactors(user.id)).await?;
    let enrollments = factors.confirmed().map(|factor| EnrollmentInfo {
        id: factor.id.to_string(),
        method: factor.method.name(),
        name: factor.name.clone(),
        created_at: rfc3339(factor.created_at),
        last_used_at: factor.last_used_at.map(rfc3339),
    });
    Ok(Enrollments {
        enrollments: enrollments.collect(),
        recovery_codes_left: factors.recovery_codes_left,
    })
}

pub async fn remove(app: &Arc<App>, factor: Uuid, caller: Caller<'_>) -> Result<(), Failure> {
    let mut attempt = Attempt::begin(app, caller, EventKind::MfaRemove);
    let result = remove_story(app, factor, &mut attempt).await;
    attempt.end(app, result)
}

async fn remove_story(
    app: &Arc<App>,
    factor: Uuid,
    attempt: &mut Attempt<'_>,
) -> Result<(), Failure> {
    let bearer = authenticate(app, &mut attempt.frame, Opens::AccountChange).await?;
    let Bearer { session, user, .. } = bearer;
    let active = &attempt.frame.active;
    let (policy, provider) = still_allowed(active, &session.policy, &session.provider, &user)?;
    let factors = app.store.run(ReadFactors(user.id)).await?;
    let mut own = factors.confirmed();
    let Some(own) = own.find(|own| own.id == factor) else {
        return Err(Code::NotFound.into());
    };
    check_second_factor(&factors, &session, &provider.spec, attempt.now())?;
    let removal = Removal {
        user: user.id,
        factor,
        event: attempt.frame.audit.success(),
    };
    if app.store.run(removal).await? {
        let language = Language::of(attempt.frame.caller.headers);
        let notice = Notice::removed(own.method, language);
        notice.send(app, policy, &user.profile, attempt.now());
        Ok(())
    } else {
        Err(Code::NotFound.into())
    }
}

/// Who enrols, and whether that is allowed.
async fn enroller(
    app: &Arc<App>,
    method: MfaMethod,
    challenge: Option<&str>,
    attempt: &mut Attempt<'_>,
) -> Result<Enroller, Failure> {
    if let Some(text) = challenge {
        let open = attempt.find(app, text).await?;
        if open.offer.enrollable.is_empty() {
            return Err(Code::MfaUnavailable
                .because("nothing may be enrolled with this challenge")
                .into());
        }
        if !open.offer.enrollable.contains(&method) {
            return Err(Code::MfaMethodUnavailable.into());
        }
        let kept = match &open.kept.account {
            crate::flows::challenge::PendingAccount::Existing(profile) => profile.as_ref(),
            crate::flows::challenge::PendingAccount::Link(_) => None,
        };
        let profile = kept.unwrap_or(&open.user.profile);
        return Ok(Enroller {
            name: shown_name(profile, open.user.id),
            user: open.user.clone(),
            factors: open.factors.clone(),
            policy: Arc::clone(&open.policy),
            open: Some(open),
        });
    }
    let bearer = authenticate(app, &mut attempt.frame, Opens::AccountChange).await?;
    let Bearer { session, user, .. } = bearer;
    let active = &attempt.frame.active;
    let (policy, provider) = still_allowed(active, &session.policy, &session.provider, &user)?;
    let offered = policy.spec.mfa.methods.contains(&method) && can_be_enrolled(method);
    if !offered {
        return Err(Code::MfaMethodUnavailable.into());
    }
    let factors = app.store.run(ReadFactors(user.id)).await?;
    check_second_factor(&factors, &session, &provider.spec, attempt.now())?;
    Ok(Enroller {
        name: shown_name(&user.profile, user.id),
        policy: Arc::clone(policy),
        user,
        factors,
        open: None,
    })
}

/// A user with a factor changes factors only after having shown one.
fn check_second_factor(
    factors: &Factors,
    session: &Session,
    provider: &Provider,
    now: i64,
) -> Result<(), Failure> {
    if factors.confirmed().next().is_none() {
        return Ok(());
    }
    let carried = SessionClaims::read(&session.carried)?;
    if holds_second_factor(&carried.methods(provider, now)) {
        Ok(())
    } else {
        Err(Code::MfaRequired.into())
    }
}

fn shown_name(profile: &vestibule_store::Profile, user: Uuid) -> String {
    let name = profile.email.as_ref().or(profile.username.as_ref());
    name.cloned().unwrap_or_else(|| user.to_string())
}
