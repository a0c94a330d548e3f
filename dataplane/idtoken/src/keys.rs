//! The keys that verify a provider's tokens: fetched lazily, cached outside of the snapshot, and
//! kept through an outage.
//!
//! | the cache | a token comes | what happens |
//! |---|---|---|
//! | is empty | any | one fetch; everybody waits for it, at most [`fetch::FETCH_TIME_MAX`] |
//! | is younger than `refreshInterval` | its key is there | nothing |
//! | is older | its key is there | it is used, and one fetch begins in the background |
//! | is older than `maxStale` | any | as if empty |
//! | is not empty | its key is not there | one fetch, at most each [`UNKNOWN_KEY_WINDOW_SECONDS`]; everybody waits for it, and who comes after it is asked to come again when the next may be made |
//!
//! After a failure nothing is fetched until `Retry-After`, or one second and then more, has passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::Value;
use tokio::sync::watch;
use tracing::Instrument as _;
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::duration::Duration;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::publication::Seed;
use vestibule_crds::report::KeysState;
use vestibule_crds::snapshot::{KeySource, Provider};
use vestibule_crds::verification_key::{KeySet, Lookup};

use crate::clock::Clock;
use crate::refusal::{KeyError, Reason, Refused, UnavailableCause};
use crate::token::Jws;

pub mod egress;
pub mod fetch;

use fetch::{BoundedFetcher, FetchError};

/// At most one fetch for keys that are not in the set in this many seconds, however many tokens
/// name one.
pub const UNKNOWN_KEY_WINDOW_SECONDS: i64 = 10;
/// The longest pause after failures in a row.
const BACKOFF_SECONDS_MAX: i64 = 30;

/// The target of spans, which distinguishes them from log messages.
pub const TRACE_TARGET: &str = "vestibule_trace";

/// The keys of a provider.
#[derive(Debug)]
pub enum ProviderKeys {
    Static(KeySet),
    Remote(Arc<RemoteKeys>),
}

/// Whether a key that is not cached may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    Allowed,
    /// A token whose key is not cached is [`Unavailable`](crate::refusal::Unavailable) for so long.
    Forbidden {
        retry_after_seconds: u32,
    },
}

/// Finds the key of a token, fetching where that is due and allowed, and verifies the signature.
pub async fn check_signature(
    keys: &ProviderKeys,
    jws: &Jws<'_>,
    fetching: Fetching,
) -> Result<(), KeyError> {
    let algorithm = jws
        .header
        .algorithm
        .ok_or_else(|| Reason::AlgorithmNotAllowed.because("an unknown algorithm"))?;
    let kid = jws.header.kid.as_deref();
    let message = jws.signing_input.as_bytes();
    let verify = |key: &ParsedPublicKey| key.verify_sig(message, &jws.signature);
    let verified = match (keys, fetching) {
        (ProviderKeys::Static(set), _) => match set.find(kid, algorithm) {
            Lookup::Found(key) => verify(key),
            lookup => return Err(not_found(&lookup, kid).into()),
        },
        (ProviderKeys::Remote(remote), Fetching::Allowed) => {
            remote.with_key(kid, algorithm, verify).await?
        }
        (
            ProviderKeys::Remote(remote),
            Fetching::Forbidden {
                retry_after_seconds,
            },
        ) => {
            let cached = remote.with_cached_key(kid, algorithm, verify);
            cached.ok_or_else(|| {
                UnavailableCause::FetchNotAllowed
                    .after(retry_after_seconds, "the key is not cached")
            })?
        }
    };
    verified.map_err(|_| {
        Reason::SignatureInvalid
            .because("the signature does not verify with the key that the token names")
            .into()
    })
}

/// A provider's keys from its endpoints.
#[derive(Debug)]
pub struct RemoteKeys {
    settings: Settings,
    fetcher: BoundedFetcher,
    clock: Clock,
    fetched: ArcSwapOption<Fetched>,
    state: Mutex<State>,
    changes: Changes,
}

/// Numbers every change of any provider's keys, so that a caller can learn what changed since.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<AtomicU64>);

/// All that decides what is fetched: while it is equal, a reload keeps the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub source: KeySource,
    pub issuer: String,
    pub algorithms: Vec<Algorithm>,
    pub refresh_interval: Duration,
    pub max_stale: Duration,
    pub ca_bundle: Option<String>,
    pub egress: vestibule_crds::snapshot::Egress,
    pub http: HttpIssuers,
}

/// Keys, and when they came.
#[derive(Debug)]
pub struct Fetched {
    pub keys: KeySet,
    pub at: i64,
}

#[derive(Debug, Default)]
struct State {
    /// Set while a fetch is under way; it changes when the fetch is over.
    in_flight: Option<watch::Receiver<()>>,
    /// When a fetch for an unknown key was last begun.
    unknown_key_fetch_at: Option<i64>,
    failures: u32,
    /// Nothing is fetched before this.
    not_before: i64,
    last_error: Option<KeysError>,
    /// How many fetches have been begun.
    fetches: u64,
    /// The number of the last change.
    changed: u64,
}

/// Why keys could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("discovery document: {0}")]
    Discovery(FetchError),
    #[error("the discovery document is of issuer {0:?}")]
    IssuerMismatch(String),
    #[error("the discovery document has no jwks_uri")]
    NoJwksUri,
    #[error("JWK Set: {0}")]
    Jwks(FetchError),
    #[error("the document at the JWK Set's address is not a JWK Set")]
    NotAKeySet,
    #[error("the JWK Set has no key that can be used with the provider's algorithms")]
    NoUsableKey,
}

impl Settings {
    /// `None`: the keys stand in the snapshot.
    pub fn of(provider: &Provider, http: HttpIssuers) -> Option<Self> {
        match &provider.keys {
            KeySource::Static { .. } => None,
            KeySource::Discovery { .. } | KeySource::JwksUri { .. } => Some(Self {
                source: provider.keys.clone(),
                issuer: provider.issuer.as_str().to_owned(),
                algorithms: provider.algorithms.clone(),
                refresh_interval: provider.refresh_interval,
                max_stale: provider.max_stale,
                ca_bundle: provider.ca_bundle.clone(),
                egress: provider.egress,
                http,
            }),
        }
    }
}

impl Changes {
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What is known of a provider's keys, for a report.
#[derive(Debug, Clone)]
pub struct Known {
    /// The number of the last change.
    pub changed: u64,
    pub state: KeysState,
    pub error: Option<KeysError>,
    pub fetched: Option<Arc<Fetched>>,
}

impl RemoteKeys {
    pub fn new(settings: Settings, clock: Clock, changes: &Changes) -> Arc<Self> {
        let fetcher = BoundedFetcher::new(
            settings.egress,
            settings.http,
            settings.ca_bundle.as_deref(),
        );
        Arc::new(Self {
            settings,
            fetcher,
            clock,
            fetched: ArcSwapOption::empty(),
            state: Mutex::new(State {
                changed: changes.next(),
                ..State::default()
            }),
            changes: changes.clone(),
        })
    }

    /// Takes over keys that another pod has fetched for the same settings, when they are newer than
    /// what is here.
    pub fn seed(&self, seed: &Seed) {
        if !self.is_older_than(seed) {
            return;
        }
        let Ok(keys) = KeySet::parse(&seed.jwks, &self.settings.algorithms) else {
            return;
        };
        let mut state = self.state();
        // A fetch may have ended meanwhile.
        if self.is_older_than(seed) && !keys.is_empty() {
            let at = self.fetched_at(seed);
            self.fetched.store(Some(Arc::new(Fetched { keys, at })));
            state.changed = self.changes.next();
        }
    }

    /// Whether a seed has anything new: most that are published again have not, and are not worth
    /// reading.
    pub fn is_older_than(&self, seed: &Seed) -> bool {
        let fetched = self.fetched.load();
        fetched
            .as_ref()
            .is_none_or(|fetched| fetched.at < self.fetched_at(seed))
    }

    /// A clock that runs ahead elsewhere makes no key newer than now.
    fn fetched_at(&self, seed: &Seed) -> i64 {
        seed.fetched_at.min(self.clock.now())
    }

    pub fn known(&self) -> Known {
        let now = self.clock.now();
        let state = self.state();
        let fetched = self.usable(now);
        Known {
            changed: state.changed,
            state: match (&state.last_error, &fetched) {
                (Some(KeysError::IssuerMismatch(_)), _) => KeysState::IssuerMismatch,
                (Some(_), Some(_)) => KeysState::ServingStale,
                (Some(_), None) => KeysState::Unreachable,
                (None, Some(_)) => KeysState::Fresh,
                (None, None) => KeysState::NotYet,
            },
            error: state.last_error.clone(),
            fetched,
        }
    }

    /// Whether the keys are missing or older than `refreshInterval`, and no failure's pause lasts.
    pub fn is_due(&self) -> bool {
        let now = self.clock.now();
        let fresh = self
            .fetched
            .load()
            .as_ref()
            .is_some_and(|fetched| now - fetched.at < seconds(self.settings.refresh_interval));
        !fresh && self.state().not_before <= now
    }

    /// Fetches, or joins the fetch under way, and waits until it is over.
    pub async fn prefetch(self: &Arc<Self>) {
        if let Some(done) = self.begin_fetch(self.clock.now()) {
            wait(done).await;
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many fetches have been begun since the start.
    pub fn fetches(&self) -> u64 {
        self.state().fetches
    }

    pub fn last_error(&self) -> Option<KeysError> {
        self.state().last_error.clone()
    }

    pub fn fetched(&self) -> Option<Arc<Fetched>> {
        self.fetched.load_full()
    }

    /// Runs `with` on the key of a token, after whatever fetch the table above asks for.
    pub async fn with_key<T>(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
        with: impl FnOnce(&ParsedPublicKey) -> T,
    ) -> Result<T, KeyError> {
        let now = self.clock.now();
        let mut fetched = match self.usable(now) {
            Some(fetched) => {
                if now - fetched.at >= seconds(self.settings.refresh_interval) {
                    // Its end is not waited for: the keys at hand serve meanwhile.
                    let _begun = self.begin_fetch(now);
                }
                fetched
            }
            None => self.fetch_and_wait(now).await?,
        };
        if matches!(fetched.keys.find(kid, algorithm), Lookup::Unknown)
            && kid.is_some()
            && let Some(refetched) = self.refetch_for_unknown_key(now).await?
        {
            fetched = refetched;
        }
        match fetched.keys.find(kid, algorithm) {
            Lookup::Found(key) => Ok(with(key)),
            lookup => Err(not_found(&lookup, kid).into()),
        }
    }

    /// Runs `with` on the key of a token if it is at hand; nothing is fetched, now or in the
    /// background.
    pub fn with_cached_key<T>(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        with: impl FnOnce(&ParsedPublicKey) -> T,
    ) -> Option<T> {
        let fetched = self.usable(self.clock.now())?;
        match fetched.keys.find(kid, algorithm) {
            Lookup::Found(key) => Some(with(key)),
            Lookup::AlgorithmMismatch | Lookup::Unknown => None,
        }
    }

    fn usable(&self, now: i64) -> Option<Arc<Fetched>> {
        self.fetched
            .load_full()
            .filter(|fetched| now - fetched.at < seconds(self.settings.max_stale))
    }

    async fn fetch_and_wait(self: &Arc<Self>, now: i64) -> Result<Arc<Fetched>, KeyError> {
        if let Some(done) = self.begin_fetch(now) {
            wait(done).await;
        }
        self.usable(self.clock.now())
            .ok_or_else(|| self.unavailable(now))
    }

    /// Keys that were fetched after the token came, or why none can be: what was fetched before it
    /// came says nothing of a key that the provider has begun to sign with since.
    async fn refetch_for_unknown_key(
        self: &Arc<Self>,
        now: i64,
    ) -> Result<Option<Arc<Fetched>>, KeyError> {
        let done = {
            let mut state = self.state();
            let opens_at = state
                .unknown_key_fetch_at
                .map_or(now, |at| at.saturating_add(UNKNOWN_KEY_WINDOW_SECONDS));
            match &state.in_flight {
                Some(in_flight) => Some(in_flight.clone()),
                None if opens_at <= now && state.not_before <= now => {
                    state.unknown_key_fetch_at = Some(now);
                    Some(self.spawn_fetch(&mut state))
                }
                None if state.last_error.is_none() && opens_at > now => {
                    let seconds = u32::try_from(opens_at - now).unwrap_or(1);
                    return Err(UnavailableCause::KeyNotSeen
                        .after(seconds, "the key was not there at the last fetch")
                        .into());
                }
                None => None,
            }
        };
        if let Some(done) = done {
            wait(done).await;
        }
        // An outage is never the caller's fault: while fetches fail, the key may well be there.
        if self.state().last_error.is_some() {
            return Err(self.unavailable(now));
        }
        Ok(self.fetched.load_full())
    }

    /// Joins the fetch under way or begins one; `None` while a failure's pause lasts.
    fn begin_fetch(self: &Arc<Self>, now: i64) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        match &state.in_flight {
            Some(in_flight) => Some(in_flight.clone()),
            None if state.not_before <= now => Some(self.spawn_fetch(&mut state)),
            None => None,
        }
    }

    /// The fetch is a task of its own: a caller that goes away does not end it.
    fn spawn_fetch(self: &Arc<Self>, state: &mut State) -> watch::Receiver<()> {
        let (done, waiting) = watch::channel(());
        state.in_flight = Some(waiting.clone());
        state.fetches += 1;
        let keys = Arc::clone(self);
        let fetching = async move {
            let outcome = keys.fetch().await;
            keys.settle(outcome);
            drop(done);
        };
        let span = tracing::info_span!(
            target: TRACE_TARGET,
            "fetch",
            otel.name = "fetch provider keys",
            otel.kind = "client",
            vestibule.provider = self.settings.issuer,
        );
        tokio::spawn(fetching.instrument(span));
        waiting
    }

    async fn fetch(&self) -> Result<KeySet, KeysError> {
        let jwks_uri = match &self.settings.source {
            KeySource::Discovery { url } => {
                let document = self.fetcher.json(url).await.map_err(KeysError::Discovery)?;
                jwks_uri(&document, &self.settings.issuer)?
            }
            KeySource::JwksUri { url } => url.clone(),
            KeySource::Static { .. } => return Err(KeysError::NotAKeySet),
        };
        let jwks = self
            .fetcher
            .json(&jwks_uri)
            .await
            .map_err(KeysError::Jwks)?;
        let keys =
            KeySet::parse(&jwks, &self.settings.algorithms).map_err(|_| KeysError::NotAKeySet)?;
        if keys.is_empty() {
            return Err(KeysError::NoUsableKey);
        }
        Ok(keys)
    }

    fn settle(&self, outcome: Result<KeySet, KeysError>) {
        let now = self.clock.now();
        let mut state = self.state();
        state.in_flight = None;
        state.changed = self.changes.next();
        match outcome {
            Ok(keys) => {
                if state.failures > 0 {
                    tracing::info!(issuer = %self.settings.issuer, "the provider's keys can be fetched again");
                }
                state.failures = 0;
                state.not_before = now;
                state.last_error = None;
                self.fetched
                    .store(Some(Arc::new(Fetched { keys, at: now })));
            }
            Err(error) => {
                if state.last_error.as_ref() != Some(&error) {
                    tracing::warn!(issuer = %self.settings.issuer, %error, "the provider's keys cannot be fetched");
                }
                let pause = 1_i64 << state.failures.min(5);
                state.failures = state.failures.saturating_add(1);
                let pause = match retry_after(&error) {
                    Some(seconds) => i64::from(seconds),
                    None => pause.min(BACKOFF_SECONDS_MAX),
                };
                state.not_before = now + pause;
                state.last_error = Some(error);
            }
        }
    }

    fn unavailable(&self, now: i64) -> KeyError {
        let state = self.state();
        let seconds = u32::try_from((state.not_before - now).max(1)).unwrap_or(1);
        let audit = match &state.last_error {
            Some(error) => error.to_string(),
            None => "no keys have been fetched".to_owned(),
        };
        UnavailableCause::Provider.after(seconds, audit).into()
    }

    /// Held for a few assignments, never across I/O; what a panic left is still a valid state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the fetch's task to be over, which has a time limit of its own.
async fn wait(mut done: watch::Receiver<()>) {
    while done.changed().await.is_ok() {}
}

fn jwks_uri(document: &Value, issuer: &str) -> Result<String, KeysError> {
    let found = document.get("issuer").and_then(Value::as_str);
    if found != Some(issuer) {
        let found = found.unwrap_or_default().chars().take(200).collect();
        return Err(KeysError::IssuerMismatch(found));
    }
    let uri = document.get("jwks_uri").and_then(Value::as_str);
    uri.map(str::to_owned).ok_or(KeysError::NoJwksUri)
}

fn retry_after(error: &KeysError) -> Option<u32> {
    match error {
        KeysError::Discovery(FetchError::Status {
            retry_after_seconds,
            ..
        })
        | KeysError::Jwks(FetchError::Status {
            retry_after_seconds,
            ..
        }) => *retry_after_seconds,
        _ => None,
    }
}

/// The refusal for a key that a set does not have.
fn not_found(lookup: &Lookup, kid: Option<&str>) -> Refused {
    let kid = kid.map_or_else(
        || "no kid".to_owned(),
        |kid| format!("kid {:?}", kid.chars().take(100).collect::<String>()),
    );
    match lookup {
        Lookup::AlgorithmMismatch => {
            Reason::AlgorithmNotAllowed.because(format!("{kid}: the key is for other algorithms"))
        }
        Lookup::Unknown | Lookup::Found(_) => {
            Reason::KeyUnknown.because(format!("{kid}: the provider publishes no such key"))
        }
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
