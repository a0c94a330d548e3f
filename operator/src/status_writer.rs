//! Writes statuses to the API server: the newest of each object, a bounded number at once, and an
//! Event when a condition's status or reason changes.
//!
//! What waits is one status for each object at most, so the queue is bounded by the objects there
//! are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use vestibule_crds::compile::ConditionStatus;
use vestibule_crds::object::API_VERSION;

use crate::cache::{Cache, Key};
use crate::clock;
use crate::lease::hold::Fence;
use crate::metrics::{Metrics, gauge};
use crate::status::{Desired, Transition};
use crate::watch::api_resource;
use crate::watched::Watched;

/// Writes under way at once.
const WRITES_MAX: usize = 16;
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// After a write failed, before that object's next.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Who owns the fields of a status.
const FIELD_MANAGER: &str = "vestibule-operator";
/// Events at once, and a second: ten thousand objects that change together must not bury the API
/// server.
const EVENTS_BURST: f64 = 100.0;
const EVENTS_PER_SECOND: f64 = 10.0;
/// As `events.k8s.io` allows a note.
const NOTE_BYTES_MAX: usize = 1024;

/// Statuses that are to be written.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<Key, Desired>,
    in_flight: BTreeSet<Key>,
    /// What the API server refused and would refuse again, so that it is logged once.
    refused: BTreeSet<Key>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, key: Key, desired: Desired) {
        self.lock().pending.insert(key, desired);
        self.added.notify_one();
    }

    /// What stands there is as it should be: an older wish is void.
    pub(crate) fn withdraw(&self, key: &Key) {
        self.lock().pending.remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        state.pending.len() + state.in_flight.len()
    }

    /// One object that has no write in flight; it is in flight until it is done.
    fn take(&self) -> Option<(Key, Desired)> {
        let mut state = self.lock();
        let State {
            pending, in_flight, ..
        } = &mut *state;
        let key = pending
            .keys()
            .find(|key| !in_flight.contains(*key))?
            .clone();
        let desired = pending.remove(&key)?;
        in_flight.insert(key.clone());
        Some((key, desired))
    }

    fn done(&self, key: &Key, again: Option<Desired>) {
        let mut state = self.lock();
        state.in_flight.remove(key);
        if let Some(desired) = again {
            // A newer wish stands.
            state.pending.entry(key.clone()).or_insert(desired);
        }
        drop(state);
        self.added.notify_one();
    }
}

/// Events that may be sent: so many at once, and so many a second.
#[derive(Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * EVENTS_PER_SECOND).min(EVENTS_BURST);
        self.at = now;
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

/// Writes what the queue holds.
pub(crate) struct StatusWriter {
    client: Client,
    queue: Arc<Queue>,
    cache: Arc<Cache>,
    fence: Arc<Fence>,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    tokens: Mutex<Tokens>,
}

impl StatusWriter {
    pub(crate) fn new(
        client: Client,
        identity: String,
        queue: Arc<Queue>,
        cache: Arc<Cache>,
        fence: Arc<Fence>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(identity),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            queue,
            cache,
            fence,
            metrics,
            tokens: Mutex::new(Tokens {
                left: EVENTS_BURST,
                at: Instant::now(),
            }),
        }
    }

    /// For as long as this replica leads.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let this = Arc::new(self);
        let places = Arc::new(Semaphore::new(WRITES_MAX));
        let mut tasks = JoinSet::new();
        loop {
            let place = Arc::clone(&places).acquire_owned().await?;
            let (key, desired) = loop {
                match this.queue.take() {
                    Some(taken) => break taken,
                    None => this.queue.added.notified().await,
                }
            };
            while tasks.try_join_next().is_some() {}
            this.metrics.status_queue.set(gauge(this.queue.len()));
            let this = Arc::clone(&this);
            tasks.spawn(async move {
                let again = this.write(&key, desired).await;
                if again.is_some() {
                    sleep(RETRY_PAUSE).await;
                }
                this.queue.done(&key, again);
                this.metrics.status_queue.set(gauge(this.queue.len()));
                drop(place);
            });
        }
    }

    /// The status again when it could not be written now.
    async fn write(&self, key: &Key, desired: Desired) -> Option<Desired> {
        let entry = self.cache.entry(key)?;
        // The object or its status may have changed since it was queued.
        if entry.object.generation != desired.generation || desired.is(entry.status.as_ref()) {
            return None;
        }
        if self.fence.check().is_err() {
            return None;
        }
        let (kind, id) = key;
        let status = desired.over(entry.status.as_ref(), clock::timestamp());
        let body = json!({
            "apiVersion": API_VERSION,
            "kind": kind.name(),
            // Of an object that was deleted and made again, this is not the status.
            "metadata": {"name": id.name, "namespace": id.namespace, "uid": entry.uid},
            "status": status,
        });
        let resource = api_resource(*kind);
        let api: Api<Watched> = Api::namespaced_with(self.client.clone(), &id.namespace, &resource);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(body);
        let writing = api.patch_status(&id.name, &params, &patch);
        self.metrics.status_patches.inc();
        match timeout(WRITE_TIME_MAX, writing).await {
            Ok(Ok(written)) => {
                self.queue.lock().refused.remove(key);
                self.cache.status_written(key, written);
                let reference = ObjectReference {
                    api_version: Some(API_VERSION.to_owned()),
                    kind: Some(kind.name().to_owned()),
                    name: Some(id.name.clone()),
                    namespace: Some(id.namespace.clone()),
                    uid: Some(entry.uid),
                    ..ObjectReference::default()
                };
                for transition in desired.transitions(entry.status.as_ref()) {
                    self.record(&transition, &reference).await;
                }
                None
            }
            // It is gone or was made again: the watch brings that.
            Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => None,
            Ok(Err(kube::Error::Api(status))) if [400, 403, 422].contains(&status.code) => {
                if self.queue.lock().refused.insert(key.clone()) {
                    tracing::error!(kind = %kind, name = %id, error = status.message, "a status is refused by the API server");
                }
                None
            }
            Ok(Err(error)) => {
                tracing::debug!(kind = %kind, name = %id, error = crate::failure::describe(&error), "a status could not be written: trying again");
                Some(desired)
            }
            Err(_elapsed) => Some(desired),
        }
    }

    /// Events help a person who looks; one that is lost is no harm.
    async fn record(&self, transition: &Transition, reference: &ObjectReference) {
        let Some(event) = event(transition) else {
            return;
        };
        let allowed = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.take(Instant::now())
        };
        if !allowed {
            self.metrics.events_dropped.inc();
            return;
        }
        let publishing = self.recorder.publish(&event, reference);
        match timeout(WRITE_TIME_MAX, publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.metrics.events_dropped.inc();
                tracing::debug!(
                    error = crate::failure::describe(&error),
                    "an Event could not be written"
                );
            }
            Err(_elapsed) => drop(self.metrics.events_dropped.inc()),
        }
    }
}

/// A condition is worth an Event when something stops or ends, and when something is put right
/// again; not when a new object is fine or something is under way.
fn event(transition: &Transition) -> Option<Event> {
    let Transition { condition, known } = transition;
    let type_ = match condition.status {
        ConditionStatus::False => EventType::Warning,
        ConditionStatus::True if *known || condition.type_ == crate::status::PROGRAMMED => {
            EventType::Normal
        }
        ConditionStatus::True | ConditionStatus::Unknown => return None,
    };
    let type_ = if condition.reason == "Propagating" {
        EventType::Normal
    } else {
        type_
    };
    Some(Event {
        type_,
        reason: condition.reason.to_owned(),
        note: Some(note(&condition.message)),
        action: condition.type_.to_owned(),
        secondary: None,
    })
}

fn note(message: &str) -> String {
    if message.len() <= NOTE_BYTES_MAX {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(NOTE_BYTES_MAX - '…'.len_utf8());
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests;
