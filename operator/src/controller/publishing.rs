//! The controller's way from a compiled snapshot to a published one, and the keys of providers that
//! travel with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vestibule_crds::snapshot::Snapshot;

use super::{Context, Controller, Incomplete, PROOF_WAIT, Unproved, status_sync};
use crate::clock;
use crate::metrics::Outcome;
use crate::pods::Expected;
use crate::publish::{Offer, PublishError};

/// How often keys seen of providers are published for their own sake.
const SEEDS_EVERY_SECONDS: i64 = 30;
/// Comparing them is work in proportion to the providers.
const SEEDS_COMPARE_EVERY: Duration = Duration::from_secs(5);
/// How old the times in published keys may become: keys older than `maxStale` are no use to a pod.
const SEEDS_AGE_SECONDS_MAX: i64 = 3600;

impl Controller {
    /// Publishes what was compiled, unless it is published already.
    pub(super) async fn publish(
        &mut self,
        snapshot: Arc<Snapshot>,
        since: Option<Instant>,
    ) -> Result<(), Incomplete> {
        let Context {
            cache,
            pods,
            metrics,
            ..
        } = self.context.clone();
        if self.publisher.is_disturbed(&cache) {
            tracing::warn!(
                "the published Secrets were changed or deleted by something else: they are published again"
            );
            if let Err(error) = self.publisher.forget(&cache).await {
                return Err(self.not_published(PublishError::Read(error)));
            }
        }
        let is_new = self.publisher.revision() != Some(&snapshot.revision);
        let sources = if is_new || self.published.snapshot.is_none() {
            status_sync::sources(&snapshot)
        } else {
            self.published.sources.clone()
        };
        let refresh_seeds = is_new || self.seeds_are_due();
        let offer = Offer {
            digest: pods.seeds_digest(&sources),
            collect: &|| pods.seeds(&sources),
        };
        let published = self
            .publisher
            .publish(&snapshot, offer, refresh_seeds, &cache, clock::now())
            .await;
        match published {
            Ok(written) => {
                self.published.publish_error = None;
                metrics.reconciled(if written {
                    Outcome::Published
                } else {
                    Outcome::Unchanged
                });
                if is_new {
                    tracing::info!(revision = %snapshot.revision, policies = snapshot.policies.len(), providers = snapshot.providers.len(), "published a new configuration");
                    let since = since.map(|since| since.elapsed().as_secs_f64());
                    since
                        .into_iter()
                        .for_each(|seconds| metrics.publish_seconds.observe(seconds));
                    self.waits.unproved = Some(Unproved {
                        since: Instant::now(),
                        wait_until: Some(Instant::now() + PROOF_WAIT),
                    });
                }
                if is_new || self.published.snapshot.is_none() {
                    self.serve(snapshot);
                }
                Ok(())
            }
            Err(error) => {
                metrics.reconciled(Outcome::Failed);
                let incomplete = self.not_published(error);
                // What was written so far is not known.
                if let Err(error) = self.publisher.forget(&cache).await {
                    tracing::debug!(
                        error = crate::failure::describe(&error),
                        "the Secrets of the snapshot cannot be read"
                    );
                }
                Err(incomplete)
            }
        }
    }

    /// From now on this is what pods should serve.
    pub(super) fn serve(&mut self, snapshot: Arc<Snapshot>) {
        self.published.history.remember(&snapshot);
        self.published.sources = status_sync::sources(&snapshot);
        self.published.facts.forget_others(&snapshot);
        self.context.pods.forget_others(&snapshot);
        self.context.pods.expect(Expected {
            revision: snapshot.revision.clone(),
            proof_key: self.publisher.proof_key.clone(),
        });
        self.published.snapshot = Some(snapshot);
    }

    /// Remembers why, for the statuses, and logs it unless it is the same as before.
    fn not_published(&mut self, error: PublishError) -> Incomplete {
        let text = error.to_string();
        let before = self.published.publish_error.replace(error);
        if before.is_none_or(|before| before.to_string() != text) {
            tracing::error!(
                error = text,
                "the configuration could not be published: trying again"
            );
        }
        Incomplete::NotPublished
    }

    /// Whether the keys that pods have fetched are worth a publication of their own.
    pub(super) fn seeds_are_due(&mut self) -> bool {
        let now = Instant::now();
        let Some((published, at)) = self.publisher.seeds() else {
            return false;
        };
        let age = clock::now().saturating_sub(at);
        if age < SEEDS_EVERY_SECONDS || now < self.waits.compare_seeds_at {
            return false;
        }
        let seen = self.context.pods.seeds_digest(&self.published.sources);
        let is_due = seen != *published
            || (age >= SEEDS_AGE_SECONDS_MAX && self.context.pods.has_seen_keys());
        if !is_due {
            self.waits.compare_seeds_at = now + SEEDS_COMPARE_EVERY;
        }
        is_due
    }
}
