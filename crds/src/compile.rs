//! From what people wrote to what pods serve: one pure function, run by the operator and by
//! `vestibule serve --manifests`.
//!
//! One bad object harms no other. An object that does not compile keeps what it served before; what
//! is suspended, deleted or removed ends at once, however bad the rest of the update is.

mod cache;
mod clients;
mod expressions;
mod factors;
mod issuers;
mod last_good;
mod policy;
mod provider;
mod references;
mod resolve;
mod seal;
mod shares;
mod spec;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::installer::Installer;
use crate::issuer::{HttpIssuers, normal_form};
use crate::object::{Kind, NamespacedName, Object};
use crate::rotation::ManagedKey;
use crate::secret::Secret;
use crate::snapshot::{FORMAT, KeyState, Policy, Provider, Revision, Snapshot};
use cache::{Cache, Outcome};
use issuers::Owners;
use serde::Serialize;
use shares::{Place, Wish};
use verdict::{Problems, finding};

pub use references::{DataId, DataKind, Reference, references};
pub use resolve::USE_LABEL;
pub use verdict::{
    AcceptedReason, ConditionStatus, Finding, Judgement, ResolvedRefsReason, Serving, Verdict,
};

/// Everything that the outcome depends on.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    pub objects: Vec<Object>,
    pub secrets: BTreeMap<NamespacedName, BTreeMap<String, Secret>>,
    /// The value of [`USE_LABEL`] of each Secret that has it.
    pub secret_uses: BTreeMap<NamespacedName, String>,
    pub config_maps: BTreeMap<NamespacedName, BTreeMap<String, String>>,
    /// By policy: the keys that the keeper made, with their state now
    /// ([`crate::rotation::states`]).
    pub managed_keys: BTreeMap<NamespacedName, Vec<(ManagedKey, KeyState)>>,
    /// By policy: the key that the keeper made for the secrets of second factors, as
    /// [`crate::encryption_key`] reads it.
    pub managed_encryption_keys: BTreeMap<NamespacedName, Secret>,
    /// What is served now.
    pub previous: Option<Arc<Snapshot>>,
    pub http_issuers: HttpIssuers,
    pub installer: Installer,
    /// Seconds since the Unix epoch; none where nothing is remembered over time, as with a
    /// directory of manifests.
    pub now: Option<i64>,
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

/// Compiles again and again: what has not changed is not compiled a second time, and the outcome is
/// the same.
#[derive(Debug, Default)]
pub struct Compiler {
    cache: Cache,
}

impl Compiler {
    pub fn compile(&mut self, inputs: &Inputs) -> Compiled {
        let mut lookup = self.cache.lookup(inputs);
        let policies = by_age(&inputs.objects, Kind::SigninPolicy);
        let mut policies: Vec<Candidate<'_, Policy>> = policies
            .map(|object| {
                Candidate::of(
                    object,
                    lookup.policy(object),
                    last_good::policy(object, inputs),
                )
            })
            .collect();
        let providers = by_age(&inputs.objects, Kind::OidcProvider);
        let mut providers: Vec<Candidate<'_, Provider>> = providers
            .map(|object| {
                Candidate::of(
                    object,
                    lookup.provider(object),
                    last_good::provider(object, inputs),
                )
            })
            .collect();
        give_places(&inputs.installer, &mut policies, &mut providers);

        let mut assembly = Assembly::of(inputs);
        // Stable: among equals the older one stays first.
        policies.sort_by_cached_key(|candidate| candidate.rank(&assembly.owners));
        for candidate in policies {
            assembly.add_policy(candidate, inputs);
        }
        for candidate in providers {
            assembly.add_provider(candidate, inputs);
        }
        lookup.finish();
        assembly.finish(inputs)
    }
}

/// The oldest first: where two objects want the same, the older one has it.
fn by_age(objects: &[Object], kind: Kind) -> impl Iterator<Item = &Object> {
    let mut objects: Vec<&Object> = objects
        .iter()
        .filter(|object| object.kind == kind)
        .collect();
    objects.sort_by_key(|object| object.age());
    objects.into_iter()
}

/// Takes away what finds no place in the share of its namespace.
fn give_places(
    installer: &Installer,
    policies: &mut [Candidate<'_, Policy>],
    providers: &mut [Candidate<'_, Provider>],
) {
    // Without bounds there is nothing to measure.
    if installer.shares.is_none() {
        return;
    }
    let wishes: Vec<Wish<'_>> = policies
        .iter()
        .map(Candidate::wish)
        .chain(providers.iter().map(Candidate::wish))
        .collect();
    let mut places = shares::places(installer, &wishes).into_iter();
    for (candidate, place) in policies.iter_mut().zip(&mut places) {
        candidate.settle(place);
    }
    for (candidate, place) in providers.iter_mut().zip(&mut places) {
        candidate.settle(place);
    }
}

/// An object that nothing has been decided about: as it is now if it compiles, and as it was served
/// before.
struct Candidate<'a, T> {
    object: &'a Object,
    now: Option<Arc<T>>,
    bytes: usize,
    before: Option<&'a Arc<T>>,
    problems: Problems,
}

impl<'a, T: Compiling> Candidate<'a, T> {
    fn of(object: &'a Object, outcome: Outcome<T>, before: Option<&'a Arc<T>>) -> Self {
        let Outcome {
            value,
            bytes,
            problems,
        } = outcome;
        Self {
            object,
            now: value.map(|value| reuse(value, before)),
            bytes,
            before,
            problems,
        }
    }

    fn wish(&self) -> Wish<'a> {
        let is_same = |before: &&Arc<T>| {
            let now = self.now.as_ref();
            now.is_some_and(|now| now.revision() == before.revision())
        };
        let before = self.before.map(|before| match is_same(&before) {
            true => self.bytes,
            false => shares::size_of(&**before),
        });
        Wish {
            object: self.object,
            now: self.now.as_ref().map(|_| self.bytes),
            before,
        }
    }

    fn settle(&mut self, place: Place) {
        if let Some(message) = place.refusal {
            let reason = AcceptedReason::QuotaExceeded;
            self.problems.refuse(reason, "spec", message);
            self.now = None;
        }
        self.before = self.before.filter(|_| place.before);
    }
}

impl Candidate<'_, Policy> {
    fn rank(&self, owners: &Owners<'_>) -> u8 {
        let policy = self.now.as_ref().or(self.before);
        policy.map_or(u8::MAX, |policy| owners.rank(policy))
    }
}

/// What both kinds have when they are compiled.
trait Compiling: Serialize {
    fn revision(&self) -> &Revision;
}

impl Compiling for Policy {
    fn revision(&self) -> &Revision {
        &self.revision
    }
}

impl Compiling for Provider {
    fn revision(&self) -> &Revision {
        &self.revision
    }
}

/// The snapshot while it grows, and who has what.
struct Assembly<'a> {
    policies: BTreeMap<String, Arc<Policy>>,
    providers: BTreeMap<String, Arc<Provider>>,
    owners: Owners<'a>,
    verdicts: Vec<Verdict>,
    /// Providers that are served, the oldest first, with the place of their verdicts.
    served: Vec<(usize, Arc<Provider>)>,
}

impl<'a> Assembly<'a> {
    fn of(inputs: &'a Inputs) -> Self {
        Self {
            policies: BTreeMap::new(),
            providers: BTreeMap::new(),
            owners: Owners::of(inputs),
            verdicts: Vec::new(),
            served: Vec::new(),
        }
    }

    fn add_policy(&mut self, candidate: Candidate<'_, Policy>, inputs: &Inputs) {
        let Candidate {
            object,
            now,
            bytes: _,
            before,
            mut problems,
        } = candidate;
        let now = now.filter(|policy| match self.owners.refusal(policy) {
            Some(message) => {
                let path = "spec.token.issuer";
                problems.refuse(AcceptedReason::IssuerConflict, path, message);
                false
            }
            None => true,
        });
        let revision = now.as_ref().map(|policy| policy.revision.clone());
        let (served, serving) = match now {
            Some(policy) => (Some(policy), Serving::Current),
            None => {
                let kept = before.map(|before| last_good::narrowed_policy(before, object, inputs));
                let kept = kept.filter(|policy| self.owners.refusal(policy).is_none());
                let serving = serving_previous(kept.as_ref().map(|policy| &policy.revision));
                (kept, serving)
            }
        };
        if let Some(policy) = served {
            self.owners.take(&policy);
            self.policies.insert(object.id.to_string(), policy);
        }
        self.conclude(object, problems, revision, serving);
    }

    fn add_provider(&mut self, candidate: Candidate<'_, Provider>, inputs: &Inputs) {
        let Candidate {
            object,
            now: provider,
            bytes: _,
            before,
            mut problems,
        } = candidate;
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

        let revision = provider.as_ref().map(|provider| provider.revision.clone());
        let (served, serving) = match provider {
            Some(provider) => (Some(provider), Serving::Current),
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
            self.providers.insert(object.id.to_string(), provider);
        }
        self.conclude(object, problems, revision, serving);
    }

    fn has_policy(&self, provider: &Provider) -> bool {
        self.policies.contains_key(&provider.policy_key())
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

    fn finish(self, inputs: &Inputs) -> Compiled {
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
                own_namespace: inputs.installer.own_namespace.clone(),
                issuers: self.owners.finish(),
            }),
            verdicts,
        }
    }
}

/// A warning for each pair of issuer and audience that an older provider has too: a token that
/// names no provider is taken for that one, and for neither where nothing tells which is older.
fn recognised_twice(served: &[(usize, Arc<Provider>)]) -> Vec<(usize, Finding)> {
    let pairs = served
        .iter()
        .map(|(_, provider)| provider.audiences.len() * (1 + provider.issuer_aliases.len()))
        .sum();
    let mut owners: HashMap<(String, &str), &Provider> = HashMap::with_capacity(pairs);
    let mut warnings = Vec::new();
    for (place, provider) in served {
        let aliases = provider.issuer_aliases.iter().map(String::as_str);
        let issuers = std::iter::once(provider.issuer.as_str()).chain(aliases);
        for issuer in issuers {
            for audience in &provider.audiences {
                // Two spellings of one issuer are one provider twice, though tokens are compared to
                // the letter.
                let owner = *owners
                    .entry((normal_form(issuer), audience))
                    .or_insert(provider);
                if std::ptr::eq(owner, &**provider) {
                    continue;
                }
                let is_older = owner.created_at.is_some() && owner.created_at < provider.created_at;
                let (older, provider_meant) = if is_older {
                    (" is older and", "this provider, or that one is meant")
                } else {
                    ("", "the provider")
                };
                let message = format!(
                    "OidcProvider {}/{}{older} has issuer {issuer} and audience {audience} too: callers must name {provider_meant}",
                    owner.namespace, owner.name
                );
                warnings.push((*place, finding("spec.audiences", message)));
            }
        }
    }
    warnings
}

/// What is served already where it is the same: unchanged objects keep their place in memory.
fn reuse<T: Compiling>(now: Arc<T>, before: Option<&Arc<T>>) -> Arc<T> {
    match before {
        Some(before) if before.revision() == now.revision() => Arc::clone(before),
        Some(_) | None => now,
    }
}

fn serving_previous(revision: Option<&Revision>) -> Serving {
    match revision {
        Some(revision) => Serving::Previous(revision.clone()),
        None => Serving::Nothing,
    }
}

#[cfg(test)]
mod tests;
