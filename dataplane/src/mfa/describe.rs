//! What a challenge can be answered with, and what a method needs before it can be:
//! `POST /auth/mfa/challenge`.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;
use vestibule_crds::signin_policy::MfaMethod;

use super::attempt::{Attempt, Open};
use super::pending::Pending;
use super::send::{send, wait};
use super::verify::{chosen, keys_of};
use crate::app::{App, Caller};
use crate::dto::{ChallengeInfo, ChallengeRequest};
use crate::failure::{Code, Failure};
use crate::language::Language;
use vestibule_store::EventKind;

pub async fn describe(
    app: &Arc<App>,
    request: &ChallengeRequest,
    caller: Caller<'_>,
) -> Result<ChallengeInfo, Failure> {
    let mut attempt = Attempt::begin(app, caller, EventKind::MfaSend);
    let result = story(app, request, caller.headers, &mut attempt).await;
    attempt.end(app, result)
}

async fn story(
    app: &Arc<App>,
    request: &ChallengeRequest,
    headers: &HeaderMap,
    attempt: &mut Attempt<'_>,
) -> Result<ChallengeInfo, Failure> {
    let open = attempt.find(app, &request.challenge_token).await?;
    let expires_in = open.challenge.expires_at.saturating_sub(attempt.now());
    let Some(name) = &request.method else {
        return Ok(described(&open, expires_in, Language::of(headers)));
    };
    let method = chosen(&open, name)?;
    let mut info = ChallengeInfo {
        method: Some(method.name()),
        methods: None,
        enrollable: None,
        origins: None,
        mfa_check_reason: None,
        sent_to: None,
        options: None,
        expires_in,
    };
    match method {
        MfaMethod::Totp | MfaMethod::RecoveryCode => {}
        MfaMethod::EmailOtp | MfaMethod::SmsOtp => {
            let language = Language::of(headers);
            let sent = send(app, attempt, &open, method, language).await?;
            info.sent_to = Some(sent.to);
            info.expires_in = sent.expires_in;
        }
        MfaMethod::Webauthn => {
            info.options = Some(begin_ceremony(app, &open, attempt.now()).await?);
        }
    }
    Ok(info)
}

async fn begin_ceremony(app: &App, open: &Open, now: i64) -> Result<Value, Failure> {
    let unavailable = |why: String| Failure::from(Code::MfaUnavailable.because(why));
    let site = open.policy.relying_party.as_ref();
    let site = site.ok_or_else(|| unavailable("there is no relying party".to_owned()))?;
    let (_, credentials) = keys_of(&open.factors);
    let begun = site
        .begin_authentication(&credentials)
        .map_err(|error| unavailable(error.to_string()))?;
    let pending = Pending::ceremony(&begun.state, open.challenge.expires_at);
    wait(app, open, &pending, None, now).await?;
    Ok(begun.options)
}

fn described(open: &Open, expires_in: i64, language: Language) -> ChallengeInfo {
    let names = |methods: &[MfaMethod]| Some(methods.iter().map(|method| method.name()).collect());
    let site = open.policy.spec.mfa.webauthn.as_ref();
    ChallengeInfo {
        method: None,
        methods: names(&open.offer.methods),
        enrollable: names(&open.offer.enrollable),
        origins: Some(site.map(|site| site.origins.clone()).unwrap_or_default()),
        mfa_check_reason: Some(open.kept.reason(language)),
        sent_to: None,
        options: None,
        expires_in,
    }
}
