//! One answer to a challenge: find, choose, count, prove, complete.
//!
//! The try is counted, for the challenge and for the user, before the answer is checked.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use crate::app::{App, Caller};
use crate::dto::{LoginResponse, VerifyRequest};
use crate::factors::recovery;
use crate::factors::totp;
use crate::factors::webauthn::{Assertion, Counter, Credential};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::flows::issue::Wanted;
use crate::mfa::attempt::{Attempt, Open, invalid, locked};
use crate::mfa::complete::{Proved, complete};
use crate::mfa::pending::Pending;
use vestibule_store::EventKind;
use vestibule_store::attempts::{Tried, TryLimits};
use vestibule_store::mfa::{Factors, Proof, Try, TryOutcome};

pub async fn verify(
    app: &Arc<App>,
    request: &VerifyRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let mut attempt = Attempt::begin(app, caller, EventKind::MfaVerify);
    let result = answer(app, request, &mut attempt).await;
    let method = MfaMethod::named(&request.method);
    app.metrics.verification(method, result.as_ref().err());
    attempt.end(app, result)
}

async fn answer(
    app: &Arc<App>,
    request: &VerifyRequest,
    attempt: &mut Attempt<'_>,
) -> Result<LoginResponse, Failure> {
    let open = attempt.find(app, &request.challenge_token).await?;
    let method = chosen(&open, &request.method)?;
    let attempts = &open.policy.spec.mfa.attempts;
    let wanted = Wanted::parse(request.scope.as_deref())?;
    let guesses = Some(method).filter(|method| can_be_guessed(*method));
    let tried = app.store.run(Try {
        user: open.user.id,
        challenge: open.token.digest(),
        limits: TryLimits {
            per_challenge: attempts.per_challenge,
            per_15m: attempts.per_15m,
            per_day: attempts.per_day,
        },
        guesses,
        takes_pending: method == MfaMethod::Webauthn,
        now: attempt.now(),
    });
    let pending = match tried.await? {
        TryOutcome::Counted(pending) => pending.as_deref().and_then(Pending::decode),
        TryOutcome::Gone => return Err(invalid("its tries are used up, or it was answered")),
        TryOutcome::Locked(seconds) => return Err(locked(method, seconds)),
    };
    let code = request.code.as_deref().unwrap_or_default();
    let now = attempt.now();
    let proof = match method {
        MfaMethod::Totp => prove_totp(&open, code, now)?,
        MfaMethod::RecoveryCode => recovery::digest(code).map(Proof::RecoveryCode),
        MfaMethod::SmsOtp | MfaMethod::EmailOtp => {
            let right = pending.is_some_and(|pending| pending.is(method, &open.token, code, now));
            right.then_some(Proof::SentCode)
        }
        MfaMethod::Webauthn => {
            let answer = request.credential.as_ref();
            let state = pending.and_then(|pending| pending.state(now));
            answer
                .zip(state)
                .and_then(|(answer, state)| prove_key(app, &open, attempt, &state, answer))
        }
    };
    let proof = proof.ok_or_else(|| Code::MfaCodeInvalid.because(method.name()))?;
    let proved = Proved {
        method,
        proof,
        tried: guesses.map(|method| Tried { method, at: now }),
        remember_device: request.remember_device,
        wanted,
    };
    complete(app, attempt, open, proved).await
}

/// Whether wrong answers must be bounded: six digits can be guessed, a signature or 80 bits cannot.
const fn can_be_guessed(method: MfaMethod) -> bool {
    match method {
        MfaMethod::Totp | MfaMethod::SmsOtp | MfaMethod::EmailOtp => true,
        MfaMethod::Webauthn | MfaMethod::RecoveryCode => false,
    }
}

/// The method that the challenge can be answered with.
pub(super) fn chosen(open: &Open, name: &str) -> Result<MfaMethod, Failure> {
    let method = MfaMethod::named(name);
    let method = method.filter(|method| open.offer.methods.contains(method));
    method.ok_or_else(|| Code::MfaMethodUnavailable.into())
}

/// None where the answer proves nothing, here and below.
fn prove_totp(open: &Open, code: &str, now: i64) -> Result<Option<Proof>, Failure> {
    let keys = open.policy.sealing.as_ref().ok_or_else(no_key_yet)?;
    let mut factors = open.factors.confirmed();
    let proof = factors.find_map(|factor| {
        if factor.method != MfaMethod::Totp {
            return None;
        }
        let associated = totp::associated(open.user.id, factor.id);
        let secret = keys.open(&associated, &factor.secret);
        let secret = secret.inspect_err(|error| {
            tracing::warn!(factor.id = %factor.id, "the secret of a factor cannot be opened: {error}");
        });
        let step = totp::Secret::of_bytes(secret.ok()?).step_of(code, now)?;
        Some(Proof::Step {
            factor: factor.id,
            step,
        })
    });
    Ok(proof)
}

fn prove_key(
    app: &App,
    open: &Open,
    attempt: &Attempt<'_>,
    state: &[u8],
    answer: &Value,
) -> Option<Proof> {
    let site = open.policy.relying_party.as_ref()?;
    let (factors, credentials) = keys_of(&open.factors);
    let used = site.end_authentication(state, &credentials, answer);
    let Assertion {
        credential,
        counter,
    } = used
        .inspect_err(|refused| tracing::debug!("a key was refused: {refused}"))
        .ok()?;
    let mut pairs = factors.iter().zip(&credentials);
    let (factor, _) = pairs.find(|(_, known)| known.id() == credential.id())?;
    if counter == Counter::Regressed {
        app.record(attempt.frame.audit.noted("counter_regressed", ""));
    }
    Some(Proof::Credential {
        factor: *factor,
        secret: credential.to_bytes(),
    })
}

/// The user's keys, with the ids of their factors.
pub(super) fn keys_of(factors: &Factors) -> (Vec<Uuid>, Vec<Credential>) {
    let keys = factors
        .confirmed()
        .filter(|factor| factor.method == MfaMethod::Webauthn);
    keys.filter_map(|factor| Some((factor.id, Credential::from_bytes(&factor.secret)?)))
        .unzip()
}

pub(super) fn no_key_yet() -> Failure {
    TryAgainReason::NotReady
        .after(1, "the policy has no encryption key yet")
        .into()
}
