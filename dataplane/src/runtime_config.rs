//! The runtime configuration: a snapshot with its keys parsed and its expressions compiled, built
//! off the request path and swapped in as one [`Arc`]. A request keeps the one that it started
//! with.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use vestibule_crds::claims::{ClaimRules, ExtraClaims};
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::publication::{ProofKey, Published, Seeds};
use vestibule_crds::signing_key::SigningKey;
use vestibule_crds::snapshot::{FORMAT, KeySource, KeyState, Policy, Provider, Revision, Snapshot};
use vestibule_crds::verification_key::KeySet;

use crate::clock::Clock;
use crate::factors::email::MailServer;
use crate::factors::seal::SealingKeys;
use crate::factors::sms::Webhook;
use crate::factors::webauthn::RelyingParty;
use crate::failure::{TryAgain, TryAgainReason};
use vestibule_idtoken::keys::{Changes, ProviderKeys, RemoteKeys, Settings};

pub mod clients;
pub mod documents;
mod shared_rules;

use clients::{ActiveClient, Clients, Declared};
use documents::{Documents, IssuerDocuments};
use shared_rules::SharedRules;

/// Everything that a request may need of the configuration.
#[derive(Debug)]
pub struct ActiveConfig {
    pub revision: Option<Revision>,
    /// Seconds since the Unix epoch.
    pub since: i64,
    /// The release's; none where all objects are the installer's own.
    own_namespace: Option<String>,
    /// By `namespace/name`. The order of these maps decides the order of whatever is made from
    /// them, so they are sorted.
    providers: BTreeMap<String, Arc<ActiveProvider>>,
    /// By name alone, as callers may write it: the one in the release's own namespace, else the
    /// only one of that name.
    by_name: HashMap<String, Arc<ActiveProvider>>,
    by_issuer: HashMap<String, Vec<Arc<ActiveProvider>>>,
    /// By `namespace/name`.
    policies: BTreeMap<String, Arc<ActivePolicy>>,
    policies_by_issuer: HashMap<String, Arc<ActivePolicy>>,
    clients: Clients,
    pub documents: Documents,
}

#[derive(Debug)]
pub struct ActiveProvider {
    pub spec: Arc<Provider>,
    /// `namespace/name`: what the store calls it.
    pub key: String,
    pub rules: Arc<ClaimRules>,
    pub keys: ProviderKeys,
}

#[derive(Debug)]
pub struct ActivePolicy {
    /// Without the text of its signing keys, which are in `keys`.
    pub spec: Arc<Policy>,
    pub extra_claims: ExtraClaims,
    /// `namespace/name`: what the store calls it.
    pub key: String,
    /// What secrets of second factors are sealed with; none while a managed key has not been made
    /// yet.
    pub sealing: Option<SealingKeys>,
    /// What each method needs, where the policy has it.
    pub relying_party: Option<RelyingParty>,
    pub mail_server: Option<MailServer>,
    pub sms_webhook: Option<Webhook>,
    /// The only clients that may use the OAuth endpoints, even where none is left. None: they are
    /// open.
    pub clients: Option<Vec<Arc<ActiveClient>>>,
    /// In the order of the snapshot.
    pub keys: Vec<PolicyKey>,
    current: Option<usize>,
}

#[derive(Debug)]
pub struct PolicyKey {
    pub signing: SigningKey,
    /// Its public half, ready to verify.
    pub public: KeySet,
    pub state: KeyState,
    /// The header of every access token that it signs, encoded.
    pub encoded_header: String,
}

/// A snapshot that cannot be served; it never replaces one that can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("the snapshot has format {0}, and this version reads format {FORMAT}")]
    Format(u32),
    #[error("policy {0}: {1}")]
    Policy(String, String),
    #[error("provider {0}: {1}")]
    Provider(String, String),
    #[error("policies {0} and {1} have one issuer")]
    OneIssuer(String, String),
}

/// What outlives a reload: the serving snapshot itself and the caches of provider keys.
#[derive(Debug)]
pub struct RuntimeConfig {
    active: ArcSwap<ActiveConfig>,
    publication: ArcSwapOption<Publication>,
    context: Context,
    /// One reload at a time.
    reload: Mutex<()>,
}

/// What the operator published last that is served: its digest, and the key that proves it.
#[derive(Debug)]
pub struct Publication {
    pub digest: Revision,
    pub proof_key: ProofKey,
}

/// What building a runtime configuration needs besides the snapshot.
#[derive(Debug)]
struct Context {
    http: HttpIssuers,
    clock: Clock,
    changes: Changes,
    rules: SharedRules,
}

impl RuntimeConfig {
    /// Serves nothing yet: not ready.
    pub fn empty(http: HttpIssuers, clock: Clock) -> Self {
        let active = ActiveConfig {
            revision: None,
            since: clock.now(),
            own_namespace: None,
            providers: BTreeMap::new(),
            by_name: HashMap::new(),
            by_issuer: HashMap::new(),
            policies: BTreeMap::new(),
            policies_by_issuer: HashMap::new(),
            clients: Clients::default(),
            documents: Documents::default(),
        };
        Self {
            active: ArcSwap::from_pointee(active),
            publication: ArcSwapOption::empty(),
            context: Context {
                http,
                clock,
                changes: Changes::default(),
                rules: SharedRules::default(),
            },
            reload: Mutex::new(()),
        }
    }

    pub fn active(&self) -> Arc<ActiveConfig> {
        self.active.load_full()
    }

    pub fn publication(&self) -> Option<Arc<Publication>> {
        self.publication.load_full()
    }

    /// The number of the last change of any provider's keys.
    pub fn changes(&self) -> u64 {
        self.context.changes.last()
    }

    /// Builds `snapshot` and serves it from here on; false when it is being served already.
    pub fn serve(&self, snapshot: &Snapshot) -> Result<bool, BuildError> {
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        self.swap(snapshot, &Seeds::new())
    }

    /// The same for what the operator published: its keys of providers are there with the first
    /// request.
    pub fn serve_published(
        &self,
        published: Published,
        digest: Revision,
    ) -> Result<bool, BuildError> {
        let Published {
            snapshot,
            seeds,
            proof_key,
        } = published;
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.swap(&snapshot, &seeds)?;
        let publication = Publication { digest, proof_key };
        self.publication.store(Some(Arc::new(publication)));
        Ok(changed)
    }

    fn swap(&self, snapshot: &Snapshot, seeds: &Seeds) -> Result<bool, BuildError> {
        let previous = self.active();
        if previous.revision.as_ref() == Some(&snapshot.revision) {
            previous.seed(seeds);
            return Ok(false);
        }
        let active = ActiveConfig::build(snapshot, &previous, &self.context)?;
        active.seed(seeds);
        self.active.store(Arc::new(active));
        Ok(true)
    }
}

impl ActiveConfig {
    fn build(snapshot: &Snapshot, previous: &Self, context: &Context) -> Result<Self, BuildError> {
        if snapshot.format != FORMAT {
            return Err(BuildError::Format(snapshot.format));
        }
        let mut policies = BTreeMap::new();
        let mut policies_by_issuer: HashMap<String, Arc<ActivePolicy>> = HashMap::new();
        for (key, spec) in &snapshot.policies {
            let policy = match previous.policies.get(key) {
                Some(policy) if policy.spec.revision == spec.revision => Arc::clone(policy),
                _ => Arc::new(
                    ActivePolicy::build(spec, context.http)
                        .map_err(|error| BuildError::Policy(key.clone(), error))?,
                ),
            };
            let issuer = spec.token.issuer.as_str().to_owned();
            if let Some(other) = policies_by_issuer.insert(issuer, Arc::clone(&policy)) {
                return Err(BuildError::OneIssuer(other.key.clone(), key.clone()));
            }
            policies.insert(key.clone(), policy);
        }

        let mut providers = BTreeMap::new();
        let mut by_issuer: HashMap<String, Vec<Arc<ActiveProvider>>> = HashMap::new();
        for (key, spec) in &snapshot.providers {
            let before = previous.providers.get(key);
            let provider = match before {
                Some(provider) if provider.spec.revision == spec.revision => Arc::clone(provider),
                _ => Arc::new(
                    ActiveProvider::build(spec, before, context)
                        .map_err(|error| BuildError::Provider(key.clone(), error))?,
                ),
            };
            let aliases = spec.issuer_aliases.iter().map(String::as_str);
            for issuer in std::iter::once(spec.issuer.as_str()).chain(aliases) {
                let of_issuer = by_issuer.entry(issuer.to_owned()).or_default();
                of_issuer.push(Arc::clone(&provider));
            }
            providers.insert(key.clone(), provider);
        }

        let by_name = by_name(&providers, snapshot.own_namespace.as_deref());
        let clients = Clients::of(policies.values());
        let documents = Documents::of(policies.values().map(|policy| IssuerDocuments::of(policy)));
        Ok(Self {
            revision: Some(snapshot.revision.clone()),
            since: context.clock.now(),
            own_namespace: snapshot.own_namespace.clone(),
            providers,
            by_name,
            by_issuer,
            policies,
            policies_by_issuer,
            clients,
            documents,
        })
    }

    /// Gives each provider the keys that were fetched for it elsewhere.
    fn seed(&self, seeds: &Seeds) {
        for (name, seed) in seeds {
            if let Some(provider) = self.providers.get(name)
                && let ProviderKeys::Remote(remote) = &provider.keys
                && remote.is_older_than(seed)
                && provider.spec.key_source_revision() == seed.source
            {
                remote.seed(seed);
            }
        }
    }

    /// As a caller names it: `namespace/name`, or the name alone.
    pub fn provider(&self, name: &str) -> Option<&Arc<ActiveProvider>> {
        if name.contains('/') {
            self.providers.get(name)
        } else {
            self.by_name.get(name)
        }
    }

    /// Whether it is in the release's own namespace.
    pub fn is_own(&self, provider: &ActiveProvider) -> bool {
        self.own_namespace.as_deref() == Some(provider.spec.namespace.as_str())
    }

    /// Every provider that accepts tokens of this issuer, aliases included.
    pub fn providers_of(&self, issuer: &str) -> &[Arc<ActiveProvider>] {
        self.by_issuer.get(issuer).map_or(&[], Vec::as_slice)
    }

    pub fn providers(&self) -> impl Iterator<Item = &Arc<ActiveProvider>> {
        self.providers.values()
    }

    /// The policy of a provider, which is in its namespace.
    pub fn policy_of(&self, provider: &ActiveProvider) -> Option<&Arc<ActivePolicy>> {
        self.policies.get(&provider.spec.policy_key())
    }

    pub fn policy_of_issuer(&self, issuer: &str) -> Option<&Arc<ActivePolicy>> {
        self.policies_by_issuer.get(issuer)
    }

    /// By the store's key, `namespace/name`.
    pub fn policy_of_key(&self, key: &str) -> Option<&Arc<ActivePolicy>> {
        self.policies.get(key)
    }

    /// By `namespace/name`, or by name alone where only one policy has it.
    pub fn policy(&self, name: &str) -> Option<&Arc<ActivePolicy>> {
        if name.contains('/') {
            return self.policies.get(name);
        }
        let mut named = self
            .policies
            .values()
            .filter(|policy| policy.spec.name == name);
        named.next().filter(|_| named.next().is_none())
    }

    /// OAuth clients that go by this name, in the order of their policies' names.
    pub fn clients_named(&self, name: &str) -> &[Declared] {
        self.clients.named(name)
    }

    pub fn policies(&self) -> impl Iterator<Item = &Arc<ActivePolicy>> {
        self.policies.values()
    }
}

/// The providers that their name alone leads to.
fn by_name(
    providers: &BTreeMap<String, Arc<ActiveProvider>>,
    own_namespace: Option<&str>,
) -> HashMap<String, Arc<ActiveProvider>> {
    let mut named: BTreeMap<&str, Vec<&Arc<ActiveProvider>>> = BTreeMap::new();
    for provider in providers.values() {
        named.entry(&provider.spec.name).or_default().push(provider);
    }
    let chosen = named.into_iter().filter_map(|(name, all)| {
        let is_own = |provider: &&Arc<ActiveProvider>| {
            own_namespace == Some(provider.spec.namespace.as_str())
        };
        let own = all.iter().copied().find(is_own);
        let only = || match all.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        let provider = own.or_else(only)?;
        Some((name.to_owned(), Arc::clone(provider)))
    });
    chosen.collect()
}

impl ActiveProvider {
    fn build(
        spec: &Arc<Provider>,
        before: Option<&Arc<Self>>,
        context: &Context,
    ) -> Result<Self, String> {
        let rules = context.rules.of(spec).map_err(|error| error.to_string())?;
        let keys = match (&spec.keys, Settings::of(spec, context.http)) {
            (KeySource::Static { jwks }, _) => {
                let keys =
                    KeySet::parse(jwks, &spec.algorithms).map_err(|error| error.to_string())?;
                ProviderKeys::Static(keys)
            }
            (_, None) => return Err("it names no source of keys".to_owned()),
            (_, Some(settings)) => match before.map(|provider| &provider.keys) {
                Some(ProviderKeys::Remote(remote)) if *remote.settings() == settings => {
                    ProviderKeys::Remote(Arc::clone(remote))
                }
                _ => ProviderKeys::Remote(RemoteKeys::new(
                    settings,
                    context.clock.clone(),
                    &context.changes,
                )),
            },
        };
        Ok(Self {
            key: format!("{}/{}", spec.namespace, spec.name),
            spec: Arc::clone(spec),
            rules,
            keys,
        })
    }
}

impl ActivePolicy {
    fn build(spec: &Arc<Policy>, http: HttpIssuers) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(spec.signing_keys.len());
        for key in &spec.signing_keys {
            let wanted = vestibule_crds::algorithm::SigningAlgorithm::of(key.algorithm);
            let signing = SigningKey::parse(&key.pem, wanted)
                .map_err(|error| format!("signing key {}: {error}", key.kid))?;
            keys.push(PolicyKey {
                encoded_header: encoded_header(&signing),
                public: crate::runtime_config::public_half(&signing.jwk, signing.algorithm),
                signing,
                state: key.state,
            });
        }
        // A method that cannot be built is not there; the policy is, and so are the others.
        let name = &spec.name;
        let log = |error: &dyn std::fmt::Display| {
            tracing::error!("policy {name}: a method of second factors cannot be used: {error}");
        };
        let timeout = std::time::Duration::from_secs(spec.mfa.challenge_ttl.as_secs());
        let relying_party = spec.mfa.webauthn.as_ref().and_then(|site| {
            let relying_party = RelyingParty::new(site, timeout);
            relying_party.inspect_err(|error| log(error)).ok()
        });
        let mail_server = spec.mfa.email.as_ref().and_then(|email| {
            let mail_server = MailServer::new(email, spec.egress);
            mail_server.inspect_err(|error| log(error)).ok()
        });
        let extra_claims =
            ExtraClaims::parse(&spec.extra_claims).map_err(|error| error.to_string())?;
        let clients = spec.clients.as_ref().map(|clients| {
            let clients = clients.iter().map(ActiveClient::build);
            clients.map(|client| client.map(Arc::new)).collect()
        });
        Ok(Self {
            clients: clients.transpose()?,
            current: keys.iter().position(|key| key.state == KeyState::Current),
            key: format!("{}/{}", spec.namespace, spec.name),
            sealing: SealingKeys::new(&spec.mfa.keys),
            relying_party,
            mail_server,
            sms_webhook: spec
                .mfa
                .sms
                .as_ref()
                .map(|sms| Webhook::new(sms, http, spec.egress)),
            spec: Arc::new(spec.without_pem()),
            extra_claims,
            keys,
        })
    }

    /// The key that signs; a managed one may not have been made yet.
    pub fn current_key(&self) -> Result<&PolicyKey, TryAgain> {
        match self.current {
            Some(index) => Ok(&self.keys[index]),
            None => Err(TryAgainReason::NotReady.after(1, "the policy has no signing key yet")),
        }
    }

    pub fn key_of(&self, kid: &str) -> Option<&PolicyKey> {
        self.keys.iter().find(|key| key.signing.kid == kid)
    }
}

/// Our own published key, ready to verify.
pub fn public_half(jwk: &Value, algorithm: vestibule_crds::algorithm::Algorithm) -> KeySet {
    KeySet::parse(&json!({"keys": [jwk]}), &[algorithm]).unwrap_or_default()
}

/// `typ` says access token (RFC 9068, section 2.1), so that no verifier takes one for an ID token.
pub fn encoded_header(key: &SigningKey) -> String {
    let header = json!({"alg": key.algorithm.name(), "kid": key.kid, "typ": "at+jwt"});
    URL_SAFE_NO_PAD.encode(header.to_string())
}
