//! What every request about a second factor does around its own story: the address is held to its failures, and how it ended
//! stands in the audit trail.

use std::net::IpAddr;
use std::sync::Arc;

use super::challenge::{ChallengeToken, Kept};
use super::demand::{Contact, Offer, offer};
use crate::agent::device;
use crate::app::{App, Caller};
use crate::client_address::{client_address, network};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::live::{Live, LivePolicy, LiveProvider};
use crate::refresh::still_allowed;
use crate::store::mfa::{Challenge, Factors, FoundChallenge};
use crate::store::{EventKind, User};
use crate::trail::Trail;

pub(super) struct Attempt {
    pub(super) trail: Trail,
    pub(super) live: Arc<Live>,
    pub(super) now: i64,
    /// What asks, in words for people.
    pub(super) device: Option<String>,
    client: IpAddr,
    /// Whose sign-in it is: failing raises that user's risk.
    open: Option<Box<Kept>>,
}

/// A challenge that can be answered, with all that may have changed since it was opened.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) token: ChallengeToken,
    pub(super) challenge: Challenge,
    pub(super) kept: Kept,
    pub(super) user: User,
    pub(super) factors: Factors,
    pub(super) policy: Arc<LivePolicy>,
    pub(super) provider: Arc<LiveProvider>,
    /// How it can be answered now.
    pub(super) offer: Offer,
}

impl Attempt {
    pub(super) fn begin(app: &App, caller: Caller<'_>, kind: EventKind) -> Self {
        let now = app.clock.now();
        let live = app.serving.live();
        let client = client_address(caller.peer, caller.headers, &live.trusted_proxies);
        Self {
            trail: Trail::new(kind, now, caller.request_id, network(client)),
            live,
            now,
            device: device(caller.headers),
            client,
            open: None,
        }
    }

    pub(super) fn check_failures(&self, app: &App) -> Result<(), Failure> {
        app.check_address(self.client, self.live.failures_per_minute, self.now)
    }

    pub(super) fn end<T>(self, app: &App, result: Result<T, Failure>) -> Result<T, Failure> {
        let Err(failure) = &result else { return result };
        if let Failure::Refused(_) = failure {
            self.count_failure(app);
        }
        app.record(self.trail.failure(failure));
        result
    }

    fn count_failure(&self, app: &App) {
        let (live, open) = (&self.live, self.open.as_ref());
        let whom = open.and_then(|kept| {
            let policy = live.policy_of_key(&kept.policy)?;
            Some((policy.spec.risk.as_ref()?, kept.identity()))
        });
        let whom = whom.as_ref().map(|(risk, identity)| (*risk, identity));
        let limit = live.failures_per_minute;
        app.count_failure(live, self.client, limit, whom, self.now);
    }

    /// The challenge of this token, if it can still be answered: user, provider and policy are looked at again.
    pub(super) async fn find(&mut self, app: &App, text: &str) -> Result<Open, Failure> {
        let token =
            ChallengeToken::parse(text).ok_or_else(|| invalid("it is no challenge token"))?;
        let found = app.store.challenge(token.digest()).await?;
        let FoundChallenge {
            challenge,
            user,
            factors,
        } = found.ok_or_else(|| invalid("there is no such challenge"))?;
        let kept: Kept = serde_json::from_str(&challenge.content)
            .map_err(|_| Code::Internal.because("the sign-in that was kept cannot be read"))?;
        self.trail.user_id = Some(user.id);
        self.trail.policy.clone_from(&kept.policy);
        self.trail.provider.clone_from(&challenge.provider);
        self.trail.assessment.clone_from(&kept.assessment);
        if challenge.consumed_at.is_some() {
            return Err(invalid("it was answered already"));
        }
        if self.now >= challenge.expires_at || challenge.created_at < user.sessions_valid_from {
            return Err(invalid("it has expired"));
        }
        let (policy, provider) =
            still_allowed(&self.live, &kept.policy, &challenge.provider, &user)?;
        let (policy, provider) = (Arc::clone(policy), Arc::clone(provider));
        self.open = Some(Box::new(kept.clone()));
        // A factor that was enrolled meanwhile counts, and what was offered may have been withdrawn.
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

pub(super) fn locked(seconds: u32) -> Failure {
    TryAgainReason::MfaLocked
        .after(seconds, "too many tries of the user, or codes sent")
        .into()
}
