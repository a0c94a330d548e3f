//! Syncs the statuses: works out what each should be, and queues those that differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::object::Kind;
use vestibule_crds::snapshot::{KeySource, Policy, Provider, Revision, Snapshot};
use vestibule_crds::status::KeyStatus;
use vestibule_crds::verification_key::KeySet;

use super::{Controller, Published};
use crate::cache::{Entry, Key};
use crate::clock::rfc3339;
use crate::pods::Pods;
use crate::status::discovered::{Finding, discovered};
use crate::status::programmed::{PodProof, programmed};
use crate::status::{Desired, DesiredCondition};

/// How a key without a `kid` is named.
const NO_KID: &str = "-";

/// What is costly to work out about providers, kept until its source changes.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    keys: HashMap<String, (Revision, Vec<KeyStatus>)>,
}

impl Facts {
    pub(crate) fn forget_others(&mut self, snapshot: &Snapshot) {
        self.keys
            .retain(|name, _| snapshot.providers.contains_key(name));
    }

    /// The keys that verify a provider's tokens: those of the configuration, or those that a pod
    /// has fetched last.
    fn keys_of(
        &mut self,
        provider: &Provider,
        source: Option<&Revision>,
        pods: &Pods,
    ) -> Vec<KeyStatus> {
        let Provider { algorithms, .. } = provider;
        let name = &provider.key();
        match &provider.keys {
            KeySource::Static { jwks } => {
                let found = || keys_of_set(jwks, algorithms);
                self.remember(name, &provider.revision, found)
            }
            KeySource::Discovery { .. } | KeySource::JwksUri { .. } => {
                let seen = pods.seen_keys(name, |seed, digest| {
                    let fits = Some(&seed.source) == source;
                    fits.then(|| {
                        self.remember(name, digest, || keys_of_set(&seed.jwks, algorithms))
                    })
                });
                seen.flatten().unwrap_or_default()
            }
        }
    }

    fn remember(
        &mut self,
        name: &str,
        digest: &Revision,
        find: impl FnOnce() -> Vec<KeyStatus>,
    ) -> Vec<KeyStatus> {
        if let Some((of, keys)) = self.keys.get(name)
            && of == digest
        {
            return keys.clone();
        }
        let keys = find();
        self.keys
            .insert(name.to_owned(), (digest.clone(), keys.clone()));
        keys
    }
}

/// Where the keys of each provider come from, for those that fetch them.
pub(crate) fn sources(snapshot: &Snapshot) -> BTreeMap<String, Revision> {
    let providers = snapshot.providers.iter();
    let remote = providers.filter(|(_, provider)| match provider.keys {
        KeySource::Static { .. } => false,
        KeySource::Discovery { .. } | KeySource::JwksUri { .. } => true,
    });
    remote
        .map(|(name, provider)| (name.clone(), provider.key_source_revision()))
        .collect()
}

impl Controller {
    /// Queues the statuses that differ: of all objects, or of `only` these.
    pub(super) fn sync_statuses(&mut self, proofs: &[PodProof], only: Option<&BTreeSet<Key>>) {
        let Self {
            context,
            published,
            keyring,
            ..
        } = self;
        let Published {
            snapshot,
            sources,
            verdicts,
            facts,
            ..
        } = published;
        let Some(snapshot) = snapshot else {
            return;
        };
        let pods = &context.pods;
        let next_rotation = |policy: &Policy| keyring.next_rotation(policy);
        let mut sync_one = |key: &Key, entry: &Entry| {
            let Some(verdict) = verdicts.get(key) else {
                return;
            };
            // The object has changed since it was compiled: it is compiled again soon.
            if verdict.generation != entry.object.generation {
                return;
            }
            let (_, id) = key;
            let programmed = programmed(verdict, proofs);
            let desired = match key.0 {
                Kind::SigninPolicy => {
                    let policy = snapshot.policy(id);
                    let mut desired = Desired::new(verdict, programmed, None);
                    if let Some(policy) = policy {
                        desired.next_rotation_time = next_rotation(policy).map(rfc3339);
                        desired = desired.with_keys(keys_of_policy(policy));
                    }
                    desired
                }
                Kind::OidcProvider => {
                    let (provider, name) = (snapshot.provider(id), id.to_string());
                    let findings = pods.findings(&name);
                    let source = sources.get(&name);
                    let condition = discovered_of(provider, source, &findings);
                    let keys = provider.map(|provider| facts.keys_of(provider, source, pods));
                    Desired::new(verdict, programmed, Some(condition))
                        .with_keys(keys.unwrap_or_default())
                }
            };
            if desired.is(entry.status.as_ref()) {
                context.queue.withdraw(key);
            } else {
                context.queue.push(key.clone(), desired);
            }
        };
        context.cache.with_objects(|objects| match only {
            None => objects.iter().for_each(|(key, entry)| sync_one(key, entry)),
            Some(only) => {
                for key in only {
                    if let Some(entry) = objects.get(key) {
                        sync_one(key, entry);
                    }
                }
            }
        });
    }
}

fn discovered_of(
    provider: Option<&Arc<Provider>>,
    source: Option<&Revision>,
    findings: &[Finding],
) -> DesiredCondition {
    let findings: Vec<&Finding> = findings.iter().collect();
    let nothing = Revision::of(b"");
    let served = provider.map(|provider| (&provider.keys, source.unwrap_or(&nothing)));
    discovered(served, &findings)
}

fn keys_of_policy(policy: &Policy) -> Vec<KeyStatus> {
    let keys = policy.signing_keys.iter().map(|key| KeyStatus {
        kid: key.kid.clone(),
        algorithm: key.algorithm,
        state: Some(key.state),
    });
    keys.collect()
}

fn keys_of_set(jwks: &serde_json::Value, algorithms: &[Algorithm]) -> Vec<KeyStatus> {
    let Ok(set) = KeySet::parse(jwks, algorithms) else {
        return Vec::new();
    };
    let keys = set.keys().iter().filter_map(|key| {
        Some(KeyStatus {
            kid: key.kid.clone().unwrap_or_else(|| NO_KID.to_owned()),
            algorithm: key.algorithms().next()?,
            state: None,
        })
    });
    keys.collect()
}
