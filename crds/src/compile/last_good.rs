//! What an object served before, less what its bad update takes back all the same.
//!
//! | in the bad update | what becomes of the last good revision |
//! |---|---|
//! | `suspended: true` | it is suspended |
//! | a verification key left out of `jwks` or its ConfigMap | it loses that key |
//! | a signing key left out of `secretRefs` | it loses that key, and the next one signs |
//! | an OAuth client, or a key or secret of one, left out | it loses that |
//! | managed keys rotated | it has the keys as they are now |
//! | a managed encryption key made | it has it |
//! | the namespace may no longer reach the cluster | it reaches public addresses only |

use std::sync::Arc;

use serde_json::Value;

use super::Inputs;
use super::clients::remaining_clients;
use super::factors::managed_key;
use super::policy::{managed_keys, secret_key, state_at};
use super::resolve::Resolver;
use super::seal::{seal_policy, seal_provider};
use super::verdict::Problems;
use crate::algorithm::Algorithm;
use crate::object::Object;
use crate::reference::{ConfigMapKeyRef, SecretKeyRef};
use crate::snapshot::{Egress, EncryptionKeySource, KeySource, Policy, PolicyKey, Provider};
use crate::verification_key::KeySet;

pub(super) fn policy<'a>(object: &Object, inputs: &'a Inputs) -> Option<&'a Arc<Policy>> {
    inputs.previous.as_ref()?.policy(&object.id)
}

pub(super) fn provider<'a>(object: &Object, inputs: &'a Inputs) -> Option<&'a Arc<Provider>> {
    inputs.previous.as_ref()?.provider(&object.id)
}

pub(super) fn narrowed_provider(
    before: &Arc<Provider>,
    object: &Object,
    inputs: &Inputs,
) -> Arc<Provider> {
    let suspended = object.body.pointer("/spec/suspended") == Some(&Value::Bool(true));
    let keys = match &before.keys {
        KeySource::Static { jwks } => remaining_keys(jwks, object, inputs),
        KeySource::Discovery { .. } | KeySource::JwksUri { .. } => None,
    };
    let egress = narrower(before.egress, Resolver::of(object, inputs).egress());
    if keys.is_none() && (before.suspended || !suspended) && egress == before.egress {
        return Arc::clone(before);
    }
    let mut narrowed = Provider::clone(before);
    narrowed.suspended |= suspended;
    narrowed.egress = egress;
    if let Some(jwks) = keys {
        narrowed.keys = KeySource::Static { jwks };
    }
    Arc::new(seal_provider(narrowed))
}

fn narrower(before: Egress, allowed: Egress) -> Egress {
    match (before, allowed) {
        (Egress::Cluster, Egress::Cluster) => Egress::Cluster,
        (Egress::Public, _) | (_, Egress::Public) => Egress::Public,
    }
}

/// The keys of the last good set that the update still has; none when it takes none away, or cannot
/// be read so far.
fn remaining_keys(before: &Value, object: &Object, inputs: &Inputs) -> Option<Value> {
    let keys = object.body.pointer("/spec/keys")?;
    keys_in_both(before, keys, &Resolver::of(object, inputs))
}

/// The keys of `before` that a source, as an object writes it, still has; none when it has all of
/// them, or cannot be read.
pub(super) fn keys_in_both(before: &Value, keys: &Value, resolver: &Resolver<'_>) -> Option<Value> {
    let inline = keys.get("jwks").filter(|jwks| !jwks.is_null()).cloned();
    let now = match inline {
        Some(jwks) => jwks,
        None => {
            let wanted: ConfigMapKeyRef =
                serde_json::from_value(keys.get("configMapRef")?.clone()).ok()?;
            resolver.jwks(&wanted).ok()?
        }
    };
    let now = KeySet::parse(&now, &Algorithm::ALL).ok()?.to_jwks();
    let now = now.get("keys")?.as_array()?;
    let before = before.get("keys")?.as_array()?;
    let remaining: Vec<&Value> = before.iter().filter(|key| now.contains(key)).collect();
    (remaining.len() < before.len()).then(|| serde_json::json!({ "keys": remaining }))
}

pub(super) fn narrowed_policy(
    before: &Arc<Policy>,
    object: &Object,
    inputs: &Inputs,
) -> Arc<Policy> {
    let keys = if before.managed.is_some() {
        let keys = managed_keys(
            &object.id,
            &Resolver::of(object, inputs),
            &mut Problems::default(),
        );
        Some(keys).filter(|keys| !keys.is_empty())
    } else {
        remaining_signing_keys(&before.signing_keys, object, inputs)
    };
    let encryption_key = match before.mfa.key_source {
        EncryptionKeySource::Managed => managed_key(
            &object.id,
            &Resolver::of(object, inputs),
            &mut Problems::default(),
        ),
        EncryptionKeySource::Secrets => None,
    };
    let signing_keys = keys.filter(|keys| *keys != before.signing_keys);
    let encryption_key = encryption_key.filter(|key| !before.mfa.keys.contains(key));
    let clients = before.clients.as_deref();
    let clients = clients.map(|clients| remaining_clients(clients, object, inputs));
    let clients = clients.filter(|clients| Some(clients) != before.clients.as_ref());
    let egress = narrower(before.egress, Resolver::of(object, inputs).egress());
    let is_same = signing_keys.is_none() && encryption_key.is_none() && clients.is_none();
    if is_same && egress == before.egress {
        return Arc::clone(before);
    }
    let mut narrowed = Policy::clone(before);
    narrowed.egress = egress;
    if let Some(signing_keys) = signing_keys {
        narrowed.signing_keys = signing_keys;
    }
    narrowed.mfa.keys.splice(0..0, encryption_key);
    if let Some(clients) = clients {
        narrowed.clients = Some(clients);
    }
    Arc::new(seal_policy(narrowed))
}

/// The last good keys that the update still refers to, in its order; none when one of its
/// references cannot be followed, for that may be the very key.
fn remaining_signing_keys(
    before: &[PolicyKey],
    object: &Object,
    inputs: &Inputs,
) -> Option<Vec<PolicyKey>> {
    let wanted = object.body.pointer("/spec/signing/secretRefs")?;
    let wanted: Vec<SecretKeyRef> = serde_json::from_value(wanted.clone()).ok()?;
    let resolver = Resolver::of(object, inputs);
    let now = wanted.iter().map(|wanted| secret_key(wanted, &resolver));
    let now: Vec<PolicyKey> = now.collect::<Result<_, _>>().ok()?;
    let removed = before
        .iter()
        .any(|key| now.iter().all(|other| other.kid != key.kid));
    let remaining = now
        .into_iter()
        .filter(|key| before.iter().any(|other| other.kid == key.kid));
    let remaining = remaining.enumerate().map(|(index, key)| PolicyKey {
        state: state_at(index),
        ..key
    });
    removed.then(|| remaining.collect())
}
