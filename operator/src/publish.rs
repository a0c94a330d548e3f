//! Publishes the snapshot for the pods: writes Secrets when their content changes, and reads them
//! back at the start.
//!
//! Parts are written before the head, and the head only over the version that this operator wrote
//! or read last: of two operators that both believe that they lead, one fails. Secrets that
//! something else changes or deletes are written again.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use vestibule_crds::publication::{
    HEAD_KEY, Head, PARTS_MAX, PackError, Packed, PackedSecret, ProofKey, Published, SECRET_NAME,
    Seed, Seeds, pack, part_key, secret_name,
};
use vestibule_crds::snapshot::{Revision, Snapshot};

use crate::cache::Cache;
use crate::lease::hold::{Fence, NotLeading};
use crate::owned::owned_labels;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error("the Secrets of the snapshot cannot be read: {}", crate::failure::describe(.0))]
    Read(kube::Error),
    #[error("Secret {name}: {}", crate::failure::describe(error))]
    Write { name: String, error: kube::Error },
}

/// What is published, and how to change it.
#[derive(Debug)]
pub(crate) struct Publisher {
    api: Api<Secret>,
    fence: Arc<Fence>,
    pub(crate) proof_key: ProofKey,
    /// What is there now, as far as it is known: none until something of ours is.
    published: Option<Current>,
    /// Versions of the Secrets that were written, by name.
    versions: BTreeMap<String, String>,
    published_at: i64,
}

#[derive(Debug)]
struct Current {
    revision: Revision,
    digest: Revision,
    /// Of the keys of providers, whenever they were fetched.
    seeds: Revision,
    /// Seconds since the Unix epoch.
    at: i64,
    parts: usize,
}

/// Keys of providers on offer: collected only when something is written.
pub(crate) struct Offer<'a> {
    pub(crate) digest: Revision,
    pub(crate) collect: &'a (dyn Fn() -> Seeds + Sync),
}

/// What was published before this operator led.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) seeds: Seeds,
}

impl Publisher {
    /// Reads what is there. What cannot be read as a snapshot is replaced by the next one; a
    /// failure of the API server is not taken for that.
    pub(crate) async fn recover(
        client: Client,
        namespace: &str,
        fence: Arc<Fence>,
    ) -> anyhow::Result<(Self, Recovered)> {
        let api: Api<Secret> = Api::namespaced(client, namespace);
        let mut versions = BTreeMap::new();
        let mut take = |secret: &Secret, name: String| {
            let version = secret.metadata.resource_version.clone();
            versions.extend(version.map(|version| (name, version)));
        };
        let mut found = None;
        if let Some(first) = api.get_opt(SECRET_NAME).await? {
            take(&first, SECRET_NAME.to_owned());
            match head(&first) {
                Ok(head) => {
                    let mut parts = vec![part(&first, 0)];
                    for number in 1..head.parts() {
                        let name = secret_name(number);
                        let Some(secret) = api.get_opt(&name).await? else {
                            break;
                        };
                        parts.push(part(&secret, number));
                        take(&secret, name);
                    }
                    let unpacking = tokio::task::spawn_blocking(move || {
                        head.unpack(&parts).map(|published| (head, published))
                    });
                    match unpacking.await? {
                        Ok(unpacked) => found = Some(unpacked),
                        Err(error) => {
                            tracing::error!(%error, "what is published cannot be read: it is published again, and last good revisions are lost");
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "what is published cannot be read: it is published again, and last good revisions are lost");
                }
            }
        }
        let (proof_key, published, recovered, published_at) = match found {
            Some((head, published)) => {
                let Published {
                    snapshot,
                    seeds,
                    proof_key,
                } = published;
                let current = Current {
                    revision: head.revision.clone(),
                    digest: head.digest.clone(),
                    seeds: seeds_digest(&seeds),
                    at: head.published_at,
                    parts: head.parts(),
                };
                let recovered = Recovered {
                    snapshot: Some(Arc::new(snapshot)),
                    seeds,
                };
                (proof_key, Some(current), recovered, head.published_at)
            }
            None => {
                let key = ProofKey::generate();
                let key = key.ok_or_else(|| anyhow::anyhow!("the system gives no random bytes"))?;
                let recovered = Recovered {
                    snapshot: None,
                    seeds: Seeds::new(),
                };
                (key, None, recovered, 0)
            }
        };
        let publisher = Self {
            api,
            fence,
            proof_key,
            published,
            versions,
            published_at,
        };
        Ok((publisher, recovered))
    }

    pub(crate) fn revision(&self) -> Option<&Revision> {
        self.published.as_ref().map(|current| &current.revision)
    }

    /// The keys of providers in what is published, and when that was.
    pub(crate) fn seeds(&self) -> Option<(&Revision, i64)> {
        let current = self.published.as_ref()?;
        Some((&current.seeds, current.at))
    }

    /// Whether a Secret is missing or differs from what was written.
    pub(crate) fn is_disturbed(&self, cache: &Cache) -> bool {
        let parts = self.published.as_ref().map_or(0, |current| current.parts);
        let mut names = (0..parts).map(secret_name);
        names.any(|name| cache.is_disturbed(&name))
    }

    /// What the API server holds differs from what was written: all of it is written again.
    pub(crate) async fn forget(&mut self, cache: &Cache) -> kube::Result<()> {
        self.published = None;
        self.versions.clear();
        for name in (0..PARTS_MAX).map(secret_name) {
            cache.forget_loss(&name);
            let Some(metadata) = self.api.get_metadata_opt(&name).await? else {
                continue;
            };
            if let Some(version) = metadata.metadata.resource_version {
                cache.owned_written(&name, &version);
                self.versions.insert(name, version);
            }
        }
        Ok(())
    }

    /// Publishes unless this snapshot is published already; with `refresh_seeds`, unless its keys
    /// of providers are too. Whether anything was written.
    pub(crate) async fn publish(
        &mut self,
        snapshot: &Arc<Snapshot>,
        offer: Offer<'_>,
        refresh_seeds: bool,
        cache: &Cache,
        now: i64,
    ) -> Result<bool, PublishError> {
        let unchanged = self
            .published
            .as_ref()
            .is_some_and(|current| current.revision == snapshot.revision);
        if unchanged && !refresh_seeds {
            return Ok(false);
        }
        let seeds = (offer.collect)();
        let published = Published {
            snapshot: Snapshot::clone(snapshot),
            seeds,
            proof_key: self.proof_key.clone(),
        };
        // Of two copies the later one counts, even within one second.
        let now = now.max(self.published_at.saturating_add(1));
        let packing = tokio::task::spawn_blocking(move || pack(&published, now));
        let packed = packing.await.expect("a panic ends the process")?;
        if packed.without_seeds {
            tracing::warn!(
                "the keys seen of providers do not fit in with the configuration: they are left out"
            );
        }
        let Packed { head, secrets, .. } = packed;
        if self
            .published
            .as_ref()
            .is_some_and(|current| current.digest == head.digest)
        {
            return Ok(false);
        }
        for secret in secrets {
            self.fence.check()?;
            self.write(secret, cache).await?;
        }
        let parts = head.parts();
        self.published_at = head.published_at;
        self.published = Some(Current {
            revision: head.revision,
            digest: head.digest,
            seeds: offer.digest,
            at: head.published_at,
            parts,
        });
        self.delete_beyond(parts).await;
        Ok(true)
    }

    async fn write(&mut self, packed: PackedSecret, cache: &Cache) -> Result<(), PublishError> {
        let PackedSecret { name, data } = packed;
        let failed = |error| PublishError::Write {
            name: name.clone(),
            error,
        };
        let data = data
            .into_iter()
            .map(|(key, bytes)| (key, ByteString(bytes)));
        let known = self.versions.get(&name).cloned();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(owned_labels()),
                resource_version: known.clone(),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data.collect()),
            ..Secret::default()
        };
        let params = PostParams::default();
        let written = if known.is_some() {
            self.api.replace(&name, &params, &secret).await
        } else {
            self.api.create(&params, &secret).await
        };
        let written = written.map_err(failed)?;
        if let Some(version) = written.metadata.resource_version {
            cache.owned_written(&name, &version);
            self.versions.insert(name, version);
        }
        Ok(())
    }

    /// Parts of a larger snapshot before this one: no reader reads them.
    async fn delete_beyond(&mut self, parts: usize) {
        for name in (parts..PARTS_MAX).map(secret_name) {
            if !self.versions.contains_key(&name) || self.fence.check().is_err() {
                continue;
            }
            match self.api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => drop(self.versions.remove(&name)),
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    self.versions.remove(&name);
                }
                // It is tried again after the next change.
                Err(_) => {}
            }
        }
    }
}

/// Of the keys of each provider, whenever they were fetched.
pub(crate) fn seeds_digest(seeds: &Seeds) -> Revision {
    let contents = seeds.iter().map(|(name, seed)| (name, seed_digest(seed)));
    digest_of_contents(contents)
}

pub(crate) fn seed_digest(seed: &Seed) -> Revision {
    let content = serde_json::to_vec(&(&seed.source, &seed.jwks));
    Revision::of(&content.expect("strings and JSON are JSON"))
}

pub(crate) fn digest_of_contents<'a>(
    contents: impl Iterator<Item = (&'a String, Revision)>,
) -> Revision {
    let all: Vec<(&String, Revision)> = contents.collect();
    Revision::of(&serde_json::to_vec(&all).expect("strings are JSON"))
}

fn head(secret: &Secret) -> Result<Head, vestibule_crds::publication::UnpackError> {
    let entry = secret.data.as_ref().and_then(|data| data.get(HEAD_KEY));
    Head::parse(entry.map(|entry| entry.0.as_slice()).unwrap_or_default())
}

fn part(secret: &Secret, number: usize) -> Vec<u8> {
    let data = secret.data.as_ref();
    let entry = data.and_then(|data| data.get(&part_key(number)));
    entry.map(|entry| entry.0.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
