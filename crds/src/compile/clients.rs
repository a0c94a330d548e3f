//! The clients of a SigninPolicy's OAuth endpoints: their keys and secrets resolved, and of a
//! secret no more than its digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Inputs;
use super::factors::line;
use super::last_good::keys_in_both;
use super::resolve::{Resolver, usable_keys};
use super::verdict::{Finding, Problems, ResolvedRefsReason, finding};
use crate::algorithm::Algorithm;
use crate::object::Object;
use crate::reference::SecretKeyRef;
use crate::secret::Secret;
use crate::signin_policy::{Client as ClientSpec, Oauth, PrivateKeyJwt, ServiceAccount};
use crate::snapshot::{Client, ClientProof, Policy, Provider};

/// Shortest secret: `openssl rand -base64 32` makes a longer one, which cannot be guessed.
const SECRET_BYTES_MIN: usize = 32;

/// The clients that are right, if any are declared; `problems` has what is wrong with the others.
pub(super) fn clients(
    oauth: Oauth,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<Vec<Client>> {
    let Oauth {
        clients,
        only_clients: _,
    } = oauth;
    if clients.is_empty() {
        return None;
    }
    let clients = clients.into_iter().enumerate().filter_map(|(index, spec)| {
        let path = format!("spec.oauth.clients[{index}]");
        client(spec, &path, resolver, problems)
    });
    Some(clients.collect())
}

fn client(
    spec: ClientSpec,
    path: &str,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<Client> {
    let ClientSpec {
        client_id,
        allow,
        private_key_jwt,
        service_account,
        secret_refs,
    } = spec;
    let proof = if let Some(keys) = private_key_jwt {
        let jwks = jwks(keys, &format!("{path}.privateKeyJwt"), resolver, problems);
        jwks.map(|jwks| ClientProof::PrivateKeyJwt { jwks })
    } else if let Some(account) = service_account {
        Some(ClientProof::ServiceAccount {
            subject: account.subject(),
            provider: account.provider_ref.name,
        })
    } else {
        let wanted = secret_refs.unwrap_or_default();
        let digests = wanted.iter().enumerate().filter_map(|(index, wanted)| {
            secret_digest(wanted, resolver)
                .map_err(|(reason, message)| {
                    problems.unresolved(reason, &format!("{path}.secretRefs[{index}]"), message);
                })
                .ok()
        });
        Some(ClientProof::Secret {
            digests: digests.collect(),
        })
    };
    Some(Client {
        id: client_id,
        allow,
        proof: proof?,
    })
}

fn jwks(
    keys: PrivateKeyJwt,
    path: &str,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<Value> {
    let PrivateKeyJwt {
        jwks,
        config_map_ref,
    } = keys;
    if let Some(set) = jwks {
        let keys: Vec<Value> = set
            .keys
            .into_iter()
            .map(|key| Value::Object(key.0))
            .collect();
        let path = format!("{path}.jwks");
        return usable_keys(&json!({ "keys": keys }), &Algorithm::ALL, &path, problems);
    }
    let path = format!("{path}.configMapRef");
    match resolver.jwks(&config_map_ref?) {
        Ok(jwks) => usable_keys(&jwks, &Algorithm::ALL, &path, problems),
        Err((reason, message)) => {
            problems.unresolved(reason, &path, message);
            None
        }
    }
}

fn secret_digest(
    wanted: &SecretKeyRef,
    resolver: &Resolver<'_>,
) -> Result<Secret, (ResolvedRefsReason, String)> {
    let secret = resolver
        .secret(wanted)
        .map_err(|error| (ResolvedRefsReason::RefNotFound, error.to_string()))?;
    let secret = line(secret);
    if secret.expose().len() < SECRET_BYTES_MIN {
        let message = "the secret has less than 32 bytes: make one with `openssl rand -base64 32`";
        return Err((ResolvedRefsReason::KeyInvalid, message.to_owned()));
    }
    let digest = digest(&SHA256, secret.expose().as_bytes());
    Ok(Secret::new(STANDARD.encode(digest)))
}

/// What is left of the last good clients in an update that does not compile: only clients, keys,
/// secrets and permissions that it still names, as far as it can be read. Where none is left, the
/// endpoints stay closed. A reference that cannot be followed takes nothing away, since it may lead
/// to the same content.
pub(super) fn remaining_clients(
    before: &[Client],
    object: &Object,
    inputs: &Inputs,
) -> Vec<Client> {
    let wanted = object.body.pointer("/spec/oauth/clients");
    let wanted: &[Value] = wanted.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let resolver = Resolver::of(object, inputs);
    let remaining = before.iter().filter_map(|client| {
        let is_this = |wanted: &&Value| wanted["clientId"] == client.id.as_str();
        let wanted = wanted.iter().find(is_this)?;
        let mut client = client.clone();
        if let Ok(allow) = serde_json::from_value::<Vec<_>>(wanted["allow"].clone()) {
            client.allow.retain(|permission| allow.contains(permission));
        }
        match &mut client.proof {
            ClientProof::PrivateKeyJwt { jwks } => {
                let keys = wanted.get("privateKeyJwt")?;
                if let Some(remaining) = keys_in_both(jwks, keys, &resolver) {
                    *jwks = remaining;
                }
            }
            ClientProof::ServiceAccount { provider, subject } => {
                let account = wanted.get("serviceAccount")?.clone();
                let account = serde_json::from_value::<ServiceAccount>(account);
                let is_another = |account: ServiceAccount| {
                    account.subject() != *subject || account.provider_ref.name != *provider
                };
                if account.is_ok_and(is_another) {
                    return None;
                }
            }
            ClientProof::Secret { digests } => {
                let refs = serde_json::from_value(wanted.get("secretRefs")?.clone());
                let refs: Vec<SecretKeyRef> = refs.unwrap_or_default();
                let now = refs.iter().map(|wanted| secret_digest(wanted, &resolver));
                if let Ok(now) = now.collect::<Result<Vec<Secret>, _>>() {
                    digests.retain(|digest| now.contains(digest));
                }
            }
        }
        Some(client)
    });
    remaining.collect()
}

/// A warning for each client that cannot prove itself as things stand, or that another policy has
/// too.
pub(super) fn unusable<'p>(
    policies: &'p BTreeMap<String, Arc<Policy>>,
    providers: &BTreeMap<String, Arc<Provider>>,
) -> Vec<(&'p Policy, Finding)> {
    let mut owners: BTreeMap<&str, &Policy> = BTreeMap::new();
    let mut warnings = Vec::new();
    for policy in policies.values() {
        for (index, client) in policy.clients.iter().flatten().enumerate() {
            let path = format!("spec.oauth.clients[{index}]");
            let owner = *owners.entry(&client.id).or_insert(policy);
            if !std::ptr::eq(owner, &**policy) {
                let message = format!(
                    "SigninPolicy {}/{} has this client too: give each a key or secret of its own, for what proves both is taken for that one",
                    owner.namespace, owner.name
                );
                warnings.push((&**policy, finding(&format!("{path}.clientId"), message)));
            }
            let ClientProof::ServiceAccount { provider, .. } = &client.proof else {
                continue;
            };
            if !providers.contains_key(&format!("{}/{provider}", policy.namespace)) {
                let message = format!(
                    "no OidcProvider {provider} is served in namespace {}: the client is refused until it is",
                    policy.namespace
                );
                let path = format!("{path}.serviceAccount.providerRef.name");
                warnings.push((&**policy, finding(&path, message)));
            }
        }
    }
    warnings
}
