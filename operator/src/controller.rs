//! The leader's work: `gather → compile → rotate keys → publish → prove → sync statuses`.
//!
//! One task does all of it, in order, so that no two writes conflict. Slow work runs elsewhere:
//! compiling and packing on blocking threads, asking pods and writing statuses in tasks of their
//! own.

pub(crate) mod keyring;
mod publishing;
mod status_sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, sleep, sleep_until};
use vestibule_crds::compile::{Compiled, Compiler, Inputs, Verdict};
use vestibule_crds::installer::Installer;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::object::{NamespacedName, Object};
use vestibule_crds::snapshot::{Revision, Snapshot};

use crate::arguments::Scope;
use crate::cache::{Cache, Key};
use crate::clock;
use crate::debounce::Debounce;
use crate::lease::hold::Fence;
use crate::metrics::{Metrics, gauge};
use crate::pods::SharedPods;
use crate::publish::{PublishError, Publisher};
use crate::referenced_data::{ReferencedData, SharedTracker, Unread};
use crate::status::programmed::{History, PodProof, is_proved};
use crate::status_writer::Queue;
use keyring::Keyring;
use vestibule_crds::compile::Reference;

/// How long a status waits for pods after a publication: mostly they prove it in this time, and one
/// write is enough.
const PROOF_WAIT: Duration = Duration::from_millis(250);
/// How long statuses wait for a pod that has just become ready to report what it serves and has
/// seen.
const NEW_POD_WAIT: Duration = Duration::from_secs(3);
/// How long statuses wait while the pods cannot be watched: mostly the API server is away, and
/// nothing could be written.
const STALE_WAIT: Duration = Duration::from_secs(30);
/// The pause after a sync of all statuses is at least this long.
const STATUS_SYNC_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a sync is at least this many times as long as the sync took.
const STATUS_SYNC_PAUSE_FACTOR: u32 = 5;
/// After something failed.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Without any change.
const RESYNC_EVERY: Duration = Duration::from_secs(30);

/// What the controller works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) scope: Scope,
    pub(crate) http_issuers: HttpIssuers,
    pub(crate) installer: Arc<Installer>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tracker: SharedTracker,
    pub(crate) pods: SharedPods,
    pub(crate) fence: Arc<Fence>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) struct Controller {
    context: Context,
    publisher: Publisher,
    keyring: Keyring,
    compiler: Compiler,
    referenced: ReferencedData,
    published: Published,
    pending: Pending,
    waits: Waits,
}

/// What pods should serve, and what was found out on the way there.
#[derive(Debug, Default)]
struct Published {
    snapshot: Option<Arc<Snapshot>>,
    history: History,
    /// Where the keys of each provider in the snapshot come from.
    sources: BTreeMap<String, Revision>,
    /// Of what was compiled last, published or not.
    verdicts: BTreeMap<Key, Verdict>,
    facts: status_sync::Facts,
    /// Why what was compiled last is not published.
    publish_error: Option<PublishError>,
}

/// What is to be done, and when.
#[derive(Debug, Default)]
struct Pending {
    debounce: Debounce,
    /// When a managed key is due, seconds since the Unix epoch.
    keys_due: Option<i64>,
    retry: Option<Retry>,
    statuses: PendingStatuses,
}

/// What statuses, and the comparison of providers' keys, wait for.
#[derive(Debug)]
struct Waits {
    unproved: Option<Unproved>,
    new_pod_since: Option<Instant>,
    /// When the keys that pods have fetched are compared with those that are published.
    compare_seeds_at: Instant,
    /// The end of the pause after the last sync of all statuses.
    statuses_paused_until: Option<Instant>,
}

/// Why the cluster is not as the objects want it, so that it is tried again. Each cause is logged
/// where it is found.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("the configuration is not published")]
    NotPublished,
}

#[derive(Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
}

/// A publication that not every ready pod has proved yet.
#[derive(Debug)]
struct Unproved {
    since: Instant,
    /// Until when statuses wait for it.
    wait_until: Option<Instant>,
}

/// Objects whose statuses are to be synced.
#[derive(Debug, Default)]
struct PendingStatuses {
    all: bool,
    some: BTreeSet<Key>,
}

impl PendingStatuses {
    fn is_empty(&self) -> bool {
        !self.all && self.some.is_empty()
    }
}

impl Controller {
    /// Recovers what was published and stored before. Tries until the API server answers: to begin
    /// without it would lose keys and last good revisions.
    pub(crate) async fn recover(context: Context) -> anyhow::Result<Self> {
        let mut pause = RETRY_FIRST;
        loop {
            match Self::try_recover(&context).await {
                Ok(controller) => return Ok(controller),
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "what was published before cannot be read: trying again"
                    );
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn try_recover(context: &Context) -> anyhow::Result<Self> {
        let Context {
            client,
            namespace,
            fence,
            pods,
            ..
        } = context;
        let (publisher, recovered) =
            Publisher::recover(client.clone(), namespace, Arc::clone(fence)).await?;
        let keyring = Keyring::load(
            client.clone(),
            namespace,
            Arc::clone(fence),
            recovered.snapshot.as_deref(),
            clock::now(),
        )
        .await?;
        pods.recover(recovered.seeds);
        let mut controller = Self {
            context: context.clone(),
            publisher,
            keyring,
            compiler: Compiler::default(),
            referenced: ReferencedData::default(),
            published: Published::default(),
            pending: Pending::default(),
            waits: Waits {
                unproved: None,
                new_pod_since: None,
                compare_seeds_at: Instant::now(),
                statuses_paused_until: None,
            },
        };
        if let Some(snapshot) = recovered.snapshot {
            controller.serve(snapshot);
        }
        Ok(controller)
    }

    /// For as long as this replica leads.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let cache = Arc::clone(&self.context.cache);
        let pods = Arc::clone(&self.context.pods);
        // A new leader syncs everything, whatever has changed.
        drop(cache.take_changes());
        self.reconcile(None).await;
        loop {
            tokio::select! {
                () = cache.changed.notified() => {}
                () = pods.changed.notified() => self.pending.statuses.all = true,
                () = sleep_until(self.wake_at()) => {}
            }
            let changes = cache.take_changes();
            self.pending.statuses.some.extend(changes.statuses);
            if changes.configuration {
                self.pending.debounce.note(Instant::now());
            }
            if self.is_due() {
                let since = self.pending.debounce.take();
                self.reconcile(since).await;
            }
            self.sync_due_statuses();
        }
    }

    /// When something is due at the latest.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let keys_due = self.pending.keys_due.map(|due| {
            let seconds = u64::try_from(due.saturating_sub(clock::now())).unwrap_or_default();
            now + Duration::from_secs(seconds.min(RESYNC_EVERY.as_secs()))
        });
        let statuses_due = (!self.pending.statuses.is_empty()).then(|| self.statuses_due_at(now));
        [
            self.pending.debounce.ready_at(),
            self.pending.retry.as_ref().map(|retry| retry.at),
            keys_due,
            statuses_due,
        ]
        .into_iter()
        .flatten()
        .chain([now + RESYNC_EVERY])
        .min()
        .unwrap_or(now)
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let reached = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (proofs, _) = self.context.pods.proofs(&self.published.history);
        reached(self.pending.debounce.ready_at())
            || reached(self.pending.retry.as_ref().map(|retry| retry.at))
            || self.pending.keys_due.is_some_and(|due| due <= clock::now())
            || self.keyring.can_advance(&proofs)
            || self.seeds_are_due()
    }

    /// Syncs, and plans a retry where that fails; `since` is when the first of the changes came.
    async fn reconcile(&mut self, since: Option<Instant>) {
        let synced = self.sync(since).await;
        self.pending.statuses.all = true;
        let before = self.pending.retry.take();
        self.pending.retry = synced.err().map(|error| {
            let pause = before.map_or(RETRY_FIRST, |retry| retry.pause * 2);
            let pause = pause.min(RETRY_MAX);
            tracing::debug!(%error, pause.seconds = pause.as_secs(), "trying again");
            Retry {
                at: Instant::now() + pause,
                pause,
            }
        });
    }

    /// Brings the cluster to what the objects want; what fails does not hold up the rest.
    async fn sync(&mut self, since: Option<Instant>) -> Result<(), Incomplete> {
        let Context {
            client,
            cache,
            tracker,
            pods,
            metrics,
            ..
        } = self.context.clone();
        let (objects, references) = gather(&cache);
        metrics.objects.set(gauge(objects.len()));
        let read = self
            .referenced
            .refresh(
                &client,
                &tracker,
                references.iter().flat_map(|all| all.iter()),
            )
            .await;

        let mut compiled = self.compile(objects.clone()).await;
        let (proofs, _) = pods.proofs(&self.published.history);
        let rotated = self
            .keyring
            .rotate(&compiled.snapshot, &cache, &proofs, clock::now())
            .await;
        self.pending.keys_due = rotated.next_due;
        if rotated.changed {
            compiled = self.compile(objects).await;
        }
        let Compiled { snapshot, verdicts } = compiled;
        let refused = verdicts.iter().filter(|verdict| verdict.is_refused());
        metrics.refused_objects.set(gauge(refused.count()));
        let age = self.keyring.oldest_age(clock::now());
        metrics.signing_key_age_seconds.set(age);
        self.published.verdicts = verdicts
            .into_iter()
            .map(|verdict| {
                let id = NamespacedName::new(&verdict.namespace, &verdict.name);
                ((verdict.kind, id), verdict)
            })
            .collect();

        let published = self.publish(Arc::new(snapshot), since).await;
        self.keyring.drop_others(&self.context.scope, &cache).await;
        read?;
        published
    }

    async fn compile(&mut self, objects: Vec<Object>) -> Compiled {
        let ReferencedData {
            secrets,
            secret_uses,
            config_maps,
            ..
        } = &mut self.referenced;
        let mut inputs = Inputs {
            objects,
            secrets: std::mem::take(secrets),
            secret_uses: std::mem::take(secret_uses),
            config_maps: std::mem::take(config_maps),
            managed_keys: self.keyring.managed_keys(),
            managed_encryption_keys: self.keyring.managed_encryption_keys(),
            previous: self.published.snapshot.clone(),
            http_issuers: self.context.http_issuers,
            installer: Installer::clone(&self.context.installer),
            now: Some(clock::now()),
        };
        let mut compiler = std::mem::take(&mut self.compiler);
        let began = Instant::now();
        let compiling = tokio::task::spawn_blocking(move || {
            let compiled = compiler.compile(&inputs);
            inputs.objects.clear();
            (compiled, compiler, inputs)
        });
        let (compiled, compiler, inputs) = compiling.await.expect("a panic ends the process");
        let seconds = began.elapsed().as_secs_f64();
        self.context.metrics.compile_seconds.observe(seconds);
        self.compiler = compiler;
        self.referenced.secrets = inputs.secrets;
        self.referenced.secret_uses = inputs.secret_uses;
        self.referenced.config_maps = inputs.config_maps;
        compiled
    }

    /// What pods have reported, and whether each of them has been asked.
    fn proofs(&self) -> (Vec<PodProof>, bool) {
        let (mut proofs, asked) = self.context.pods.proofs(&self.published.history);
        if let Some(error) = &self.published.publish_error {
            for pod in &mut proofs {
                pod.error = Some(format!("the configuration cannot be published: {error}"));
            }
        }
        (proofs, asked)
    }

    /// When statuses may be synced next.
    fn statuses_due_at(&self, now: Instant) -> Instant {
        let stale = self.context.pods.stale();
        let waits = [
            self.waits.statuses_paused_until,
            self.waits
                .unproved
                .as_ref()
                .and_then(|unproved| unproved.wait_until),
            self.waits.new_pod_since.map(|since| since + NEW_POD_WAIT),
            stale.map(|stale| stale.until.min(stale.since + STALE_WAIT)),
        ];
        waits.into_iter().flatten().fold(now, Instant::max)
    }

    fn sync_due_statuses(&mut self) {
        let now = Instant::now();
        let (proofs, asked) = self.proofs();
        let ready = proofs.iter().filter(|pod| !pod.name.is_empty());
        self.context.metrics.ready_pods.set(gauge(ready.count()));
        self.note_proof(&proofs);
        let unproved = self.waits.unproved.as_ref();
        let unproved = unproved.map_or(0, |unproved| unproved.since.elapsed().as_secs());
        let metric = &self.context.metrics.unproved_seconds;
        metric.set(i64::try_from(unproved).unwrap_or(i64::MAX));
        match (asked, self.waits.new_pod_since) {
            (true, _) => self.waits.new_pod_since = None,
            (false, None) => self.waits.new_pod_since = Some(now),
            (false, Some(_)) => {}
        }
        if self.pending.statuses.is_empty() || self.statuses_due_at(now) > now {
            return;
        }
        let pending = std::mem::take(&mut self.pending.statuses);
        self.sync_statuses(&proofs, (!pending.all).then_some(&pending.some));
        let cost = now.elapsed();
        let pause = if pending.all {
            STATUS_SYNC_PAUSE.max(cost * STATUS_SYNC_PAUSE_FACTOR)
        } else {
            cost * STATUS_SYNC_PAUSE_FACTOR
        };
        self.waits.statuses_paused_until = Some(Instant::now() + pause);
    }

    /// Statuses wait no longer once every pod has proved what was published.
    fn note_proof(&mut self, proofs: &[PodProof]) {
        let Some(snapshot) = &self.published.snapshot else {
            return;
        };
        let Some(unproved) = &self.waits.unproved else {
            return;
        };
        if is_proved(proofs, |served| served.revision == snapshot.revision) {
            let seconds = unproved.since.elapsed().as_secs_f64();
            self.context.metrics.proof_seconds.observe(seconds);
            self.waits.unproved = None;
        } else if proofs.is_empty() {
            self.waits.unproved = Some(Unproved {
                since: unproved.since,
                wait_until: None,
            });
        }
    }
}

/// The objects, and what each of them names.
fn gather(cache: &Cache) -> (Vec<Object>, Vec<Arc<[Reference]>>) {
    cache.with_objects(|objects| {
        let entries = || objects.values();
        let references = entries().filter(|entry| !entry.references.is_empty());
        (
            entries().map(|entry| entry.object.clone()).collect(),
            references
                .map(|entry| Arc::clone(&entry.references))
                .collect(),
        )
    })
}
