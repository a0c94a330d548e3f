//! What the watches have seen of the API server: the objects of both kinds with their status, and
//! the versions of the Secrets that the operator wrote.
//!
//! A change of a status alone is no change of the configuration: the operator's own writes come
//! back as such events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::ObjectMeta;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use vestibule_crds::object::{API_VERSION, Kind, NamespacedName, Object};
use vestibule_crds::snapshot::Revision;
use vestibule_crds::status::Status;

use crate::watched::Watched;
use vestibule_crds::compile::{Reference, references};

/// Asks for a rotation of a policy's managed keys: each new value once.
pub(crate) const ROTATE_ANNOTATION: &str = "vestibule.dev/rotate";

/// Longest value of it that is kept as it is.
const ROTATE_BYTES_MAX: usize = 64;

/// An object of either kind.
pub(crate) type Key = (Kind, NamespacedName);

/// An object and what was read with it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Without `status` and with no more of `metadata` than compiling reads.
    pub(crate) object: Object,
    pub(crate) uid: String,
    pub(crate) status: Option<Status>,
    /// The value of [`ROTATE_ANNOTATION`], or a digest of it where it is long.
    pub(crate) rotate: Option<String>,
    pub(crate) references: Arc<[Reference]>,
    version: Version,
}

/// A resource version, comparable: later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Version(u64);

/// What has changed since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Something that what is published depends on.
    pub(crate) configuration: bool,
    /// Objects whose status has changed.
    pub(crate) statuses: BTreeSet<Key>,
}

/// Shared by the watches, which fill it, and the controller, which reads it.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    state: Mutex<State>,
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Entry>,
    /// Secrets with the operator's label in its own namespace, by name.
    owned: BTreeMap<String, String>,
    /// The versions of them that the operator itself wrote last.
    written: BTreeMap<String, String>,
    /// Those of them that were deleted, until that is put right.
    lost: BTreeSet<String>,
    changes: Changes,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read` on the objects; it must not take long, for the watches wait.
    pub(crate) fn with_objects<T>(&self, read: impl FnOnce(&BTreeMap<Key, Entry>) -> T) -> T {
        read(&self.lock().objects)
    }

    pub(crate) fn entry(&self, key: &Key) -> Option<Entry> {
        self.lock().objects.get(key).cloned()
    }

    pub(crate) fn take_changes(&self) -> Changes {
        std::mem::take(&mut self.lock().changes)
    }

    /// Something outside the objects has changed, such as a Secret that one of them names.
    pub(crate) fn configuration_changed(&self) {
        self.lock().changes.configuration = true;
        self.changed.notify_one();
    }

    pub(crate) fn apply(&self, kind: Kind, object: Watched) {
        if object.metadata.deletion_timestamp.is_some() {
            // Its deletion takes effect at once, whatever its finalizers wait for.
            if let Some(id) = id_of(&object.metadata) {
                self.delete(kind, &id);
            }
            return;
        }
        let Some(mut entry) = read(kind, object) else {
            return;
        };
        let key = (kind, entry.object.id.clone());
        let mut state = self.lock();
        let State {
            objects, changes, ..
        } = &mut *state;
        if let Some(before) = objects.get(&key) {
            let same_object = before.uid == entry.uid;
            if same_object && entry.version < before.version {
                return;
            }
            let unchanged = same_object
                && before.object.body == entry.object.body
                && before.object.unreadable == entry.object.unreadable
                && before.object.created_at == entry.object.created_at
                && before.rotate == entry.rotate;
            if unchanged {
                // The same allocation, so that comparing them again costs nothing.
                entry.object.body = Arc::clone(&before.object.body);
                entry.references = Arc::clone(&before.references);
                if before.status == entry.status {
                    objects.insert(key, entry);
                    return;
                }
                changes.statuses.insert(key.clone());
                objects.insert(key, entry);
                drop(state);
                self.changed.notify_one();
                return;
            }
        }
        changes.statuses.insert(key.clone());
        changes.configuration = true;
        objects.insert(key, entry);
        drop(state);
        self.changed.notify_one();
    }

    pub(crate) fn delete(&self, kind: Kind, id: &NamespacedName) {
        let removed = self.lock().objects.remove(&(kind, id.clone()));
        if removed.is_some() {
            self.configuration_changed();
        }
    }

    /// After a list: what `within` covers and was not in it is gone.
    pub(crate) fn keep_only(
        &self,
        kind: Kind,
        listed: &BTreeSet<NamespacedName>,
        within: impl Fn(&NamespacedName) -> bool,
    ) {
        let mut state = self.lock();
        let before = state.objects.len();
        state
            .objects
            .retain(|(of, id), _| *of != kind || !within(id) || listed.contains(id));
        let fewer = state.objects.len() < before;
        drop(state);
        if fewer {
            self.configuration_changed();
        }
    }

    /// What a write of ours came back with, so that nothing is written a second time before the
    /// watch brings it.
    pub(crate) fn status_written(&self, key: &Key, written: Watched) {
        let Some(written) = read(key.0, written) else {
            return;
        };
        if let Some(entry) = self.lock().objects.get_mut(key)
            && entry.uid == written.uid
            && entry.version < written.version
        {
            // The version stays: a spec that was changed in between still comes with an event of
            // its own.
            entry.status = written.status;
        }
    }

    /// What the operator wrote itself is no news.
    pub(crate) fn owned_applied(&self, name: String, version: String) {
        let mut state = self.lock();
        state.lost.remove(&name);
        let written = state.written.get(&name);
        let is_news = written.is_none_or(|written| is_later(&version, written))
            && state.owned.get(&name) != Some(&version);
        state.owned.insert(name, version);
        drop(state);
        if is_news {
            self.configuration_changed();
        }
    }

    pub(crate) fn owned_written(&self, name: &str, version: &str) {
        let mut state = self.lock();
        state.written.insert(name.to_owned(), version.to_owned());
    }

    pub(crate) fn owned_deleted(&self, name: &str) {
        let mut state = self.lock();
        let known = state.owned.remove(name).is_some();
        if known {
            state.lost.insert(name.to_owned());
        }
        drop(state);
        if known {
            self.configuration_changed();
        }
    }

    pub(crate) fn owned_keep_only(&self, listed: &BTreeSet<String>) {
        let gone: Vec<String> = {
            let state = self.lock();
            let names = state.owned.keys().filter(|name| !listed.contains(*name));
            names.cloned().collect()
        };
        for name in gone {
            self.owned_deleted(&name);
        }
    }

    /// Whether a Secret of the operator differs from what was written last: something else changed
    /// or deleted it.
    pub(crate) fn is_disturbed(&self, name: &str) -> bool {
        let state = self.lock();
        let (seen, written) = (state.owned.get(name), state.written.get(name));
        let changed = seen.zip(written);
        state.lost.contains(name) || changed.is_some_and(|(seen, written)| is_later(seen, written))
    }

    /// A Secret of the operator is about to be written or no longer wanted: its deletion no longer
    /// matters.
    pub(crate) fn forget_loss(&self, name: &str) {
        self.lock().lost.remove(name);
    }
}

/// Resource versions of one kind are numbers that grow.
fn is_later(left: &str, right: &str) -> bool {
    match (left.parse::<u64>(), right.parse::<u64>()) {
        (Ok(left), Ok(right)) => left > right,
        _ => left != right,
    }
}

impl Version {
    fn parse(text: Option<&str>) -> Self {
        Self(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    }
}

/// The value is stored with the keys and only compared: a digest of a long one is enough.
fn bounded(value: &String) -> String {
    if value.len() <= ROTATE_BYTES_MAX {
        return value.clone();
    }
    Revision::of(value.as_bytes()).to_string()
}

pub(crate) fn id_of(metadata: &ObjectMeta) -> Option<NamespacedName> {
    let namespace = metadata.namespace.clone()?;
    Some(NamespacedName::new(namespace, metadata.name.clone()?))
}

fn read(kind: Kind, object: Watched) -> Option<Entry> {
    let Watched {
        metadata,
        mut members,
        unreadable,
    } = object;
    let status = members
        .remove("status")
        .and_then(|status| serde_json::from_value(status).ok());
    let mut kept = Map::new();
    kept.insert("name".to_owned(), json!(metadata.name?));
    kept.insert("namespace".to_owned(), json!(metadata.namespace?));
    if let Some(uid) = &metadata.uid {
        kept.insert("uid".to_owned(), json!(uid));
    }
    if let Some(generation) = metadata.generation {
        kept.insert("generation".to_owned(), json!(generation));
    }
    if let Some(created) = metadata.creation_timestamp {
        kept.insert("creationTimestamp".to_owned(), json!(created));
    }
    members.insert("apiVersion".to_owned(), json!(API_VERSION));
    members.insert("kind".to_owned(), json!(kind.name()));
    members.insert("metadata".to_owned(), Value::Object(kept));
    let mut object = Object::from_value(Value::Object(members), None).ok()?;
    object.unreadable = unreadable;
    let references = references(&object).into();
    let annotations = metadata.annotations.unwrap_or_default();
    Some(Entry {
        references,
        object,
        uid: metadata.uid.unwrap_or_default(),
        status,
        rotate: annotations.get(ROTATE_ANNOTATION).map(bounded),
        version: Version::parse(metadata.resource_version.as_deref()),
    })
}

#[cfg(test)]
mod tests;
