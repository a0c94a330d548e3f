//! One sign-in: peek, provider, key, verify, gather, plan, assess, decide, commit, issue.
//!
//! All reads come first, then decisions without I/O, then one commit. A refused user is never created.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use uuid::Uuid;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::{Acting, Replay, Risk};

use crate::account;
use crate::app::{App, Caller, time_ordered};
use crate::client_address::{client_address, network};
use crate::dto::{LoginResponse, RiskAssessmentInfo, SigninRequest, UserInfo};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::issue::{Stamp, access_token};
use crate::keys::egress::is_public;
use crate::limits::of_address;
use crate::live::{Live, LivePolicy, LiveProvider};
use crate::password;
use crate::refresh_token::RefreshToken;
use crate::risk::{self, Context};
use crate::store::{
    EventKind, Gather, IdentityKey, NewHistory, NewSession, ReplayKey, Signin, SigninOutcome,
    StoredHistory,
};
use crate::token::UnverifiedToken;
use crate::trail::Trail;

mod carrying;
mod choosing;
pub(crate) mod linking;
mod scoring;
mod verified;

use carrying::carry;
pub use choosing::choose_provider;
use linking::account_of;
pub use verified::{VerifiedIdentity, check_signature, verify};

/// How often a sign-in is decided anew because its account changed between the read and the commit.
const DECISIONS_MAX: usize = 4;
/// The scope of a full access token.
pub const FULL_SCOPE: &str = "openid";

pub async fn signin(
    app: &Arc<App>,
    request: &SigninRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let now = app.clock.now();
    let live = app.serving.live();
    let client = client_address(caller.peer, caller.headers, &live.trusted_proxies);
    let mut attempt = Attempt {
        trail: Trail::new(EventKind::Signin, now, caller.request_id, network(client)),
        client,
        failures_per_minute: live.failures_per_minute,
        scored: None,
    };
    let result = attempt.run(app, &live, request, caller, now).await;
    if let Err(failure) = &result {
        if let Failure::Refused(_) = failure {
            attempt.count_failure(app, &live, now);
        }
        if !app.store.record(attempt.trail.failure(failure)) {
            app.metrics.events_dropped();
        }
    }
    app.metrics.signin(result.as_ref().err());
    result
}

/// One attempt, and what is known of it so far.
struct Attempt {
    trail: Trail,
    client: IpAddr,
    failures_per_minute: u32,
    /// Who was verified, and the policy that scores sign-ins.
    scored: Option<(Arc<LivePolicy>, IdentityKey)>,
}

impl Attempt {
    async fn run(
        &mut self,
        app: &Arc<App>,
        live: &Live,
        request: &SigninRequest,
        caller: Caller<'_>,
        now: i64,
    ) -> Result<LoginResponse, Failure> {
        self.check_failures(app, now)?;
        let text = request.id_token.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Err(Code::IdTokenRequired.into());
        }
        let token = UnverifiedToken::parse(text)
            .map_err(|malformed| Code::TokenMalformed.because(malformed.to_string()))?;
        let provider = choose_provider(live, &token, request.provider.as_deref())?;
        self.trail.provider.clone_from(&provider.key);
        let policy = live.policy(&provider.spec.policy).ok_or_else(|| {
            TryAgainReason::NotReady.after(1, "the provider's policy is not served")
        })?;
        self.trail.policy.clone_from(&policy.key);
        self.client = client_address(caller.peer, caller.headers, &policy.spec.trusted_proxies);
        self.trail.network = network(self.client);
        self.failures_per_minute = policy.spec.limits.failures_per_ip_per_minute;
        self.check_failures(app, now)?;
        if provider.spec.suspended {
            return Err(Code::ProviderSuspended.into());
        }
        let key = policy.current_key().ok_or_else(|| {
            TryAgainReason::NotReady.after(1, "the policy has no signing key yet")
        })?;

        let identity = verify(provider, policy, token, request.nonce.as_deref(), now).await?;
        if policy.spec.risk.is_some() {
            self.scored = Some((Arc::clone(policy), identity.identity.clone()));
        }
        let per_minute = policy.spec.limits.per_user_per_minute;
        if let Some(seconds) = app.signins.count(&identity.identity, per_minute, now) {
            return Err(TryAgainReason::RateLimited
                .after(seconds, "the user signs in too often")
                .into());
        }

        let scored = policy.spec.risk.as_ref().map(|risk| {
            let agent = caller.headers.get(USER_AGENT);
            let agent = agent.and_then(|agent| agent.to_str().ok());
            let context = scoring::context(
                app,
                self.client,
                agent,
                &provider.spec,
                risk,
                &identity,
                now,
            );
            (risk, context)
        });

        let fresh = Fresh::draw(app, now)?;
        let refresh = fresh.refresh;
        let session = refresh.session();
        self.trail.session_id = Some(session);
        for _ in 0..DECISIONS_MAX {
            let mut gathered = app
                .store
                .gather(question(provider, policy, &identity))
                .await?;
            let stored = gathered.history.take();
            let plan = account::plan(
                &provider.spec,
                &policy.key,
                &identity.mapped,
                gathered,
                fresh.user,
                now,
            )?;
            let user = plan.user();
            self.trail.user_id = Some(user.id);
            let assessed = match &scored {
                Some((risk, context)) => {
                    Some(self.assess(policy, risk, context, stored.as_ref())?)
                }
                None => None,
            };
            let (assessed, history) = assessed.unzip();
            let standing = password::standing(user.password, &policy.spec.password, now);
            let info = UserInfo::of(user, standing);
            let mut carried = carry(provider, policy, &identity, &info)?;

            let mut ends_at = now.saturating_add(lifetime(policy.spec.token.session_max_ttl));
            if standing.must_change {
                password::CHANGE_SCOPE.clone_into(&mut carried.scope);
                ends_at = now.saturating_add(password::CHANGE_SECONDS);
            }
            let refresh_expires_at = now
                .saturating_add(lifetime(policy.spec.token.refresh_ttl))
                .min(ends_at);
            let signin = Signin {
                account: account_of(&plan, &identity, app, provider),
                session: NewSession {
                    id: session,
                    provider: provider.key.clone(),
                    refresh_digest: refresh.digest(),
                    refresh_expires_at,
                    ends_at,
                    carried: serde_json::to_string(&carried)
                        .map_err(|_| Code::Internal.because("the session cannot be written"))?,
                },
                replay: match provider.spec.token.replay {
                    Replay::Allow => None,
                    Replay::Reject => Some(ReplayKey {
                        expires_at: identity.expires_at,
                        digest: identity.digest,
                    }),
                },
                history,
                completion: None,
                event: self.trail.success(),
                now,
            };
            match app.store.commit_signin(signin).await? {
                SigninOutcome::Committed => {
                    let stamp = Stamp {
                        now,
                        jti: fresh.jti,
                        session,
                    };
                    let (token, expires_in) =
                        access_token(policy, key, user, &carried, stamp, ends_at)
                            .map_err(|error| Code::Internal.because(error.to_string()))?;
                    return Ok(LoginResponse {
                        access_token: Some(token),
                        // Without it nothing comes of such a session but a new password.
                        refresh_token: (!standing.must_change).then(|| refresh.expose()),
                        token_type: Some("Bearer"),
                        expires_in: Some(expires_in),
                        user: Some(info),
                        requires_mfa: Some(policy.spec.mfa.requires_factor()),
                        risk_level: assessed.as_ref().map(|assessed| assessed.level),
                        risk_assessment: assessed,
                        ..LoginResponse::default()
                    }
                    .with_password(standing));
                }
                SigninOutcome::Replayed => {
                    return Err(Code::TokenReplayed
                        .because("the token has signed somebody in before")
                        .into());
                }
                SigninOutcome::UserNotActive(status) => {
                    if let Some(refused) = account::status_refusal(status) {
                        return Err(refused.into());
                    }
                }
                // Decided again, on what the store has now.
                SigninOutcome::Changed => {}
                SigninOutcome::ChallengeGone | SigninOutcome::ProofUsed => {
                    return Err(Code::Internal.because("there was no challenge").into());
                }
                SigninOutcome::LinkRefused => {
                    return Err(Code::LinkRequired
                        .because("the provider stopped linking while the sign-in was under way")
                        .into());
                }
            }
        }
        Err(TryAgainReason::StoreUnavailable
            .after(
                1,
                "the account kept changing while the sign-in was under way",
            )
            .into())
    }

    /// Scores the sign-in, and refuses it where the policy says so.
    fn assess(
        &mut self,
        policy: &LivePolicy,
        risk: &Risk,
        context: &Context,
        stored: Option<&StoredHistory>,
    ) -> Result<(RiskAssessmentInfo, NewHistory), Failure> {
        let (assessment, learnt) = scoring::assess(risk, context, stored);
        let record = risk::record(&assessment, risk.acting, &policy.spec);
        match (risk.acting, assessment.action) {
            // No policy that enforces is compiled with RequireMfa until there are second factors: what should have been
            // stopped is never let pass.
            (Acting::Enforce, RiskAction::Deny | RiskAction::RequireMfa) => {
                return Err(Code::RiskDenied.because(record).into());
            }
            (Acting::Enforce, RiskAction::Allow) | (Acting::Observe, _) => {}
        }
        self.trail.assessment = record;
        Ok((RiskAssessmentInfo::of(&assessment, risk), learnt))
    }

    fn count_failure(&self, app: &App, live: &Live, now: i64) {
        let address = of_address(self.client);
        let _over = app.failures.count(address, self.failures_per_minute, now);
        if is_public(self.client) {
            for window in &live.failure_windows {
                app.recent_failures.count(address, *window, now);
            }
        }
        // Only who has proved to be the user: nobody raises another's score by failing in their name.
        if let Some((policy, identity)) = &self.scored
            && let Some(risk) = &policy.spec.risk
        {
            let window = risk.signals.user_failures.window.as_secs();
            app.recent_failures.count(identity, window, now);
        }
    }

    fn check_failures(&self, app: &App, now: i64) -> Result<(), Failure> {
        let whom = of_address(self.client);
        match app.failures.exceeded(whom, self.failures_per_minute, now) {
            None => Ok(()),
            Some(seconds) => Err(TryAgainReason::RateLimited
                .after(seconds, "too many failures from this address")
                .into()),
        }
    }
}

/// All that a sign-in needs of chance, drawn at once.
struct Fresh {
    refresh: RefreshToken,
    /// The id of the user, should one be created.
    user: Uuid,
    jti: Uuid,
}

impl Fresh {
    fn draw(app: &App, now: i64) -> Result<Self, Failure> {
        let random: [u8; 48 + 10 + 10] = app.random()?;
        let (mut refresh, mut user, mut jti) = ([0; 48], [0; 10], [0; 10]);
        refresh.copy_from_slice(&random[..48]);
        user.copy_from_slice(&random[48..58]);
        jti.copy_from_slice(&random[58..]);
        Ok(Self {
            refresh: RefreshToken::first(now, refresh),
            user: time_ordered(now, &user),
            jti: time_ordered(now, &jti),
        })
    }
}

fn question(provider: &LiveProvider, policy: &LivePolicy, identity: &VerifiedIdentity) -> Gather {
    Gather {
        history: policy.spec.risk.is_some(),
        identity: identity.identity.clone(),
        linkable_email: account::linkable_email(&provider.spec, &identity.mapped)
            .map(str::to_owned),
    }
}

pub fn lifetime(duration: vestibule_crds::duration::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
