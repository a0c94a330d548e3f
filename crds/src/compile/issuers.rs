//! Who has an issuer. Documents of an issuer stand at its host and path, and each place has one
//! policy.
//!
//! | of two policies with one place | wins |
//! |---|---|
//! | one in a namespace that the installer bound the issuer to | it, and no other namespace may |
//! | one in the release's own namespace | it |
//! | one in the namespace that the place was published for last | it |
//! | both alike | the older, then the smaller uid |
//!
//! A place stays with its namespace for a while after the policy is gone: a policy that is deleted
//! and created again loses its issuer to none that waited for it.

use std::collections::BTreeMap;

use crate::installer::Installer;
use crate::issuer::document_paths;
use crate::object::NamespacedName;
use crate::snapshot::{IssuerOwner, Policy, Snapshot};

use super::Inputs;

/// How long a place stays with the namespace that it was published for last.
const HELD_SECONDS: i64 = 30 * 24 * 3600;
/// Places without a policy that one namespace holds; of more, those that were given up first are
/// free.
const HELD_MAX: usize = 64;

/// Who has which place, and who had it before.
pub(super) struct Owners<'a> {
    installer: &'a Installer,
    now: Option<i64>,
    before: BTreeMap<String, IssuerOwner>,
    /// By document, host and path: the namespace that it was published for last.
    documents_before: BTreeMap<String, String>,
    /// By document: who has it now.
    documents: BTreeMap<String, NamespacedName>,
    now_owned: BTreeMap<String, IssuerOwner>,
}

impl<'a> Owners<'a> {
    pub(super) fn of(inputs: &'a Inputs) -> Self {
        let before = remembered(inputs.previous.as_deref(), inputs.now);
        let documents_before = before.iter().flat_map(|(place, owner)| {
            documents_of(place).map(|document| (document, owner.namespace.clone()))
        });
        Self {
            installer: &inputs.installer,
            now: inputs.now,
            documents_before: documents_before.collect(),
            before,
            documents: BTreeMap::new(),
            now_owned: BTreeMap::new(),
        }
    }

    /// Sorts before all that it wins over, apart from age.
    pub(super) fn rank(&self, policy: &Policy) -> u8 {
        let Policy {
            namespace, token, ..
        } = policy;
        let was_its = || {
            let owner = self.before.get(&token.issuer.place());
            owner.is_some_and(|owner| owner.namespace == *namespace)
        };
        if self.installer.is_bound_to(&token.issuer, namespace) {
            0
        } else if self.is_own(namespace) {
            1
        } else if was_its() {
            2
        } else {
            3
        }
    }

    /// Why the policy may not have its issuer.
    pub(super) fn refusal(&self, policy: &Policy) -> Option<String> {
        let Policy {
            namespace, token, ..
        } = policy;
        let issuer = &token.issuer;
        if let Some(namespaces) = self.installer.bound_elsewhere(issuer, namespace) {
            let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
            return Some(format!(
                "the installer gave this issuer to namespace {}: choose another",
                namespaces.join(", ")
            ));
        }
        let documents = || documents_of(&issuer.place());
        if let Some(owner) = documents().find_map(|document| self.documents.get(&document)) {
            return Some(format!(
                "SigninPolicy {owner} has this issuer, or its documents stand where those of this one would: choose another, since one policy's tokens must mean nothing to another"
            ));
        }
        let is_free_for_it =
            self.is_own(namespace) || self.installer.is_bound_to(issuer, namespace);
        let holder = documents().find_map(|document| {
            let holder = self.documents_before.get(&document)?;
            (holder != namespace).then(|| holder.clone())
        });
        match holder {
            // Without a clock nothing is held: the installer alone moves a manifest between
            // namespaces.
            Some(holder) if self.now.is_some() && !is_free_for_it => Some(format!(
                "this issuer was published for namespace {holder} last, and stays with it for {} days after its policy is gone: choose another, or ask the installer to give it to namespace {namespace}",
                HELD_SECONDS / (24 * 3600)
            )),
            Some(_) | None => None,
        }
    }

    pub(super) fn take(&mut self, policy: &Policy) {
        let id = NamespacedName::new(&policy.namespace, &policy.name);
        let place = policy.token.issuer.place();
        for document in documents_of(&place) {
            self.documents.insert(document, id.clone());
        }
        let owner = IssuerOwner {
            namespace: id.namespace,
            gone_at: None,
        };
        self.now_owned.insert(place, owner);
    }

    /// What the next compile remembers.
    pub(super) fn finish(self) -> BTreeMap<String, IssuerOwner> {
        let Some(now) = self.now else {
            return self.now_owned;
        };
        let mut owned = self.now_owned;
        let mut held: Vec<(String, IssuerOwner)> = Vec::new();
        for (place, owner) in self.before {
            let is_taken =
                documents_of(&place).any(|document| self.documents.contains_key(&document));
            if !is_taken {
                let gone_at = owner.gone_at.or(Some(now));
                held.push((place, IssuerOwner { gone_at, ..owner }));
            }
        }
        // The last to go first, so that it is the first to go that is forgotten.
        held.sort_by_key(|(_, owner)| std::cmp::Reverse(owner.gone_at));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (place, owner) in held {
            let count = counts.entry(owner.namespace.clone()).or_default();
            *count += 1;
            if *count <= HELD_MAX {
                owned.insert(place, owner);
            }
        }
        owned
    }

    /// In a directory of manifests, where all is the installer's own, no namespace has more right
    /// to an issuer than another.
    fn is_own(&self, namespace: &str) -> bool {
        self.installer.own_namespace.as_deref() == Some(namespace)
    }
}

/// What was published, less what has been free for long enough. Without a clock nothing is held.
fn remembered(previous: Option<&Snapshot>, now: Option<i64>) -> BTreeMap<String, IssuerOwner> {
    let Some(previous) = previous else {
        return BTreeMap::new();
    };
    let mut before = previous.issuers.clone();
    // What an earlier version published says nothing of issuers.
    for policy in previous.policies.values() {
        let place = policy.token.issuer.place();
        before.entry(place).or_insert_with(|| IssuerOwner {
            namespace: policy.namespace.clone(),
            gone_at: None,
        });
    }
    before.retain(|_, owner| match (owner.gone_at, now) {
        (None, _) => true,
        (Some(gone_at), Some(now)) => now.saturating_sub(gone_at) < HELD_SECONDS,
        (Some(_), None) => false,
    });
    before
}

/// Host and path of each document of an issuer.
fn documents_of(place: &str) -> impl Iterator<Item = String> + use<> {
    let (host, path) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, ""),
    };
    let host = host.to_owned();
    let paths: Vec<String> = document_paths(path).iter().map(str::to_owned).collect();
    paths.into_iter().map(move |path| format!("{host}{path}"))
}

#[cfg(test)]
mod tests;
