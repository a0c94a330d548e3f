//! The managed keys of all policies: read at the start, rotated, and stored in Secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use vestibule_crds::object::{Kind, NamespacedName};
use vestibule_crds::rotation::ManagedKey;
use vestibule_crds::secret::Secret as VestibuleSecret;
use vestibule_crds::snapshot::{EncryptionKeySource, KeyState, Policy, Snapshot};

use crate::arguments::Scope;
use crate::cache::Cache;
use crate::lease::hold::{Fence, NotLeading};
use crate::signing_keys::stored::{SELECTOR, from_secret, secret_name, to_secret};
use crate::signing_keys::{KeyProof, PolicyKeys, Progress, Wish};
use crate::status::programmed::{PodProof, key_proof};

/// Writes at once.
const WRITES_MAX: usize = 16;
/// When to try again what could not be written or made.
const RETRY_SECONDS: i64 = 5;

#[derive(Debug)]
pub(crate) struct Keyring {
    api: Api<Secret>,
    namespace: String,
    fence: Arc<Fence>,
    policies: BTreeMap<NamespacedName, Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    keys: PolicyKeys,
    /// Of the Secret as it was written or read; none: it is to be written.
    version: Option<String>,
    /// Whether the log has the last failure already.
    complained: bool,
}

/// What rotating the keys came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotated {
    /// Keys were made, dropped or have another state: compile again.
    pub(crate) changed: bool,
    /// When keys are due again, seconds since the Unix epoch.
    pub(crate) next_due: Option<i64>,
}

/// Why the keys of a policy could not be stored.
#[derive(Debug, thiserror::Error)]
enum KeyWriteError {
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error("{}", crate::failure::describe(.0))]
    Refused(#[from] kube::Error),
}

impl Keyring {
    /// Reads all of them. What is lost or cannot be read is taken from what was published; a
    /// failure of the API server is not taken for a loss.
    pub(crate) async fn load(
        client: Client,
        namespace: &str,
        fence: Arc<Fence>,
        published: Option<&Snapshot>,
        now: i64,
    ) -> kube::Result<Self> {
        let api: Api<Secret> = Api::namespaced(client, namespace);
        let mut policies = BTreeMap::new();
        let mut page = ListParams::default().labels(SELECTOR).limit(500);
        loop {
            let listed = api.list(&page).await?;
            let next = listed.metadata.continue_.filter(|next| !next.is_empty());
            for secret in listed.items {
                match from_secret(&secret) {
                    Ok((policy, keys)) => {
                        let version = secret.metadata.resource_version;
                        let kept = Kept::new(keys, version);
                        policies.insert(policy, kept);
                    }
                    Err(error) => {
                        let name = secret.metadata.name.unwrap_or_default();
                        tracing::error!(secret = name, %error, "a Secret of signing keys is not used");
                    }
                }
            }
            let Some(next) = next else { break };
            page = page.continue_token(&next);
        }
        let published = published.into_iter().flat_map(|all| all.policies.values());
        for policy in published {
            let id = NamespacedName::new(&policy.namespace, &policy.name);
            match policies.get_mut(&id) {
                Some(kept) if kept.keys.encryption.is_none() => {
                    kept.keys.encryption = PolicyKeys::recovered_encryption(policy);
                    if kept.keys.encryption.is_some() {
                        tracing::warn!(policy = %id, "its encryption key is recovered from what is published");
                        kept.version = None;
                    }
                }
                Some(_) => {}
                None => {
                    let keys = PolicyKeys::recovered(policy, now);
                    if keys != PolicyKeys::default() {
                        tracing::warn!(policy = %id, "its keys are recovered from what is published");
                        policies.insert(id, Kept::new(keys, None));
                    }
                }
            }
        }
        Ok(Self {
            api,
            namespace: namespace.to_owned(),
            fence,
            policies,
        })
    }

    /// As `compile` takes them.
    pub(crate) fn managed_keys(&self) -> BTreeMap<NamespacedName, Vec<(ManagedKey, KeyState)>> {
        let policies = self.policies.iter();
        policies
            .map(|(policy, kept)| (policy.clone(), kept.keys.with_states()))
            .collect()
    }

    /// As `compile` takes them.
    pub(crate) fn managed_encryption_keys(&self) -> BTreeMap<NamespacedName, VestibuleSecret> {
        let policies = self.policies.iter();
        policies
            .filter_map(|(policy, kept)| {
                let key = kept.keys.encryption.as_ref()?;
                Some((policy.clone(), key.key.clone()))
            })
            .collect()
    }

    pub(crate) fn next_rotation(&self, policy: &Policy) -> Option<i64> {
        let id = NamespacedName::new(&policy.namespace, &policy.name);
        self.policies.get(&id)?.keys.next_rotation(policy.managed?)
    }

    /// How long the oldest key that signs has done so, in seconds.
    pub(crate) fn oldest_age(&self, now: i64) -> i64 {
        let ages = self.policies.values().filter_map(|kept| {
            let signing = kept.keys.with_states();
            let current = signing
                .iter()
                .find(|(_, state)| *state == KeyState::Current);
            current.map(|(key, _)| now.saturating_sub(key.signs_from))
        });
        ages.max().unwrap_or_default()
    }

    /// Whether pods have proved something that lets a key go on.
    pub(crate) fn can_advance(&self, proofs: &[PodProof]) -> bool {
        self.policies.iter().any(|(policy, kept)| {
            let keys = &kept.keys.keys;
            keys.iter().any(|key| match key.progress {
                Progress::Made => proof(proofs, policy, &key.kid).published,
                Progress::Signing => proof(proofs, policy, &key.kid).signing,
                Progress::Published | Progress::Alone => false,
            })
        })
    }

    /// Makes, advances and drops keys as each policy in `snapshot` wants it. What cannot be stored
    /// is not used: the keys stay as they were.
    pub(crate) async fn rotate(
        &mut self,
        snapshot: &Snapshot,
        cache: &Cache,
        proofs: &[PodProof],
        now: i64,
    ) -> Rotated {
        let mut due = Vec::new();
        let mut changed = false;
        let mut writes = Vec::new();
        for policy in snapshot.policies.values() {
            let seals = policy.mfa.key_source == EncryptionKeySource::Managed;
            if policy.managed.is_none() && !seals {
                continue;
            }
            let id = NamespacedName::new(&policy.namespace, &policy.name);
            let entry = cache.entry(&(Kind::SigninPolicy, id.clone()));
            let before = self.policies.get(&id);
            let mut after = before
                .cloned()
                .unwrap_or_else(|| Kept::new(PolicyKeys::default(), None));
            if seals && let Err(error) = after.keys.keep_encryption_key() {
                due.push(now.saturating_add(RETRY_SECONDS));
                tracing::error!(policy = %id, %error, "an encryption key could not be made: trying again");
                continue;
            }
            if let Some(schedule) = policy.managed {
                let wish = Wish {
                    schedule,
                    access_ttl: policy.token.access_ttl,
                    rotate: entry.as_ref().and_then(|entry| entry.rotate.as_deref()),
                };
                match after.keys.rotate(wish, |kid| proof(proofs, &id, kid), now) {
                    Ok(next_due) => due.push(next_due),
                    Err(error) => {
                        due.push(now.saturating_add(RETRY_SECONDS));
                        tracing::error!(policy = %id, %error, "a signing key could not be made: trying again");
                        continue;
                    }
                }
            }
            let name = secret_name(&id);
            let disturbed = after.version.is_none() || cache.is_disturbed(&name);
            if disturbed || before.is_none_or(|before| before.keys != after.keys) {
                let uid = entry.map(|entry| entry.uid);
                writes.push((id, after, uid, disturbed));
            }
        }
        let this = &*self;
        let written: Vec<_> = futures_util::stream::iter(writes)
            .map(|(id, kept, uid, disturbed)| async move {
                let secret = to_secret(&kept.keys, &id, uid.as_deref(), &this.namespace);
                cache.forget_loss(&secret_name(&id));
                let version = kept.version.clone().filter(|_| !disturbed);
                let written = this.write(&secret_name(&id), secret, version).await;
                (id, kept, written)
            })
            .buffer_unordered(WRITES_MAX)
            .collect()
            .await;
        for (id, mut kept, written) in written {
            match written {
                Ok(version) => {
                    if let Some(version) = &version {
                        cache.owned_written(&secret_name(&id), version);
                    }
                    kept.version = version;
                    kept.complained = false;
                    changed = true;
                    self.policies.insert(id, kept);
                }
                Err(error) => {
                    due.push(now.saturating_add(RETRY_SECONDS));
                    let before = self.policies.get_mut(&id);
                    let complained = before.as_ref().is_some_and(|before| before.complained);
                    if !complained {
                        tracing::error!(policy = %id, %error, "its signing keys could not be stored: they stay as they are, and it is tried again");
                    }
                    if let Some(before) = before {
                        // Whether it was written is not known.
                        before.version = None;
                        before.complained = true;
                    }
                }
            }
        }
        Rotated {
            changed,
            next_due: due.into_iter().min(),
        }
    }

    /// Drops the keys of policies in `scope` that are gone; what is out of sight is let alone.
    pub(crate) async fn drop_others(&mut self, scope: &Scope, cache: &Cache) {
        let gone = self.policies.keys().filter(|policy| {
            let key = (Kind::SigninPolicy, (*policy).clone());
            scope.covers(&policy.namespace) && cache.entry(&key).is_none()
        });
        let gone: Vec<NamespacedName> = gone.cloned().collect();
        for policy in gone {
            if self.fence.check().is_err() {
                return;
            }
            let name = secret_name(&policy);
            match self.api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(%policy, error = crate::failure::describe(&error), "the signing keys of a policy that is gone could not be deleted: trying again after the next change");
                    continue;
                }
            }
            cache.forget_loss(&name);
            self.policies.remove(&policy);
        }
    }

    /// The version that was written. Without a known one, whatever is there is replaced.
    async fn write(
        &self,
        name: &str,
        mut secret: Secret,
        version: Option<String>,
    ) -> Result<Option<String>, KeyWriteError> {
        self.fence.check()?;
        let params = PostParams::default();
        let version = match version {
            Some(version) => Some(version),
            None => {
                let there = self.api.get_metadata_opt(name).await?;
                there.and_then(|there| there.metadata.resource_version)
            }
        };
        let written = if version.is_some() {
            secret.metadata.resource_version = version;
            self.api.replace(name, &params, &secret).await?
        } else {
            self.api.create(&params, &secret).await?
        };
        Ok(written.metadata.resource_version)
    }
}

impl Kept {
    fn new(keys: PolicyKeys, version: Option<String>) -> Self {
        Self {
            keys,
            version,
            complained: false,
        }
    }
}

fn proof(proofs: &[PodProof], policy: &NamespacedName, kid: &str) -> KeyProof {
    let (published, signing) = key_proof(proofs, (&policy.namespace, &policy.name), kid);
    KeyProof { published, signing }
}

#[cfg(test)]
mod tests;
