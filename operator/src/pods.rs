//! The pods of the data plane: which are ready, what each reports that it serves, and what it has
//! seen of providers' keys.
//!
//! A report counts as long as the pod and its containers are the same: a request without an answer
//! does not void it.

pub(crate) mod follow;
pub(crate) mod pod_api;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::sync::{Notify, watch};
use vestibule_crds::publication::{ProofKey, Seed, Seeds};
use vestibule_crds::report::{DiscoveryReport, RevisionReport};
use vestibule_crds::snapshot::{Revision, Snapshot};

use tokio::time::{Duration, Instant};
use vestibule_process::backoff::PAUSE_MAX;

use crate::publish::{digest_of_contents, seed_digest};
use crate::status::discovered::Finding;
use crate::status::programmed::{History, PodProof};
use pod_api::{AskError, finding, shortened};

/// After its watch failed the list of pods may be old for so long: the next try, which may fail
/// too, comes before.
const STALE_TIME: Duration = Duration::from_secs(2 * PAUSE_MAX.as_secs() + 1);

/// Largest key set of a provider that is published with the configuration, and most of all sets of
/// one namespace.
const SEED_BYTES_MAX: usize = 64 * 1024;
const NAMESPACE_SEED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What pods are asked for: the revision that they should serve, and the key that proves their
/// answers.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) revision: Revision,
    pub(crate) proof_key: ProofKey,
}

#[derive(Debug)]
pub(crate) struct Pods {
    state: Mutex<State>,
    /// Something that statuses depend on has changed.
    pub(crate) changed: Notify,
    /// A pod came, went or was replaced.
    pods_changed: Notify,
    expected: watch::Sender<Option<Expected>>,
    admin_port: u16,
}

#[derive(Debug, Default)]
struct State {
    /// The ready ones, by name.
    ready: BTreeMap<String, ReadyPod>,
    /// While pods may have come or gone unseen.
    stale: Option<Stale>,
    /// By `namespace/name` of the provider: the keys that any pod has fetched last.
    seen: HashMap<String, Seen>,
}

/// The watch of the pods has failed, and nothing has come of it since.
#[derive(Debug, Clone)]
pub(crate) struct Stale {
    pub(crate) since: Instant,
    pub(crate) until: Instant,
    error: String,
}

/// Keys that a pod has fetched.
#[derive(Debug)]
struct Seen {
    seed: Seed,
    /// Of the keys, whenever they were fetched.
    digest: Revision,
    bytes: usize,
}

/// Which process answers: a container that restarts under the same name has a new identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodIdentity {
    uid: String,
    address: IpAddr,
    /// Of its containers.
    restarts: i64,
}

#[derive(Debug)]
struct ReadyPod {
    identity: PodIdentity,
    /// Whether it has been asked what it serves, answer or not.
    asked: bool,
    serves: Option<Revision>,
    error: Option<String>,
    discovery: Discovery,
}

/// What a pod has seen of providers, as far as it has been read.
#[derive(Debug, Default)]
struct Discovery {
    /// Of the pod's process; another one counts from the beginning.
    process: String,
    sequence: u64,
    /// Whether all of it has been read once.
    read: bool,
    findings: BTreeMap<String, Finding>,
}

impl Pods {
    pub(crate) fn new(admin_port: u16) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            pods_changed: Notify::new(),
            expected: watch::Sender::new(None),
            admin_port,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on pods are asked until they serve this.
    pub(crate) fn expect(&self, expected: Expected) {
        self.expected.send_replace(Some(expected));
    }

    pub(crate) fn apply(&self, pod: &Pod) {
        let name = pod.name_any();
        let Some(identity) = identity_if_ready(pod) else {
            return self.remove(&name);
        };
        {
            let mut state = self.lock();
            if state
                .ready
                .get(&name)
                .is_some_and(|known| known.identity == identity)
            {
                return;
            }
            state.ready.insert(name, ReadyPod::new(identity));
        }
        self.pods_changed.notify_one();
        self.changed.notify_one();
    }

    pub(crate) fn remove(&self, name: &str) {
        if self.lock().ready.remove(name).is_some() {
            self.pods_changed.notify_one();
            self.changed.notify_one();
        }
    }

    /// The watch of the pods has failed: until it works again, nothing is known to be served by
    /// every pod.
    pub(crate) fn watch_failed(&self, error: &str) {
        let now = Instant::now();
        let mut state = self.lock();
        let since = state.stale.take().map_or(now, |stale| stale.since);
        state.stale = Some(Stale {
            since,
            until: now + STALE_TIME,
            error: shortened(error.to_owned()),
        });
    }

    pub(crate) fn watch_works(&self) {
        if self.lock().stale.take().is_some() {
            self.changed.notify_one();
        }
    }

    /// A watch that resumes where it broke off has no event until a pod changes: after a while
    /// without an error it counts as working.
    pub(crate) fn stale(&self) -> Option<Stale> {
        let mut state = self.lock();
        if state
            .stale
            .as_ref()
            .is_some_and(|stale| stale.until <= Instant::now())
        {
            state.stale = None;
            self.changed.notify_one();
        }
        state.stale.clone()
    }

    pub(crate) fn keep_only(&self, listed: &BTreeSet<String>) {
        let gone: Vec<String> = {
            let state = self.lock();
            let names = state.ready.keys().filter(|name| !listed.contains(*name));
            names.cloned().collect()
        };
        for name in gone {
            self.remove(&name);
        }
    }

    /// The ready pods with who they are.
    fn identities(&self) -> BTreeMap<String, PodIdentity> {
        let state = self.lock();
        let ready = state.ready.iter();
        ready
            .map(|(name, pod)| (name.clone(), pod.identity.clone()))
            .collect()
    }

    fn with_pod(
        &self,
        name: &str,
        identity: &PodIdentity,
        change: impl FnOnce(&mut ReadyPod) -> bool,
    ) {
        let changed = {
            let mut state = self.lock();
            let pod = state.ready.get_mut(name);
            pod.filter(|pod| pod.identity == *identity)
                .is_some_and(change)
        };
        if changed {
            self.changed.notify_one();
        }
    }

    /// What a pod has answered, or why it has not.
    fn revision_answered(
        &self,
        name: &str,
        identity: &PodIdentity,
        answer: Result<RevisionReport, AskError>,
    ) {
        self.with_pod(name, identity, |pod| {
            let (serves, error) = match answer {
                Ok(report) => (report.revision, report.refused.error.map(shortened)),
                Err(error) => (pod.serves.clone(), Some(error.to_string())),
            };
            let changed = !pod.asked || pod.serves != serves || pod.error != error;
            (pod.asked, pod.serves, pod.error) = (true, serves, error);
            changed
        });
    }

    /// Where to go on reading a pod's discovery.
    fn discovery_cursor(&self, name: &str) -> u64 {
        let state = self.lock();
        state
            .ready
            .get(name)
            .map_or(0, |pod| pod.discovery.sequence)
    }

    /// Whether the pod is to be asked again at once: there is more, or its process is new and
    /// counts from the beginning.
    fn discovery_answered(
        &self,
        name: &str,
        identity: &PodIdentity,
        since: u64,
        report: DiscoveryReport,
    ) -> bool {
        let mut seen = Vec::new();
        let mut again = false;
        self.with_pod(name, identity, |pod| {
            let discovery = &mut pod.discovery;
            if discovery.process != report.process {
                *discovery = Discovery {
                    process: report.process.clone(),
                    ..Discovery::default()
                };
                if since != 0 {
                    again = true;
                    return false;
                }
            }
            discovery.sequence = report.sequence;
            let changed = !report.providers.is_empty();
            // An empty page that promises more would be asked for without end.
            again = report.more && changed;
            let changed = changed || !discovery.read;
            discovery.read |= !again;
            for provider in report.providers {
                let (name, finding, seed) = finding(provider);
                seen.extend(seed.map(|seed| (name.clone(), seed)));
                discovery.findings.insert(name, finding);
            }
            changed
        });
        let mut state = self.lock();
        for (provider, seed) in seen {
            let known = state.seen.get(&provider).map(|known| &known.seed);
            let newer = known.is_none_or(|known| {
                known.fetched_at < seed.fetched_at || known.source != seed.source
            });
            if newer {
                state.seen.insert(provider, Seen::new(seed));
            }
        }
        again
    }

    /// What the ready pods have reported, in the order of their names, and whether all has been
    /// read of each.
    pub(crate) fn proofs(&self, history: &History) -> (Vec<PodProof>, bool) {
        let unseen = self.stale().map(|stale| PodProof::unseen(stale.error));
        let state = self.lock();
        let proofs = state.ready.iter().map(|(name, pod)| PodProof {
            name: name.clone(),
            serves: pod
                .serves
                .as_ref()
                .and_then(|revision| history.find(revision))
                .cloned(),
            error: pod.error.clone(),
        });
        let mut ready = state.ready.values();
        let all_read = ready.all(|pod| pod.asked && pod.discovery.read);
        (proofs.chain(unseen).collect(), all_read)
    }

    /// What the ready pods have seen of a provider.
    pub(crate) fn findings(&self, provider: &str) -> Vec<Finding> {
        let state = self.lock();
        let ready = state.ready.values();
        ready
            .filter_map(|pod| pod.discovery.findings.get(provider))
            .cloned()
            .collect()
    }

    /// The keys of a provider as a pod has fetched them last, with a digest of them.
    pub(crate) fn seen_keys<T>(
        &self,
        provider: &str,
        read: impl FnOnce(&Seed, &Revision) -> T,
    ) -> Option<T> {
        let state = self.lock();
        let seen = state.seen.get(provider)?;
        Some(read(&seen.seed, &seen.digest))
    }

    pub(crate) fn has_seen_keys(&self) -> bool {
        !self.lock().seen.is_empty()
    }

    /// Keys that were published before the start count until pods have fetched newer ones.
    pub(crate) fn recover(&self, seeds: Seeds) {
        let mut state = self.lock();
        for (provider, seed) in seeds {
            state
                .seen
                .entry(provider)
                .or_insert_with(|| Seen::new(seed));
        }
    }

    /// Forgets what was seen of providers that are served no more.
    pub(crate) fn forget_others(&self, snapshot: &Snapshot) {
        let mut state = self.lock();
        let State {
            ready,
            seen,
            stale: _,
        } = &mut *state;
        seen.retain(|name, _| snapshot.providers.contains_key(name));
        for pod in ready.values_mut() {
            let findings = &mut pod.discovery.findings;
            findings.retain(|name, _| snapshot.providers.contains_key(name));
        }
    }

    /// Of the keys seen of the providers in `sources`, which names where the keys of each come
    /// from.
    pub(crate) fn seeds_digest(&self, sources: &BTreeMap<String, Revision>) -> Revision {
        let state = self.lock();
        let fitting = state.fitting(sources);
        digest_of_contents(fitting.map(|(name, seen)| (name, seen.digest.clone())))
    }

    pub(crate) fn seeds(&self, sources: &BTreeMap<String, Revision>) -> Seeds {
        let state = self.lock();
        let fitting = state.fitting(sources);
        fitting
            .map(|(name, seen)| (name.clone(), seen.seed.clone()))
            .collect()
    }
}

impl State {
    /// Keys that were seen of these sources, as far as the share of each namespace goes: they only
    /// make a start quicker.
    fn fitting<'s>(
        &'s self,
        sources: &'s BTreeMap<String, Revision>,
    ) -> impl Iterator<Item = (&'s String, &'s Seen)> {
        let mut namespace_bytes: HashMap<&str, usize> = HashMap::new();
        sources.iter().filter_map(move |(name, source)| {
            let seen = self.seen.get(name)?;
            if seen.seed.source != *source || seen.bytes > SEED_BYTES_MAX {
                return None;
            }
            let namespace = name.split_once('/').map_or("", |(namespace, _)| namespace);
            let bytes = namespace_bytes.entry(namespace).or_default();
            *bytes += seen.bytes;
            (*bytes <= NAMESPACE_SEED_BYTES_MAX).then_some((name, seen))
        })
    }
}

impl Seen {
    fn new(seed: Seed) -> Self {
        let bytes = serde_json::to_vec(&seed.jwks).map_or(usize::MAX, |jwks| jwks.len());
        Self {
            digest: seed_digest(&seed),
            bytes,
            seed,
        }
    }
}

impl ReadyPod {
    fn new(identity: PodIdentity) -> Self {
        Self {
            identity,
            asked: false,
            serves: None,
            error: None,
            discovery: Discovery::default(),
        }
    }
}

/// Who a pod is, if it is ready and not on its way out.
fn identity_if_ready(pod: &Pod) -> Option<PodIdentity> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let containers = status.container_statuses.iter().flatten();
    Some(PodIdentity {
        uid: pod.metadata.uid.clone()?,
        address: status.pod_ip.as_ref()?.parse().ok()?,
        restarts: containers
            .map(|container| i64::from(container.restart_count))
            .sum(),
    })
}

pub(crate) type SharedPods = Arc<Pods>;

#[cfg(test)]
mod tests;
