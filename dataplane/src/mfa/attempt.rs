//! What every request about a second factor does around its own story: the address is held to its
//! failures, and how it ended is in the audit event.

use std::sync::Arc;

use vestibule_crds::signin_policy::MfaMethod;

use crate::agent::device;
use crate::app::{App, Caller};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::flows::challenge::{ChallengeToken, PendingSignin};
use crate::flows::client::ClientContext;
use crate::flows::frame::Frame;
use crate::flows::mfa_requirement::{Contact, Offer, offer};
use crate::flows::refresh::still_allowed;
use crate::runtime_config::{ActivePolicy, ActiveProvider};
use vestibule_store::mfa::{Challenge, Factors, FoundChallenge, ReadChallenge};
use vestibule_store::{EventKind, User};

pub(super) struct Attempt<'c> {
    pub(super) frame: Frame<'c>,
    /// What asks, in words for people.
    pub(super) device: Option<String>,
}

/// A challenge that can be answered, with all that may have changed since it was opened.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) token: ChallengeToken,
    pub(super) challenge: Challenge,
    pub(super) kept: PendingSignin,
    pub(super) user: User,
    pub(super) factors: Factors,
    pub(super) policy: Arc<ActivePolicy>,
    pub(super) provider: Arc<ActiveProvider>,
    /// How it can be answered now.
    pub(super) offer: Offer,
}

impl<'c> Attempt<'c> {
    pub(super) fn begin(app: &App, caller: Caller<'c>, kind: EventKind) -> Self {
        Self {
            frame: Frame::begin(app, kind, caller),
            device: device(caller.headers),
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.frame.now
    }

    pub(super) fn end<T>(self, app: &App, result: Result<T, Failure>) -> Result<T, Failure> {
        self.frame.end(app, result)
    }

    /// The challenge of this token, if it can still be answered: user, provider and policy are
    /// checked again.
    pub(super) async fn find(&mut self, app: &App, text: &str) -> Result<Open, Failure> {
        let token =
            ChallengeToken::parse(text).ok_or_else(|| invalid("it is no challenge token"))?;
        let found = app.store.run(ReadChallenge(token.digest())).await?;
        let FoundChallenge {
            challenge,
            user,
            factors,
        } = found.ok_or_else(|| invalid("there is no such challenge"))?;
        let kept: PendingSignin = serde_json::from_str(&challenge.content)
            .map_err(|_| Code::Internal.because("the sign-in that was kept cannot be read"))?;
        let active = Arc::clone(&self.frame.active);
        if let Some(policy) = active.policy_of_key(&kept.policy) {
            self.frame.policy(app, policy, &challenge.provider);
            self.frame.suspect(kept.identity());
        }
        let (audit, now) = (&mut self.frame.audit, self.frame.now);
        audit.user_id = Some(user.id);
        audit.policy.clone_from(&kept.policy);
        audit.provider.clone_from(&challenge.provider);
        audit.assessment.clone_from(&kept.assessment);
        if user.policy != kept.policy {
            return Err(invalid("it is a challenge of another policy"));
        }
        if challenge.consumed_at.is_some() {
            return Err(invalid("it was answered already"));
        }
        if now >= challenge.expires_at || challenge.created_at < user.sessions_valid_from {
            return Err(invalid("it has expired"));
        }
        let (policy, provider) = still_allowed(&active, &kept.policy, &challenge.provider, &user)?;
        let owner = kept.carried.client_id.as_deref();
        ClientContext::Api.admit_session(policy, owner)?;
        let (policy, provider) = (Arc::clone(policy), Arc::clone(provider));
        // A factor that was enrolled meanwhile counts, and what was offered may have been
        // withdrawn.
        let mut offer = offer(
            &policy.spec.mfa,
            kept.level.level(),
            &factors,
            Contact::of(&user),
        );
        offer
            .enrollable
            .retain(|method| kept.enrollable.contains(method));
        Ok(Open {
            token,
            challenge,
            kept,
            user,
            factors,
            policy,
            provider,
            offer,
        })
    }
}

pub(super) fn invalid(why: &'static str) -> Failure {
    Code::MfaChallengeInvalid.because(why).into()
}

/// Too many wrong codes of this method; others go on.
pub(super) fn locked(method: MfaMethod, seconds: u32) -> Failure {
    TryAgainReason::MfaLocked
        .after(seconds, format!("{}: too many wrong codes", method.name()))
        .into()
}

/// Too many codes were sent to the user.
pub(super) fn budget_used(method: Option<MfaMethod>, seconds: u32) -> Failure {
    let method = method.map_or("", MfaMethod::name);
    TryAgainReason::MfaLocked
        .after(
            seconds,
            format!("{method}: the user's budget of sent codes is used up"),
        )
        .into()
}
