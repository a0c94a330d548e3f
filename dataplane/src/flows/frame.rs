//! What every request does around its own story: who asks and from where, the limits of the policy
//! that it turns out to be about, and the audit event at its end.
//!
//! | known so far | the client's address | failures are counted by |
//! |---|---|---|
//! | no policy | the peer's: no proxy is trusted | that address |
//! | the policy | as the policy's `trustedProxies` say | that address and the provider, up to the policy's limit |
//!
//! Nothing of one policy reaches another: neither its proxies, nor its limit, nor failures at its
//! providers. Above the limit a request goes on, without a fetch from a provider, and succeeds if
//! it is good: junk that comes through one caller shuts no one out. What is refused then is
//! answered with 429, counts no more and leaves no audit event.

use std::net::IpAddr;
use std::sync::Arc;

use crate::agent;
use crate::app::{App, Caller};
use crate::audit::context::AuditContext;
use crate::client_address::{self, client_address, network};
use crate::failure::{Code, Failure, TryAgainReason};
use crate::limits::of_address;
use crate::refresh_token::Holder;
use crate::runtime_config::{ActiveConfig, ActivePolicy};
use vestibule_idtoken::keys::Fetching;
use vestibule_idtoken::keys::egress::is_public;
use vestibule_store::{EventKind, IdentityKey, Session, User};

/// Failures of one address in a minute that no policy is known for.
const UNKNOWN_PER_MINUTE: u32 = 300;

/// One request, from its arrival to its audit event.
#[derive(Debug)]
pub struct Frame<'c> {
    /// The configuration that the request began with.
    pub active: Arc<ActiveConfig>,
    /// Seconds since the Unix epoch.
    pub now: i64,
    pub audit: AuditContext,
    pub caller: Caller<'c>,
    client: IpAddr,
    limit: Limit,
    policy: Option<Arc<ActivePolicy>>,
    /// Who has proved to be this user: failing raises that user's risk. No one raises another
    /// user's by failing in that user's name.
    suspect: Option<IdentityKey>,
}

/// Whose failures are counted, and how many there may be.
#[derive(Debug)]
struct Limit {
    /// `namespace/name` of the provider, or whose client it is; empty while no policy is known.
    scope: String,
    per_minute: u32,
    /// Seconds until failures are answered again; none below the limit.
    exceeded: Option<u32>,
}

impl<'c> Frame<'c> {
    pub fn begin(app: &App, kind: EventKind, caller: Caller<'c>) -> Self {
        let now = app.clock.now();
        let client = caller.peer.to_canonical();
        Self {
            active: app.runtime_config.active(),
            now,
            audit: AuditContext::new(kind, now, caller.request_id, network(client)),
            caller,
            client,
            limit: Limit::new(app, client, String::new(), UNKNOWN_PER_MINUTE, now),
            policy: None,
            suspect: None,
        }
    }

    /// From here on the request is about this policy, and about this provider of it.
    pub fn policy(&mut self, app: &App, policy: &Arc<ActivePolicy>, provider: &str) {
        self.enter(app, policy, provider.to_owned());
        provider.clone_into(&mut self.audit.provider);
    }

    /// From here on the request is about a client of this policy.
    pub fn client_of(&mut self, app: &App, policy: &Arc<ActivePolicy>) {
        self.enter(app, policy, format!("clients of {}", policy.key));
    }

    fn enter(&mut self, app: &App, policy: &Arc<ActivePolicy>, scope: String) {
        let Caller { peer, headers, .. } = self.caller;
        self.client = client_address(peer, headers, &policy.spec.trusted_proxies);
        self.audit.network = network(self.client);
        self.audit.policy.clone_from(&policy.key);
        let per_minute = policy.spec.limits.failures_per_ip_per_minute;
        self.limit = Limit::new(app, self.client, scope, per_minute, self.now);
        self.policy = Some(Arc::clone(policy));
    }

    /// From here on the request is about this session, of this user.
    pub fn session(&mut self, app: &App, session: &Session, user: &User) {
        let active = Arc::clone(&self.active);
        if let Some(policy) = active.policy_of_key(&session.policy) {
            self.policy(app, policy, &session.provider);
        }
        self.audit.of_session(session, user);
    }

    /// From here on it is known whose sign-in this is.
    pub fn suspect(&mut self, identity: IdentityKey) {
        self.suspect = Some(identity);
    }

    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether the address has failed too often: then only what is good goes on, and nothing is
    /// fetched for it.
    pub fn is_limited(&self) -> bool {
        self.limit.exceeded.is_some()
    }

    /// Above the limit nothing is fetched.
    pub fn fetching(&self) -> Fetching {
        match self.limit.exceeded {
            None => Fetching::Allowed,
            Some(retry_after_seconds) => Fetching::Forbidden {
                retry_after_seconds,
            },
        }
    }

    /// What a request over the limit is answered with; one below it should not ask.
    pub fn limited(&self) -> Failure {
        limited_for(self.limit.exceeded.unwrap_or(1))
    }

    /// Who holds a refresh token that this request shows.
    pub fn holder(&self) -> Holder {
        let network = if self.client == self.caller.peer.to_canonical() {
            client_address::holder_network(self.client)
        } else {
            network(self.client)
        };
        Holder::of(&network, &agent::class(self.caller.headers))
    }

    /// How the request ended: what is refused counts, and is audited.
    pub fn end<T>(&self, app: &App, result: Result<T, Failure>) -> Result<T, Failure> {
        let failure = match result {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let counts = match &failure {
            // The reuse of a token ends a session: it is never left out.
            Failure::Refused(refused) => refused.code != Code::RefreshTokenReused,
            Failure::TryAgain(again) => again.reason == TryAgainReason::KeyNotSeen,
        };
        if counts {
            if self.is_limited() {
                return Err(self.limited());
            }
            if let Some(seconds) = self.count(app) {
                return Err(limited_for(seconds));
            }
        }
        let is_limited = matches!(
            &failure,
            Failure::TryAgain(again) if again.reason == TryAgainReason::RateLimited
        );
        if !is_limited {
            app.record(self.audit.failure(&failure));
        }
        Err(failure)
    }

    /// Counts one failure, unless concurrent ones have used the limit up: then seconds until the
    /// next.
    fn count(&self, app: &App) -> Option<u32> {
        let address = of_address(self.client);
        let key = (address, self.limit.scope.as_str());
        let exceeded = app.failures.count(key, self.limit.per_minute, self.now);
        if exceeded.is_none() {
            self.count_for_risk(app);
        }
        exceeded
    }

    fn count_for_risk(&self, app: &App) {
        let (now, address) = (self.now, of_address(self.client));
        let Some(policy) = &self.policy else { return };
        let Some(risk) = &policy.spec.risk else {
            return;
        };
        if is_public(self.client) {
            let window = risk.signals.ip_failures.window.as_secs();
            let subject = (policy.key.as_str(), address);
            app.recent_failures.count(subject, window, now);
        }
        if let Some(identity) = &self.suspect {
            let window = risk.signals.user_failures.window.as_secs();
            app.recent_failures.count(identity, window, now);
        }
    }
}

fn limited_for(seconds: u32) -> Failure {
    TryAgainReason::RateLimited
        .after(seconds, "too many failures from this address")
        .into()
}

impl Limit {
    fn new(app: &App, client: IpAddr, scope: String, per_minute: u32, now: i64) -> Self {
        let key = (of_address(client), scope.as_str());
        let exceeded = app.failures.exceeded(key, per_minute, now);
        Self {
            scope,
            per_minute,
            exceeded,
        }
    }
}
