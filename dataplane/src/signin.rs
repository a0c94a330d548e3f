//! One sign-in: peek, provider, key, verify, gather, plan, assess, decide, commit, issue.
//!
//! All reads come first, then decisions without I/O, then one commit. A refused user is never created.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use uuid::Uuid;
use vestibule_crds::claims::MappedClaims;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::{Acting, Provider, Replay, Risk};

use crate::account::{self, Plan};
use crate::app::{App, Caller, time_ordered};
use crate::client_address::{client_address, network};
use crate::dto::{LoginResponse, RiskAssessmentInfo, SigninRequest, UserInfo};
use crate::encoding::sha256;
use crate::failure::{Code, Failure, TryAgainReason};
use crate::issue::{Carried, Stamp, access_token};
use crate::keys::{self, egress::is_public};
use crate::limits::of_address;
use crate::live::{Live, LivePolicy, LiveProvider, ProviderKeys};
use crate::refresh_token::RefreshToken;
use crate::risk::{self, Context};
use crate::store::{
    Account, EventKind, Gather, IdentityKey, NewHistory, NewSession, ReplayKey, Signin,
    SigninOutcome, StoredHistory,
};
use crate::token::{Jws, UnverifiedToken};
use crate::trail::Trail;
use crate::verify::{Facts, check_claims, check_header};
use vestibule_crds::verification_key::Lookup;

mod scoring;

use scoring::{auth_time, trusted_acr, trusted_amr};

/// How often a sign-in is decided anew because its account changed between the read and the commit.
const DECISIONS_MAX: usize = 4;
/// The scope of a full access token.
pub const FULL_SCOPE: &str = "openid";

/// A person, as far as the provider's word and the provider's rules go.
#[derive(Debug)]
pub struct VerifiedIdentity {
    pub identity: IdentityKey,
    pub mapped: MappedClaims,
    pub claims: serde_json::Value,
    pub expires_at: i64,
    /// Of the token as it was signed: another encoding of the same signature is the same token.
    pub digest: [u8; 32],
}

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
                    Some(self.assess(app, policy, risk, context, stored.as_ref())?)
                }
                None => None,
            };
            let (assessed, history) = assessed.unzip();
            let first = history
                .as_ref()
                .is_some_and(|history| history.replaces.is_none());
            let info = UserInfo::of(user);
            let carried = carry(provider, policy, &identity, &info)?;

            let ends_at = now.saturating_add(lifetime(policy.spec.token.session_max_ttl));
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
                        session,
                    };
                    let (token, expires_in) =
                        access_token(policy, key, user, &carried, stamp, ends_at)
                            .map_err(|error| Code::Internal.because(error.to_string()))?;
                    return Ok(LoginResponse {
                        access_token: Some(token),
                        refresh_token: Some(refresh.expose()),
                        token_type: Some("Bearer"),
                        expires_in: Some(expires_in),
                        user: Some(info),
                        requires_mfa: Some(policy.spec.mfa.requires_factor()),
                        risk_level: assessed.as_ref().map(|assessed| assessed.level),
                        risk_assessment: assessed,
                    });
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
        app: &App,
        policy: &LivePolicy,
        risk: &Risk,
        context: &Context,
        stored: Option<&StoredHistory>,
    ) -> Result<(RiskAssessmentInfo, NewHistory), Failure> {
        let population = app.censuses.of(&policy.key, &context.values);
        let (assessment, learnt) = scoring::assess(risk, context, stored, population);
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

/// The provider that the request names, or the one that the token points to.
pub fn choose_provider<'l>(
    live: &'l Live,
    token: &UnverifiedToken,
    named: Option<&str>,
) -> Result<&'l Arc<LiveProvider>, Failure> {
    if let Some(name) = named {
        return live.provider(name).ok_or_else(|| {
            Code::ProviderUnknown
                .because("no provider of this name is served")
                .into()
        });
    }
    let matching = |provider: &&Arc<LiveProvider>| {
        let audiences = &provider.spec.audiences;
        token
            .audiences
            .iter()
            .any(|audience| audiences.contains(audience))
    };
    let mut candidates = live.providers_of(&token.issuer).iter().filter(matching);
    let none = || Code::ProviderRequired.because("no provider has the token's issuer and audience");
    let mut chosen = candidates.next().ok_or_else(none)?;
    for other in candidates {
        chosen = older(chosen, other, token).ok_or_else(|| {
            Code::ProviderRequired.because("several providers have the token's issuer and audience")
        })?;
    }
    Ok(chosen)
}

/// Of two providers for the same audiences of a token the older one is meant; otherwise it is not plain.
fn older<'l>(
    one: &'l Arc<LiveProvider>,
    other: &'l Arc<LiveProvider>,
    token: &UnverifiedToken,
) -> Option<&'l Arc<LiveProvider>> {
    let same_audiences = token.audiences.iter().all(|audience| {
        one.spec.audiences.contains(audience) == other.spec.audiences.contains(audience)
    });
    let (Some(one_at), Some(other_at)) = (&one.spec.created_at, &other.spec.created_at) else {
        return None;
    };
    match one_at.cmp(other_at) {
        std::cmp::Ordering::Less if same_audiences => Some(one),
        std::cmp::Ordering::Greater if same_audiences => Some(other),
        _ => None,
    }
}

/// From an unverified token to a verified identity, or the first reason why not.
pub async fn verify(
    provider: &LiveProvider,
    policy: &LivePolicy,
    token: UnverifiedToken<'_>,
    nonce: Option<&str>,
    now: i64,
) -> Result<VerifiedIdentity, Failure> {
    let facts = Facts {
        token: &token,
        provider: &provider.spec,
        nonce,
        now,
    };
    check_header(&facts)?;
    check_signature(&provider.keys, &token.jws).await?;
    check_claims(&facts)?;
    let mapped = provider.rules.apply(&token.claims).map_err(|rejected| {
        let mut refused = Code::ClaimsRejected.because(rejected.cause.to_string());
        refused.message = Some(rejected.message);
        refused
    })?;
    let skew = lifetime(provider.spec.token.clock_skew);
    Ok(VerifiedIdentity {
        identity: IdentityKey {
            policy: policy.key.clone(),
            issuer: provider.spec.issuer.as_str().to_owned(),
            subject: token.subject,
        },
        mapped,
        expires_at: token.expires_at.saturating_add(skew),
        digest: sha256(token.jws.signing_input.as_bytes()),
        claims: token.claims,
    })
}

/// Finds the key, fetching where that is due, and verifies the signature with it.
pub async fn check_signature(keys: &ProviderKeys, jws: &Jws<'_>) -> Result<(), Failure> {
    let algorithm = jws
        .header
        .algorithm
        .ok_or_else(|| Code::TokenAlgorithmNotAllowed.because("an unknown algorithm"))?;
    let kid = jws.header.kid.as_deref();
    let message = jws.signing_input.as_bytes();
    let verified = match keys {
        ProviderKeys::Static(set) => match set.find(kid, algorithm) {
            Lookup::Found(key) => key.verify_sig(message, &jws.signature),
            lookup => return Err(keys::not_found(&lookup, kid).into()),
        },
        ProviderKeys::Remote(remote) => {
            remote
                .with_key(kid, algorithm, |key| {
                    key.verify_sig(message, &jws.signature)
                })
                .await?
        }
    };
    verified.map_err(|_| {
        Code::TokenSignatureInvalid
            .because("the signature does not verify with the key that the token names")
            .into()
    })
}

fn question(provider: &LiveProvider, policy: &LivePolicy, identity: &VerifiedIdentity) -> Gather {
    Gather {
        history: policy.spec.risk.is_some(),
        identity: identity.identity.clone(),
        linkable_email: account::linkable_email(&provider.spec, &identity.mapped)
            .map(str::to_owned),
    }
}

fn carry(
    provider: &LiveProvider,
    policy: &LivePolicy,
    identity: &VerifiedIdentity,
    user: &UserInfo,
) -> Result<Carried, Failure> {
    let claims = &identity.claims;
    let extra = if policy.extra_claims.is_empty() {
        serde_json::Map::new()
    } else {
        let user = serde_json::json!({
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "phone": user.phone,
            "groups": identity.mapped.groups,
        });
        let about_provider = serde_json::json!({
            "name": provider.spec.name,
            "namespace": provider.spec.namespace,
            "issuer": provider.spec.issuer.as_str(),
            "displayName": provider.spec.display_name,
        });
        policy
            .extra_claims
            .evaluate(&user, claims, &about_provider)
            .map_err(|error| Code::ClaimsRejected.because(format!("extraClaims: {error}")))?
    };
    let amr = trusted_amr(&provider.spec, claims).map(str::to_owned);
    let acr = trusted_acr(&provider.spec, claims).map(str::to_owned);
    Ok(Carried {
        scope: FULL_SCOPE.to_owned(),
        auth_time: auth_time(claims),
        amr: amr.collect(),
        acr,
        idp: provider.spec.name.clone(),
        groups: identity.mapped.groups.clone(),
        extra,
    })
}

fn account_of(
    plan: &Plan,
    identity: &VerifiedIdentity,
    app: &Arc<App>,
    provider: &LiveProvider,
) -> Account {
    match plan {
        Plan::SignIn { user, changed } => Account::Existing {
            user_id: user.id,
            profile: changed.then(|| user.profile.clone()),
        },
        Plan::Create { user } => Account::Create {
            user: user.clone(),
            identity: identity.identity.clone(),
        },
        Plan::Link { user } => link_account(
            app,
            &provider.spec,
            &identity.mapped,
            identity.identity.clone(),
            user.id,
        ),
    }
}

/// A link to the user, to be decided again inside the transaction.
pub(crate) fn link_account(
    app: &Arc<App>,
    began_with: &Arc<Provider>,
    mapped: &MappedClaims,
    identity: IdentityKey,
    user_id: Uuid,
) -> Account {
    let (app, began_with) = (Arc::clone(app), Arc::clone(began_with));
    let mapped = mapped.clone();
    Account::Link {
        user_id,
        identity,
        email: mapped.email.clone().unwrap_or_default(),
        recheck: Arc::new(move || may_still_link(&app.serving.live(), &began_with, &mapped)),
    }
}

/// Called inside the transaction: the configuration may have changed since the sign-in began.
fn may_still_link(live: &Live, began_with: &Provider, mapped: &MappedClaims) -> bool {
    live.provider(&began_with.name).is_some_and(|provider| {
        let now = &provider.spec;
        !now.suspended
            && now.namespace == began_with.namespace
            && now.issuer == began_with.issuer
            && now.policy == began_with.policy
            && account::linkable_email(now, mapped).is_some()
    })
}

pub fn lifetime(duration: vestibule_crds::duration::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
