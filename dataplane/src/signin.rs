//! One sign-in: peek, provider, key, verify, gather, plan, assess, decide, commit, issue.
//!
//! All reads come first, then decisions without I/O, then one commit. A refused user is never created.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use uuid::Uuid;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::{Acting, Risk};

use crate::account;
use crate::agent::device as device_of;
use crate::app::{App, Caller, time_ordered};
use crate::client_address::{client_address, network};
use crate::dto::{LoginResponse, RiskAssessmentInfo, SigninRequest, UserInfo};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::issue::{Carried, Stamp, access_token};
use crate::language::Language;
use crate::live::{Live, LivePolicy, LiveProvider};
use crate::mfa::challenge::{self, Asked};
use crate::mfa::demand::{Contact, Seen, demand};
use crate::mfa::device::DeviceToken;
use crate::oauth::door::Door;
use crate::password::{self, CHANGE_SCOPE, CHANGE_SECONDS};
use crate::refresh_token::RefreshToken;
use crate::risk::{self, Assessment, Context};
use crate::store::sessions::Origin;
use crate::store::{
    EventKind, Gather, Gathered, IdentityKey, NewHistory, NewSession, Signin, SigninOutcome,
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
use scoring::Scored;
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
    let (response, _policy) = signin_at(app, &Door::Api, request, caller).await?;
    Ok(response)
}

/// The same through any door, with the key of the policy whose tokens they are.
pub(crate) async fn signin_at(
    app: &Arc<App>,
    door: &Door<'_>,
    request: &SigninRequest,
    caller: Caller<'_>,
) -> Result<(LoginResponse, String), Failure> {
    let now = app.clock.now();
    let live = app.serving.live();
    let client = client_address(caller.peer, caller.headers, &live.trusted_proxies);
    let mut trail = Trail::new(EventKind::Signin, now, caller.request_id, network(client));
    trail.client = door.client_id().map(str::to_owned);
    let mut attempt = Attempt {
        trail,
        door,
        client,
        failures_per_minute: live.failures_per_minute,
        scored: None,
    };
    let result = attempt.run(app, &live, request, caller, now).await;
    if let Err(failure) = &result {
        if let Failure::Refused(_) = failure {
            attempt.count_failure(app, &live, now);
        }
        app.record(attempt.trail.failure(failure));
    }
    app.metrics.signin(result.as_ref().err());
    result.map(|response| (response, attempt.trail.policy))
}

/// One attempt, and what is known of it so far.
struct Attempt<'d> {
    trail: Trail,
    door: &'d Door<'d>,
    client: IpAddr,
    failures_per_minute: u32,
    /// Who was verified, and the policy that scores sign-ins.
    scored: Option<(Arc<LivePolicy>, IdentityKey)>,
}

impl Attempt<'_> {
    async fn run(
        &mut self,
        app: &Arc<App>,
        live: &Live,
        request: &SigninRequest,
        caller: Caller<'_>,
        now: i64,
    ) -> Result<LoginResponse, Failure> {
        app.check_address(self.client, self.failures_per_minute, now)?;
        let text = request.id_token.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Err(Code::IdTokenRequired.into());
        }
        let token = UnverifiedToken::parse(text)
            .map_err(|malformed| Code::TokenMalformed.because(malformed.to_string()))?;
        let provider = choose_provider(live, &token, request.provider.as_deref())?;
        self.trail.provider.clone_from(&provider.key);
        let policy = live.policy_of(provider).ok_or_else(|| {
            TryAgainReason::NotReady.after(1, "the provider's policy is not served")
        })?;
        self.trail.policy.clone_from(&policy.key);
        self.door.admit(policy)?;
        self.client = client_address(caller.peer, caller.headers, &policy.spec.trusted_proxies);
        self.trail.network = network(self.client);
        self.failures_per_minute = policy.spec.limits.failures_per_ip_per_minute;
        app.check_address(self.client, self.failures_per_minute, now)?;
        if provider.spec.suspended {
            return Err(Code::ProviderSuspended.into());
        }
        let key = policy.current_key()?;

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

        let device = request.device_token.as_deref();
        let device = device.and_then(DeviceToken::parse);
        let device = device.map(|token| token.key());
        let mut scored = policy.spec.risk.as_ref().map(|risk| {
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
        for _ in 0..DECISIONS_MAX {
            let mut gathered = app
                .store
                .gather(question(provider, policy, &identity))
                .await?;
            let stored = gathered.history.take();
            let contact = contact(&gathered);
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
            let mut seen = None;
            let (mut assessed, mut history) = (None, None);
            if let Some((risk, context)) = &mut scored {
                context.remembered_device = match &device {
                    Some(device) if !plan.is_new() => {
                        app.store.knows_device(user.id, *device, now).await?
                    }
                    Some(_) | None => false,
                };
                let (assessment, learnt) =
                    self.assess(app, policy, risk, context, stored.as_ref())?;
                seen = Some(Seen {
                    acting: risk.acting,
                    level: assessment.level,
                    action: assessment.action,
                    hard: assessment.is_hard(),
                });
                assessed = Some(RiskAssessmentInfo::of(&assessment, risk));
                history = Some(learnt);
            }
            let first = history.as_ref().is_some_and(NewHistory::is_first);
            let standing = password::standing(user.password, &policy.spec.password, now);
            let info = UserInfo::of(user, standing);
            let client = self.door.client_id();
            let mut carried = carry(provider, policy, &identity, &info, client)?;
            let account = account_of(&plan, &identity, app, provider);
            let provider_mfa = || scoring::provider_mfa(&provider.spec, &identity.claims, now);
            if let Some(demand) = demand(policy.spec.mfa.mode, seen, provider_mfa) {
                let asked = Asked {
                    provider,
                    policy,
                    identity: &identity,
                    plan: &plan,
                    account,
                    contact,
                    demand,
                    carried,
                    risk: assessed,
                    history: history.zip(scored.as_ref().map(|(_, context)| context.values)),
                    language: Language::of(caller.headers),
                    now,
                };
                match challenge::open(app, asked, &mut self.trail).await? {
                    Ok(challenged) => return Ok(challenged),
                    Err(outcome) => decide_again(outcome)?,
                }
                continue;
            }

            standing.restrict(&mut carried);
            self.trail.session_id = Some(refresh.session());
            let (from, origin) = (device_of(caller.headers), identity.origin());
            let session =
                new_session(policy, &provider.key, &refresh, &carried, from, origin, now)?;
            let (session_id, ends_at) = (session.id, session.ends_at);
            let signin = Signin {
                account,
                session,
                replay: identity.replay_key(provider.spec.token.replay),
                history,
                completion: None,
                event: self.trail.success(),
                now,
            };
            match app.store.commit_signin(signin).await? {
                SigninOutcome::Committed => {
                    if let Some((_, context)) = &scored {
                        app.censuses.count(&policy.key, &context.values, first);
                    }
                    let stamp = Stamp {
                        now,
                        jti: fresh.jti,
                        session: session_id,
                    };
                    let token = access_token(policy, key, user, &carried, stamp, ends_at)?;
                    return Ok(LoginResponse {
                        requires_mfa: Some(false),
                        risk_level: assessed.as_ref().map(|assessed| assessed.level.clone()),
                        risk_assessment: assessed,
                        ..LoginResponse::of_session(token, &refresh, info, standing)
                    });
                }
                outcome => decide_again(outcome)?,
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
        app: &App,
        policy: &LivePolicy,
        risk: &Risk,
        context: &Context,
        stored: Option<&StoredHistory>,
    ) -> Result<(Assessment, NewHistory), Failure> {
        let population = app.censuses.of(&policy.key, &context.values);
        let Scored {
            assessment,
            facts,
            learnt,
        } = scoring::assess(risk, context, stored, population);
        let record = risk::record(&assessment, facts, risk, &policy.spec);
        match (risk.acting, assessment.action) {
            (Acting::Enforce, RiskAction::Deny) => {
                return Err(Code::RiskDenied.because(record).into());
            }
            (Acting::Enforce, RiskAction::Allow | RiskAction::RequireMfa)
            | (Acting::Observe, _) => {}
        }
        self.trail.assessment = record;
        Ok((assessment, learnt))
    }

    fn count_failure(&self, app: &App, live: &Live, now: i64) {
        let scored = self.scored.as_ref();
        let whom =
            scored.and_then(|(policy, identity)| Some((policy.spec.risk.as_ref()?, identity)));
        app.count_failure(live, self.client, self.failures_per_minute, whom, now);
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

/// What a commit that wrote nothing means: nothing where the sign-in is to be decided again, on what the store has now.
pub(crate) fn decide_again(outcome: SigninOutcome) -> Result<(), Failure> {
    match outcome {
        SigninOutcome::Committed | SigninOutcome::Changed => Ok(()),
        SigninOutcome::Replayed => Err(Code::TokenReplayed
            .because("the token has signed somebody in before")
            .into()),
        SigninOutcome::UserNotActive(status) => match account::status_refusal(status) {
            Some(refused) => Err(refused.into()),
            None => Ok(()),
        },
        SigninOutcome::LinkRefused => Err(Code::LinkRequired
            .because("the provider stopped linking while the sign-in was under way")
            .into()),
        SigninOutcome::ChallengeGone => Err(Code::MfaChallengeInvalid
            .because("it was answered already, or another one took its place")
            .into()),
        SigninOutcome::ProofUsed => Err(Code::MfaCodeInvalid
            .because("what proved it was used already")
            .into()),
    }
}

/// The session of a sign-in that is complete.
pub(crate) fn new_session(
    policy: &LivePolicy,
    provider: &str,
    refresh: &RefreshToken,
    carried: &Carried,
    device: Option<String>,
    origin: Origin,
    now: i64,
) -> Result<NewSession, Failure> {
    let lifetime_max = if carried.scope == CHANGE_SCOPE {
        CHANGE_SECONDS
    } else {
        lifetime(policy.spec.token.session_max_ttl)
    };
    let ends_at = now.saturating_add(lifetime_max);
    Ok(NewSession {
        id: refresh.session(),
        provider: provider.to_owned(),
        refresh_digest: refresh.digest(),
        refresh_expires_at: now
            .saturating_add(lifetime(policy.spec.token.refresh_ttl))
            .min(ends_at),
        ends_at,
        carried: serde_json::to_string(carried)
            .map_err(|_| Code::Internal.because("the session cannot be written"))?,
        device,
        origin,
    })
}

/// Where codes may be sent: what is stored of the user whom the sign-in finds.
fn contact(gathered: &Gathered) -> Contact {
    match (&gathered.user, gathered.email_owners.as_slice()) {
        (Some(user), _) => Contact::of(user),
        (None, [owner]) => Contact::of(owner),
        (None, _) => Contact::default(),
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
