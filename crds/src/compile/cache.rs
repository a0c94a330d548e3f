//! What objects compiled to before, and everything that each outcome depended on: after one change
//! of ten thousand objects one is compiled.
//!
//! An outcome is used again only for an equal object whose references lead to equal content, so a
//! compile with a cache and one without come to the same.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Inputs;
use super::expressions::Expressions;
use super::resolve::{Followed, Resolver};
use super::shares::size_of;
use super::verdict::Problems;
use super::{policy, provider};
use crate::installer::Installer;
use crate::issuer::HttpIssuers;
use crate::object::{NamespacedName, Object};
use crate::snapshot::{Policy, Provider, Revision};

/// The outcomes of the compile before this one.
#[derive(Debug, Default)]
pub(super) struct Cache {
    policies: HashMap<NamespacedName, Entry<Policy>>,
    providers: HashMap<NamespacedName, Entry<Provider>>,
    http_issuers: HttpIssuers,
    installer: Installer,
    expressions: Expressions,
    /// The number of the compile that is going on.
    round: u64,
}

/// An object compiled, or why it does not compile.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    pub(super) value: Option<Arc<T>>,
    /// What it takes of what is published.
    pub(super) bytes: usize,
    pub(super) problems: Problems,
}

#[derive(Debug)]
struct Entry<T> {
    body: Arc<Value>,
    unreadable: Option<String>,
    created_at: Option<String>,
    followed: Vec<(Followed, Found)>,
    outcome: Outcome<T>,
    /// The last compile that used it.
    round: u64,
}

/// What a reference led to, without keeping it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    NoObject,
    NoKey,
    Content(Revision),
}

/// One compile's use of the cache.
pub(super) struct Lookup<'c> {
    cache: &'c mut Cache,
    contents: Contents<'c>,
}

/// What the inputs hold under the references that were followed; what several objects refer to is
/// digested once.
struct Contents<'c> {
    inputs: &'c Inputs,
    found: HashMap<Followed, Found>,
}

impl Cache {
    pub(super) fn lookup<'c>(&'c mut self, inputs: &'c Inputs) -> Lookup<'c> {
        if self.http_issuers != inputs.http_issuers || self.installer != inputs.installer {
            *self = Self::default();
            self.http_issuers = inputs.http_issuers;
            self.installer = inputs.installer.clone();
        }
        self.round += 1;
        Lookup {
            cache: self,
            contents: Contents {
                inputs,
                found: HashMap::new(),
            },
        }
    }
}

impl Lookup<'_> {
    pub(super) fn policy(&mut self, object: &Object) -> Outcome<Policy> {
        let Cache {
            policies, round, ..
        } = &mut *self.cache;
        let compile = |resolver: &Resolver<'_>| policy::compile(object, resolver);
        self.contents.outcome(policies, object, *round, compile)
    }

    pub(super) fn provider(&mut self, object: &Object) -> Outcome<Provider> {
        let Cache {
            providers,
            expressions,
            round,
            ..
        } = &mut *self.cache;
        let compile = |resolver: &Resolver<'_>| provider::compile(object, resolver, expressions);
        self.contents.outcome(providers, object, *round, compile)
    }

    /// Forgets objects that are gone.
    pub(super) fn finish(self) {
        let round = self.cache.round;
        self.cache.policies.retain(|_, entry| entry.round == round);
        self.cache.providers.retain(|_, entry| entry.round == round);
    }
}

impl Contents<'_> {
    fn outcome<T: Serialize>(
        &mut self,
        entries: &mut HashMap<NamespacedName, Entry<T>>,
        object: &Object,
        round: u64,
        compile: impl FnOnce(&Resolver<'_>) -> (Option<T>, Problems),
    ) -> Outcome<T> {
        if let Some(entry) = entries.get_mut(&object.id)
            && self.is_current(entry, object)
        {
            entry.round = round;
            return entry.outcome.clone();
        }
        let resolver = Resolver::of(object, self.inputs);
        let (value, problems) = compile(&resolver);
        let followed = resolver.into_followed().into_iter().map(|followed| {
            let found = self.find(&followed);
            (followed, found)
        });
        let entry = Entry {
            body: Arc::clone(&object.body),
            unreadable: object.unreadable.clone(),
            created_at: object.created_at.clone(),
            followed: followed.collect(),
            outcome: Outcome {
                bytes: value.as_ref().map_or(0, size_of),
                value: value.map(Arc::new),
                problems,
            },
            round,
        };
        let outcome = entry.outcome.clone();
        entries.insert(object.id.clone(), entry);
        outcome
    }

    fn is_current<T>(&mut self, entry: &Entry<T>, object: &Object) -> bool {
        let mut followed = entry.followed.iter();
        entry.created_at == object.created_at
            && entry.unreadable == object.unreadable
            && (Arc::ptr_eq(&entry.body, &object.body) || is_same(&entry.body, &object.body))
            && followed.all(|(followed, found)| self.find(followed) == *found)
    }

    fn find(&mut self, followed: &Followed) -> Found {
        if let Some(found) = self.found.get(followed) {
            return found.clone();
        }
        let found = look(followed, self.inputs);
        self.found.insert(followed.clone(), found.clone());
        found
    }
}

fn look(followed: &Followed, inputs: &Inputs) -> Found {
    match followed {
        Followed::SecretEntry { id, key } => {
            let secret = inputs.secrets.get(id);
            let entry = secret.map(|secret| secret.get(key).map(|entry| entry.expose()));
            found(entry)
        }
        Followed::SecretUse { id } => {
            found(inputs.secret_uses.get(id).map(|label| Some(label.as_str())))
        }
        Followed::ConfigMapEntry { id, key } => {
            let config_map = inputs.config_maps.get(id);
            found(config_map.map(|entries| entries.get(key).map(String::as_str)))
        }
        Followed::ManagedKeys { id } => match inputs.managed_keys.get(id) {
            None => Found::NoObject,
            Some(keys) => Found::Content(super::seal::digest(keys)),
        },
        Followed::ManagedEncryptionKey { id } => match inputs.managed_encryption_keys.get(id) {
            None => Found::NoObject,
            Some(key) => Found::Content(Revision::of(key.expose().as_bytes())),
        },
    }
}

fn found(entry: Option<Option<&str>>) -> Found {
    match entry {
        None => Found::NoObject,
        Some(None) => Found::NoKey,
        Some(Some(text)) => Found::Content(Revision::of(text.as_bytes())),
    }
}

/// Whether two bodies of one name compile to the same: `status` and the rest of `metadata` are none
/// of compile's business.
fn is_same(left: &Value, right: &Value) -> bool {
    let members = |body: &'_ Value| -> Vec<String> {
        let names = body.as_object().into_iter().flat_map(Map::keys);
        let others = names.filter(|name| !["spec", "status"].contains(&name.as_str()));
        others.cloned().collect()
    };
    left.get("spec") == right.get("spec") && members(left) == members(right)
}

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            bytes: self.bytes,
            problems: self.problems.clone(),
        }
    }
}
