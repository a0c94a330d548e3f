//! One sign-in: peek, provider, key, verify, gather, plan, assess, decide, commit, issue.
//!
//! All reads come first, then decisions without I/O, then one commit. A refused user is never
//! created.

use std::sync::Arc;

use http::header::USER_AGENT;
use uuid::Uuid;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::{Acting, Risk};

use crate::agent::device as device_of;
use crate::app::{App, Caller, time_ordered};
use crate::clock::lifetime;
use crate::dto::{LoginResponse, RiskAssessmentInfo, SigninRequest, UserInfo};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::flows::account::{self, Plan};
use crate::flows::challenge::{self, NewChallenge};
use crate::flows::client::ClientContext;
use crate::flows::device::DeviceToken;
use crate::flows::frame::Frame;
use crate::flows::issue::{SessionClaims, TokenTimes, Wanted, access_token};
use crate::flows::mfa_requirement::{AssessedRisk, Contact, mfa_requirement};
use crate::language::Language;
use crate::password;
use crate::protocol::{CHANGE_SCOPE, CHANGE_SECONDS};
use crate::refresh_token::RefreshToken;
use crate::runtime_config::{ActiveConfig, ActivePolicy, ActiveProvider};
use vestibule_idtoken::token::UnverifiedToken;
use vestibule_risk::{self as risk, Assessment, Context};
use vestibule_store::mfa::{DeviceKey, KnowsDevice};
use vestibule_store::sessions::Origin;
use vestibule_store::{
    EventKind, Gather, Gathered, NewHistory, NewSession, Signin, SigninOutcome, StoredHistory,
};

mod choosing;
pub(crate) mod linking;
mod scoring;
mod session_claims;
mod verified;

pub use choosing::choose_provider;
use linking::account_of;
use scoring::Scored;
use session_claims::carry;
pub use verified::{VerifiedIdentity, verify};

/// How often a sign-in is decided again because its account changed between the read and the
/// commit.
const DECISIONS_MAX: usize = 4;

pub async fn signin(
    app: &Arc<App>,
    request: &SigninRequest,
    caller: Caller<'_>,
) -> Result<LoginResponse, Failure> {
    let (response, _policy) = signin_at(app, &ClientContext::Api, request, caller).await?;
    Ok(response)
}

/// The same in any client context, with the key of the policy whose tokens they are.
pub(crate) async fn signin_at(
    app: &Arc<App>,
    client_context: &ClientContext<'_>,
    request: &SigninRequest,
    caller: Caller<'_>,
) -> Result<(LoginResponse, String), Failure> {
    let mut frame = Frame::begin(app, EventKind::Signin, caller);
    frame.audit.client = client_context.client_id().map(str::to_owned);
    let active = Arc::clone(&frame.active);
    let mut attempt = Attempt {
        frame,
        client_context,
    };
    let result = attempt.run(app, &active, request).await;
    let Attempt { frame, .. } = attempt;
    let result = frame.end(app, result);
    app.metrics.signin(result.as_ref().err());
    result.map(|response| (response, frame.audit.policy))
}

/// One attempt, and what is known of it so far.
struct Attempt<'d, 'c> {
    frame: Frame<'c>,
    client_context: &'d ClientContext<'d>,
}

/// Who signs in, at which provider of which policy.
struct Identified<'l, 't> {
    provider: &'l Arc<ActiveProvider>,
    policy: &'l Arc<ActivePolicy>,
    identity: VerifiedIdentity<'t>,
}

/// What a decision is made from, the same for each.
struct Given<'g> {
    provider: &'g ActiveProvider,
    policy: &'g ActivePolicy,
    identity: &'g VerifiedIdentity<'g>,
    device: Option<DeviceKey>,
    /// Where the policy scores sign-ins.
    scored: Option<(&'g Risk, Context)>,
    wanted: Wanted,
    fresh: &'g Fresh,
}

/// What one decision came to, before anything of it is written.
struct Decided {
    plan: Plan,
    contact: Contact,
    seen: Option<AssessedRisk>,
    assessed: Option<RiskAssessmentInfo>,
    history: Option<NewHistory>,
}

impl Attempt<'_, '_> {
    async fn run(
        &mut self,
        app: &Arc<App>,
        active: &ActiveConfig,
        request: &SigninRequest,
    ) -> Result<LoginResponse, Failure> {
        let wanted = Wanted::parse(request.scope.as_deref())?;
        let Identified {
            provider,
            policy,
            identity,
        } = self.identify(app, active, request).await?;
        let now = self.frame.now;
        let device = request.device_token.as_deref();
        let device = device.and_then(DeviceToken::parse);
        let fresh = Fresh::draw(app, now)?;
        let scored = policy.spec.risk.as_ref();
        let mut given = Given {
            provider,
            policy,
            device: device.map(|token| token.key()),
            scored: scored.map(|risk| (risk, self.context(app, provider, policy, risk, &identity))),
            identity: &identity,
            wanted,
            fresh: &fresh,
        };
        for _ in 0..DECISIONS_MAX {
            let decided = self.decide(app, &mut given).await?;
            match self.commit(app, &given, decided).await? {
                Ok(response) => return Ok(response),
                Err(outcome) => decide_again(outcome)?,
            }
        }
        Err(TryAgainReason::StoreUnavailable
            .after(
                1,
                "the account kept changing while the sign-in was under way",
            )
            .into())
    }

    /// Peek, provider, key, verify: from the request to a verified identity.
    async fn identify<'l, 't>(
        &mut self,
        app: &App,
        active: &'l ActiveConfig,
        request: &'t SigninRequest,
    ) -> Result<Identified<'l, 't>, Failure> {
        // Who names a provider is held to its policy from the start.
        if let Some(named) = request
            .provider
            .as_deref()
            .and_then(|name| active.provider(name))
            && let Some(policy) = active.policy_of(named)
        {
            self.frame.policy(app, policy, &named.key);
        }
        let text = request.id_token.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Err(Code::IdTokenRequired.into());
        }
        let token = UnverifiedToken::parse(text)
            .map_err(|malformed| Code::TokenMalformed.because(malformed.to_string()))?;
        let provider = choose_provider(active, &token, request.provider.as_deref())?;
        self.frame.audit.provider.clone_from(&provider.key);
        let policy = active.policy_of(provider).ok_or_else(|| {
            TryAgainReason::NotReady.after(1, "the provider's policy is not served")
        })?;
        self.frame.policy(app, policy, &provider.key);
        self.client_context.admit(policy)?;
        if provider.spec.suspended {
            return Err(Code::ProviderSuspended.into());
        }
        // Before anything is spent on a token that nothing could be answered to.
        policy.current_key()?;
        let now = self.frame.now;
        let nonce = request.nonce.as_deref();
        let fetching = self.frame.fetching();
        let identity = verify(provider, policy, token, nonce, fetching, now).await?;
        if policy.spec.risk.is_some() {
            self.frame.suspect(identity.identity.clone());
        }
        let per_minute = policy.spec.limits.per_user_per_minute;
        if let Some(seconds) = app.signins.count(&identity.identity, per_minute, now) {
            return Err(TryAgainReason::RateLimited
                .after(seconds, "the user signs in too often")
                .into());
        }
        Ok(Identified {
            provider,
            policy,
            identity,
        })
    }

    fn context(
        &self,
        app: &App,
        provider: &ActiveProvider,
        policy: &ActivePolicy,
        risk: &Risk,
        identity: &VerifiedIdentity,
    ) -> Context {
        let Frame { now, caller, .. } = self.frame;
        let agent = caller.headers.get(USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        let sign = scoring::Sign {
            client: self.frame.client(),
            agent,
            provider: &provider.spec,
            policy: &policy.key,
            risk,
            identity,
        };
        scoring::context(app, sign, now)
    }

    /// Gather, plan, assess.
    async fn decide(&mut self, app: &App, given: &mut Given<'_>) -> Result<Decided, Failure> {
        let Given {
            provider,
            policy,
            identity,
            device,
            scored,
            fresh,
            ..
        } = given;
        let now = self.frame.now;
        let mut gathered = app.store.run(question(provider, policy, identity)).await?;
        let stored = gathered.history.take();
        let contact = contact(&gathered);
        let (spec, mapped) = (&provider.spec, &identity.mapped);
        let plan = account::plan(spec, &policy.key, mapped, gathered, fresh.user, now)?;
        let user = plan.user();
        self.frame.audit.user_id = Some(user.id);
        let mut decided = Decided {
            contact,
            seen: None,
            assessed: None,
            history: None,
            plan,
        };
        if let Some((risk, context)) = scored {
            let user = decided.plan.user();
            context.remembered_device = match device {
                Some(device) if !decided.plan.is_new() => {
                    app.store
                        .run(KnowsDevice {
                            user: user.id,
                            device: *device,
                            now,
                        })
                        .await?
                }
                Some(_) | None => false,
            };
            let (assessment, new_history) =
                self.assess(app, policy, risk, context, stored.as_ref())?;
            decided.seen = Some(AssessedRisk {
                acting: risk.acting,
                level: assessment.level,
                action: assessment.action,
                hard: assessment.is_hard(),
            });
            decided.assessed = Some(RiskAssessmentInfo::of(&assessment, risk));
            decided.history = Some(new_history);
        }
        Ok(decided)
    }

    /// Commit, issue: a session, or a challenge where a second factor is asked for.
    async fn commit(
        &mut self,
        app: &Arc<App>,
        given: &Given<'_>,
        decided: Decided,
    ) -> Result<Result<LoginResponse, SigninOutcome>, Failure> {
        let Given {
            provider,
            policy,
            identity,
            scored,
            wanted,
            fresh,
            ..
        } = given;
        let now = self.frame.now;
        let Decided {
            plan,
            contact,
            seen,
            assessed,
            history,
        } = decided;
        let first = history.as_ref().is_some_and(NewHistory::is_first);
        let user = plan.user();
        let standing = password::standing(user.password, policy.spec.password.as_ref(), now);
        let info = UserInfo::of(user, standing);
        let client = self.client_context.client_id();
        let mut carried = carry(provider, policy, identity, &info, client)?;
        let account = account_of(&plan, identity, app, provider);
        let provider_mfa = || scoring::provider_mfa(&provider.spec, &identity.claims, now);
        if let Some(requirement) = mfa_requirement(policy.spec.mfa.mode, seen, provider_mfa) {
            let asked = NewChallenge {
                provider,
                policy,
                identity,
                plan: &plan,
                account,
                contact,
                requirement,
                carried,
                risk: assessed,
                history: history.zip(scored.as_ref().map(|(_, context)| context.values)),
                language: Language::of(self.frame.caller.headers),
                now,
            };
            return challenge::open(app, asked, &mut self.frame.audit).await;
        }
        carried.restrict(standing);
        let refresh = &fresh.refresh;
        self.frame.audit.session_id = Some(refresh.session());
        let origin = identity.origin();
        let session = OpenSession {
            policy,
            provider: &provider.key,
            refresh,
            carried: &carried,
            device: device_of(self.frame.caller.headers),
            origin,
            ends_at: session_end(policy, now),
            now,
        };
        let session = session.new_session()?;
        let (session_id, ends_at) = (session.id, session.ends_at);
        let signin = Signin {
            account,
            session,
            login: Some(identity.login(&provider.key, origin)),
            replay: identity.replay_key(provider.spec.token.replay),
            history,
            completion: None,
            event: self.frame.audit.success(),
            now,
        };
        match app.store.run(signin).await? {
            SigninOutcome::Committed => {}
            outcome => return Ok(Err(outcome)),
        }
        if let Some((_, context)) = scored {
            app.populations.count(&policy.key, &context.values, first);
        }
        let stamp = TokenTimes {
            now,
            jti: fresh.jti,
            session: session_id,
            session_ends_at: ends_at,
        };
        let token = access_token(policy, &provider.spec, user, &carried, *wanted, stamp)?;
        Ok(Ok(LoginResponse {
            requires_mfa: Some(false),
            risk_level: assessed.as_ref().map(|assessed| assessed.level.clone()),
            risk_assessment: assessed,
            ..LoginResponse::of_session(token, refresh, info, standing)
        }))
    }

    /// Scores the sign-in, and refuses it where the policy says so.
    fn assess(
        &mut self,
        app: &App,
        policy: &ActivePolicy,
        risk: &Risk,
        context: &Context,
        stored: Option<&StoredHistory>,
    ) -> Result<(Assessment, NewHistory), Failure> {
        let population = app.populations.of(&policy.key, &context.values);
        let Scored {
            assessment,
            facts,
            new_history,
        } = scoring::assess(risk, context, stored, population);
        let record = risk::record(&assessment, facts, risk, &policy.spec.revision);
        match (risk.acting, assessment.action) {
            (Acting::Enforce, RiskAction::Deny) => {
                return Err(Code::RiskDenied.because(record).into());
            }
            (Acting::Enforce, RiskAction::Allow | RiskAction::RequireMfa)
            | (Acting::Observe, _) => {}
        }
        self.frame.audit.assessment = record;
        Ok((assessment, new_history))
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

/// What a commit that wrote nothing means: nothing where the sign-in is to be decided again, on
/// what the store has now.
pub(crate) fn decide_again(outcome: SigninOutcome) -> Result<(), Failure> {
    match outcome {
        SigninOutcome::Committed | SigninOutcome::Changed => Ok(()),
        SigninOutcome::Replayed => Err(Code::TokenReplayed
            .because("the token was used for a sign-in before")
            .into()),
        SigninOutcome::UserNotActive(status) => match account::status_refusal(status) {
            Some(refused) => Err(refused.into()),
            None => Ok(()),
        },
        SigninOutcome::LoginEnded => Err(Code::TokenSessionEnded
            .because("the provider has ended the session that the token is from")
            .into()),
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

/// When a session that begins now ends at the latest.
pub(crate) fn session_end(policy: &ActivePolicy, now: i64) -> i64 {
    now.saturating_add(lifetime(policy.spec.token.session_max_ttl))
}

/// What a new session is made from.
pub(crate) struct OpenSession<'s> {
    pub(crate) policy: &'s ActivePolicy,
    /// `namespace/name`.
    pub(crate) provider: &'s str,
    pub(crate) refresh: &'s RefreshToken,
    pub(crate) carried: &'s SessionClaims,
    pub(crate) device: Option<String>,
    pub(crate) origin: Origin,
    /// Never later than the end of the session that it takes the place of.
    pub(crate) ends_at: i64,
    pub(crate) now: i64,
}

impl OpenSession<'_> {
    pub(crate) fn new_session(self) -> Result<NewSession, Failure> {
        let Self {
            policy,
            provider,
            refresh,
            carried,
            device,
            origin,
            ends_at,
            now,
        } = self;
        // A session that only changes the password is gone with its access token: it has no refresh
        // token.
        let ttl = if carried.scope == CHANGE_SCOPE {
            CHANGE_SECONDS
        } else {
            lifetime(policy.spec.token.refresh_ttl)
        };
        Ok(NewSession {
            id: refresh.session(),
            provider: provider.to_owned(),
            refresh_digest: refresh.digest(),
            refresh_expires_at: now.saturating_add(ttl).min(ends_at),
            ends_at,
            carried: serde_json::to_string(carried)
                .map_err(|_| Code::Internal.because("the session cannot be written"))?,
            device,
            origin,
        })
    }
}

/// Where codes may be sent: what is stored of the user that the sign-in finds.
fn contact(gathered: &Gathered) -> Contact {
    match (&gathered.user, gathered.email_owners.as_slice()) {
        (Some(user), _) => Contact::of(user),
        (None, [owner]) => Contact::of(owner),
        (None, _) => Contact::default(),
    }
}

fn question(
    provider: &ActiveProvider,
    policy: &ActivePolicy,
    identity: &VerifiedIdentity,
) -> Gather {
    Gather {
        history: policy.spec.risk.is_some(),
        identity: identity.identity.clone(),
        linkable_email: account::linkable_email(&provider.spec, &identity.mapped)
            .map(str::to_owned),
    }
}
