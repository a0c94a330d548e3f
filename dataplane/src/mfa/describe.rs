//! What a challenge can be answered with, and what a method needs before it can be: `POST /auth/mfa/challenge`.

use std::sync::Arc;

use vestibule_crds::signin_policy::MfaMethod;

use super::attempt::{Attempt, Open};
use super::verify::chosen;
use crate::app::{App, Caller};
use crate::dto::{ChallengeInfo, ChallengeRequest};
use crate::failure::Failure;
use crate::store::EventKind;

pub async fn describe(
    app: &Arc<App>,
    request: &ChallengeRequest,
    caller: Caller<'_>,
) -> Result<ChallengeInfo, Failure> {
    let mut attempt = Attempt::begin(app, caller, EventKind::MfaSend);
    let result = story(app, request, &mut attempt).await;
    attempt.end(app, result)
}

async fn story(
    app: &Arc<App>,
    request: &ChallengeRequest,
    attempt: &mut Attempt,
) -> Result<ChallengeInfo, Failure> {
    attempt.check_failures(app)?;
    let open = attempt.find(app, &request.challenge_token).await?;
    let expires_in = open.challenge.expires_at.saturating_sub(attempt.now);
    let Some(name) = &request.method else {
        return Ok(described(&open, expires_in));
    };
    let method = chosen(&open, name)?;
    Ok(ChallengeInfo {
        method: Some(method.name()),
        methods: None,
        enrollable: None,
        origins: None,
        sent_to: None,
        options: None,
        expires_in,
    })
}

fn described(open: &Open, expires_in: i64) -> ChallengeInfo {
    let names = |methods: &[MfaMethod]| Some(methods.iter().map(|method| method.name()).collect());
    let site = open.policy.spec.mfa.webauthn.as_ref();
    ChallengeInfo {
        method: None,
        methods: names(&open.offer.methods),
        enrollable: names(&open.offer.enrollable),
        origins: Some(site.map(|site| site.origins.clone()).unwrap_or_default()),
        sent_to: None,
        options: None,
        expires_in,
    }
}
