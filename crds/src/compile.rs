//! From what people wrote to what pods serve: one pure function, run by the operator and by `vestibule serve --manifests`.
//!
//! One bad object harms no other. An object that does not compile keeps what it served before; what is suspended, deleted
//! or removed ends at once, however bad the rest of the update is.

mod cache;
mod clients;
mod expressions;
mod factors;
mod last_good;
mod policy;
mod provider;
mod reference;
mod seal;
mod verdict;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::issuer::{HttpIssuers, Issuer};
use crate::object::{Kind, NamespacedName, Object};
use crate::rotation::ManagedKey;
use crate::secret::Secret;
use crate::snapshot::{FORMAT, KeyState, Policy, Provider, Revision, Snapshot};
use cache::{Cache, Outcome};
use verdict::{Problems, finding};

pub use verdict::{
    AcceptedReason, ConditionStatus, Finding, Judgement, ResolvedRefsReason, Serving, Verdict,
};

/// Everything that the outcome depends on.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    pub objects: Vec<Object>,
    pub secrets: BTreeMap<NamespacedName, BTreeMap<String, Secret>>,
    pub config_maps: BTreeMap<NamespacedName, BTreeMap<String, String>>,
    /// By policy: the keys that the keeper made, with their state now ([`crate::rotation::states`]).
    pub managed_keys: BTreeMap<NamespacedName, Vec<(ManagedKey, KeyState)>>,
    /// By policy: the key that the keeper made for the secrets of second factors, as [`crate::encryption_key`] reads it.
    pub managed_encryption_keys: BTreeMap<NamespacedName, Secret>,
    /// What is served now.
    pub previous: Option<Arc<Snapshot>>,
    pub http_issuers: HttpIssuers,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    pub snapshot: Snapshot,
    /// One for each object of the inputs: policies before providers, by namespace and name.
    pub verdicts: Vec<Verdict>,
}

/// Compiles once; who compiles again and again keeps a [`Compiler`].
pub fn compile(inputs: &Inputs) -> Compiled {
    Compiler::default().compile(inputs)
}

/// Compiles again and again: what has not changed is not compiled a second time, and the outcome is the same.
#[derive(Debug, Default)]
pub struct Compiler {
    cache: Cache,
}

impl Compiler {
    pub fn compile(&mut self, inputs: &Inputs) -> Compiled {
        let mut lookup = self.cache.lookup(inputs);
        let mut assembly = Assembly::default();
        for object in by_age(&inputs.objects, Kind::SigninPolicy) {
            let outcome = lookup.policy(object);
            assembly.add_policy(object, outcome, inputs);
        }
        for object in by_age(&inputs.objects, Kind::OidcProvider) {
            let outcome = lookup.provider(object);
            assembly.add_provider(object, outcome, inputs);
        }
        lookup.finish();
        assembly.finish()
    }
}

/// The oldest first: where two objects want the same, the older one has it.
fn by_age(objects: &[Object], kind: Kind) -> Vec<&Object> {
    let mut objects: Vec<&Object> = objects
        .iter()
        .filter(|object| object.kind == kind)
        .collect();
    objects.sort_by_key(|object| (&object.created_at, &object.id));
    objects
}

/// The snapshot while it grows, and who has what.
#[derive(Default)]
struct Assembly<'a> {
    policies: BTreeMap<String, Arc<Policy>>,
    providers: BTreeMap<String, Arc<Provider>>,
    names: BTreeMap<(Kind, &'a str), &'a NamespacedName>,
    /// Issuers of local tokens, without a trailing slash: two that differ in it share their endpoints.
    local_issuers: BTreeMap<String, NamespacedName>,
    verdicts: Vec<Verdict>,
    /// Providers that are served, the oldest first, with the place of their verdicts.
    served: Vec<(usize, Arc<Provider>)>,
}

impl<'a> Assembly<'a> {
    fn add_policy(&mut self, object: &'a Object, outcome: Outcome<Policy>, inputs: &Inputs) {
        let (policy, mut problems) = (outcome.value, outcome.problems);
        if self.is_name_taken(object, &mut problems) {
            return self.conclude(object, problems, None, Serving::Nothing);
        }
        let policy = policy.filter(|policy| match self.local_issuer_owner(policy) {
            Some(owner) => {
                let message = format!(
                    "SigninPolicy {owner} has this issuer already: choose another, since one policy's tokens must mean nothing to another"
                );
                problems.invalid("spec.token.issuer", message);
                false
            }
            None => true,
        });

        let before = last_good::policy(object, inputs);
        let revision = policy.as_ref().map(|policy| policy.revision.clone());
        let (served, serving) = match policy {
            Some(policy) => (
                Some(reuse(policy, before, |p| &p.revision)),
                Serving::Current,
            ),
            None => {
                let kept = before.map(|before| last_good::narrowed_policy(before, object, inputs));
                let kept = kept.filter(|policy| self.local_issuer_owner(policy).is_none());
                let serving = serving_previous(kept.as_ref().map(|policy| &policy.revision));
                (kept, serving)
            }
        };
        if let Some(policy) = served {
            let issuer = issuer_key(&policy.token.issuer);
            self.local_issuers.insert(issuer, object.id.clone());
            self.policies.insert(object.id.name.clone(), policy);
        }
        self.conclude(object, problems, revision, serving);
    }

    fn add_provider(&mut self, object: &'a Object, outcome: Outcome<Provider>, inputs: &Inputs) {
        let (provider, mut problems) = (outcome.value, outcome.problems);
        if self.is_name_taken(object, &mut problems) {
            return self.conclude(object, problems, None, Serving::Nothing);
        }
        let provider = provider.filter(|provider| {
            let found = self.has_policy(provider);
            if !found {
                let message = format!(
                    "no SigninPolicy {} is served in namespace {}: create it, or put it right",
                    provider.policy, provider.namespace
                );
                problems.refuse(
                    AcceptedReason::PolicyNotFound,
                    "spec.policyRef.name",
                    message,
                );
            }
            found
        });

        let before = last_good::provider(object, inputs);
        let revision = provider.as_ref().map(|provider| provider.revision.clone());
        let (served, serving) = match provider {
            Some(provider) => (
                Some(reuse(provider, before, |p| &p.revision)),
                Serving::Current,
            ),
            None => {
                let kept =
                    before.map(|before| last_good::narrowed_provider(before, object, inputs));
                // A policy that is gone takes its providers with it, whatever was served before.
                let kept = kept.filter(|provider| self.has_policy(provider));
                let serving = serving_previous(kept.as_ref().map(|provider| &provider.revision));
                (kept, serving)
            }
        };
        if let Some(provider) = served {
            self.served
                .push((self.verdicts.len(), Arc::clone(&provider)));
            self.providers.insert(object.id.name.clone(), provider);
        }
        self.conclude(object, problems, revision, serving);
    }

    /// Names are unique over all watched namespaces: callers name a provider without its namespace.
    fn is_name_taken(&mut self, object: &'a Object, problems: &mut Problems) -> bool {
        match self.names.entry((object.kind, &object.id.name)) {
            Entry::Vacant(entry) => {
                entry.insert(&object.id);
                false
            }
            Entry::Occupied(entry) => {
                let message = format!(
                    "{} {} is older: choose another name",
                    object.kind,
                    entry.get()
                );
                problems.refuse(AcceptedReason::NameConflict, "metadata.name", message);
                true
            }
        }
    }

    fn local_issuer_owner(&self, policy: &Policy) -> Option<&NamespacedName> {
        self.local_issuers.get(&issuer_key(&policy.token.issuer))
    }

    fn has_policy(&self, provider: &Provider) -> bool {
        let policy = self.policies.get(&provider.policy);
        policy.is_some_and(|policy| policy.namespace == provider.namespace)
    }

    fn conclude(
        &mut self,
        object: &Object,
        problems: Problems,
        revision: Option<Revision>,
        serving: Serving,
    ) {
        self.verdicts.push(Verdict {
            kind: object.kind,
            namespace: object.id.namespace.clone(),
            name: object.id.name.clone(),
            source: object.source.clone(),
            generation: object.generation,
            accepted: problems.accepted(),
            resolved_refs: problems.resolved_refs(),
            findings: problems.findings(),
            warnings: problems.warnings,
            revision,
            serving,
        });
    }

    fn finish(self) -> Compiled {
        let mut verdicts = self.verdicts;
        for (place, warning) in recognised_twice(&self.served) {
            verdicts[place].warnings.push(warning);
        }
        let warnings = clients::unusable(&self.policies, &self.providers);
        for (policy, warning) in warnings {
            let of_policy = |verdict: &&mut Verdict| {
                verdict.kind == Kind::SigninPolicy
                    && (&verdict.namespace, &verdict.name) == (&policy.namespace, &policy.name)
            };
            if let Some(verdict) = verdicts.iter_mut().find(of_policy) {
                verdict.warnings.push(warning);
            }
        }
        verdicts.sort_by(|left, right| verdict::order(left).cmp(&verdict::order(right)));
        Compiled {
            snapshot: seal::seal_snapshot(Snapshot {
                format: FORMAT,
                revision: Revision::of(b""),
                policies: self.policies,
                providers: self.providers,
            }),
            verdicts,
        }
    }
}

/// A warning for each pair of issuer and audience that an older provider has too: a token that names no provider is taken
/// for that one, and for neither where nothing tells which is older.
fn recognised_twice(served: &[(usize, Arc<Provider>)]) -> Vec<(usize, Finding)> {
    let pairs = served
        .iter()
        .map(|(_, provider)| provider.audiences.len() * (1 + provider.issuer_aliases.len()))
        .sum();
    let mut owners: HashMap<(&str, &str), &Provider> = HashMap::with_capacity(pairs);
    let mut warnings = Vec::new();
    for (place, provider) in served {
        let aliases = provider.issuer_aliases.iter().map(String::as_str);
        let issuers = std::iter::once(provider.issuer.as_str()).chain(aliases);
        for issuer in issuers {
            for audience in &provider.audiences {
                let owner = *owners.entry((issuer, audience)).or_insert(provider);
                if std::ptr::eq(owner, &**provider) {
                    continue;
                }
                let is_older = owner.created_at.is_some() && owner.created_at < provider.created_at;
                let (older, whom) = if is_older {
                    (" is older and", "this provider, or that one is meant")
                } else {
                    ("", "the provider")
                };
                let message = format!(
                    "OidcProvider {}/{}{older} has issuer {issuer} and audience {audience} too: callers must name {whom}",
                    owner.namespace, owner.name
                );
                warnings.push((*place, finding("spec.audiences", message)));
            }
        }
    }
    warnings
}

/// What is served already where it is the same: unchanged objects keep their place in memory.
fn reuse<T>(now: Arc<T>, before: Option<&Arc<T>>, revision: impl Fn(&T) -> &Revision) -> Arc<T> {
    match before {
        Some(before) if revision(before) == revision(&now) => Arc::clone(before),
        Some(_) | None => now,
    }
}

fn serving_previous(revision: Option<&Revision>) -> Serving {
    match revision {
        Some(revision) => Serving::Previous(revision.clone()),
        None => Serving::Nothing,
    }
}

fn issuer_key(issuer: &Issuer) -> String {
    issuer.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
