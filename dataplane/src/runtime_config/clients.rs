//! Clients of the OAuth endpoints, with their keys parsed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::secret::Secret;
use vestibule_crds::signin_policy::ClientPermission;
use vestibule_crds::snapshot::{Client, ClientProof};
use vestibule_crds::verification_key::KeySet;

use super::ActivePolicy;
use vestibule_idtoken::keys::ProviderKeys;

#[derive(Debug)]
pub struct ActiveClient {
    pub id: String,
    pub allow: Vec<ClientPermission>,
    pub proof: Proof,
}

/// How a client proves that it is this client.
#[derive(Debug)]
pub enum Proof {
    /// By an assertion of its own (RFC 7523).
    Keys(ProviderKeys),
    /// By a token of this provider with this `sub`.
    ServiceAccount { provider: String, subject: String },
    /// By a secret with one of these digests.
    Secret(Vec<SecretDigest>),
}

/// SHA-256 of a secret.
#[derive(Clone, Copy)]
pub struct SecretDigest(pub [u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl ActiveClient {
    pub(super) fn build(spec: &Client) -> Result<Self, String> {
        let Client { id, allow, proof } = spec;
        let proof = match proof {
            ClientProof::PrivateKeyJwt { jwks } => {
                let keys = KeySet::parse(jwks, &Algorithm::ALL)
                    .map_err(|error| format!("client {id}: {error}"))?;
                Proof::Keys(ProviderKeys::Static(keys))
            }
            ClientProof::ServiceAccount { provider, subject } => Proof::ServiceAccount {
                provider: provider.clone(),
                subject: subject.clone(),
            },
            ClientProof::Secret { digests } => {
                let digests: Option<_> = digests.iter().map(SecretDigest::read).collect();
                Proof::Secret(digests.ok_or_else(|| format!("client {id}: no digest"))?)
            }
        };
        Ok(Self {
            id: id.clone(),
            allow: allow.clone(),
            proof,
        })
    }

    pub fn may(&self, what: ClientPermission) -> bool {
        self.allow.contains(&what)
    }
}

impl SecretDigest {
    fn read(text: &Secret) -> Option<Self> {
        let bytes = STANDARD.decode(text.expose()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// All policies' clients by what they are called: their id, and of a service account its subject
/// too, since its token says nothing else.
#[derive(Debug, Default)]
pub(super) struct Clients(HashMap<String, Vec<Declared>>);

/// A client, and the policy that declares it.
#[derive(Debug, Clone)]
pub struct Declared {
    pub policy: Arc<ActivePolicy>,
    pub client: Arc<ActiveClient>,
}

impl Clients {
    pub(super) fn of<'p>(policies: impl Iterator<Item = &'p Arc<ActivePolicy>>) -> Self {
        let mut clients = Self::default();
        for policy in policies {
            for client in policy.clients.iter().flatten() {
                clients.add(&client.id, policy, client);
                if let Proof::ServiceAccount { subject, .. } = &client.proof
                    && *subject != client.id
                {
                    clients.add(subject, policy, client);
                }
            }
        }
        clients
    }

    fn add(&mut self, name: &str, policy: &Arc<ActivePolicy>, client: &Arc<ActiveClient>) {
        let named = self.0.entry(name.to_owned()).or_default();
        named.push(Declared {
            policy: Arc::clone(policy),
            client: Arc::clone(client),
        });
    }

    pub(super) fn named(&self, name: &str) -> &[Declared] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
