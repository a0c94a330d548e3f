//! The controller's way from a compiled snapshot to a published one, and the keys of providers that travel with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vestibule_crds::snapshot::Snapshot;

use super::{Context, Controller, PROOF_WAIT, Unproved, say};
use crate::clock;
use crate::fleet::Expected;
use crate::metrics::Outcome;
use crate::publish::Offer;

/// How often keys seen of providers are published for their own sake.
const SEEDS_EVERY_SECONDS: i64 = 30;
/// Comparing them is work in proportion to the providers.
const SEEDS_LOOK_EVERY: Duration = Duration::from_secs(5);
/// How old the times in published keys may become: keys older than `maxStale` are no use to a pod.
const SEEDS_AGE_SECONDS_MAX: i64 = 3600;

impl Controller {
    /// Whether what was compiled is published now.
    pub(super) async fn publish(
        &mut self,
        snapshot: Arc<Snapshot>,
        since: Option<Instant>,
    ) -> bool {
        let Context {
            world,
            fleet,
            metrics,
            ..
        } = self.context.clone();
        if self.publisher.is_disturbed(&world) {
            tracing::warn!("what is published was changed by somebody else: it is published again");
            if let Err(error) = self.publisher.forget(&world).await {
                self.complain(&crate::failure::describe(&error));
                return false;
            }
        }
        let is_new = self.publisher.revision() != Some(&snapshot.revision);
        let sources = if is_new || self.snapshot.is_none() {
            say::sources(&snapshot)
        } else {
            self.sources.clone()
        };
        let refresh_seeds = is_new || self.seeds_are_due();
        let offer = Offer {
            digest: fleet.seeds_digest(&sources),
            collect: &|| fleet.seeds(&sources),
        };
        let published = self
            .publisher
            .publish(&snapshot, offer, refresh_seeds, &world, clock::now())
            .await;
        match published {
            Ok(written) => {
                self.trouble = None;
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
                    self.unproved = Some(Unproved {
                        since: Instant::now(),
                        wait_until: Some(Instant::now() + PROOF_WAIT),
                    });
                }
                if is_new || self.snapshot.is_none() {
                    self.serve(snapshot);
                }
                true
            }
            Err(error) => {
                metrics.reconciled(Outcome::Failed);
                self.complain(&error.to_string());
                // What was written so far is not known.
                if let Err(error) = self.publisher.forget(&world).await {
                    tracing::debug!(
                        error = crate::failure::describe(&error),
                        "the Secrets of the snapshot cannot be read"
                    );
                }
                false
            }
        }
    }

    /// From now on this is what pods should serve.
    pub(super) fn serve(&mut self, snapshot: Arc<Snapshot>) {
        self.history.remember(&snapshot);
        self.sources = say::sources(&snapshot);
        self.facts.forget_others(&snapshot);
        self.context.fleet.forget_others(&snapshot);
        self.context.fleet.expect(Expected {
            revision: snapshot.revision.clone(),
            proof_key: self.publisher.proof_key.clone(),
        });
        self.snapshot = Some(snapshot);
    }

    fn complain(&mut self, error: &str) {
        if self.trouble.as_deref() != Some(error) {
            tracing::error!(
                error,
                "the configuration could not be published: trying again"
            );
            self.trouble = Some(error.to_owned());
        }
    }

    /// Whether the keys that pods have fetched are worth a publication of their own.
    pub(super) fn seeds_are_due(&mut self) -> bool {
        let now = Instant::now();
        let Some((published, at)) = self.publisher.seeds() else {
            return false;
        };
        let age = clock::now().saturating_sub(at);
        if age < SEEDS_EVERY_SECONDS || now < self.seeds_look_at {
            return false;
        }
        let seen = self.context.fleet.seeds_digest(&self.sources);
        let is_due = seen != *published
            || (age >= SEEDS_AGE_SECONDS_MAX && self.context.fleet.has_seen_keys());
        if !is_due {
            self.seeds_look_at = now + SEEDS_LOOK_EVERY;
        }
        is_due
    }
}
