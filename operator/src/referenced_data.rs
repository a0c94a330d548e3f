//! The Secrets and ConfigMaps that objects name. Of all others only metadata passes by, and of
//! these only the named entries are kept: anything else in a namespace takes no memory.
//!
//! | what is tracked is | when |
//! |---|---|
//! | wanted | it is new, has a new version, is gone, or was left out of a list |
//! | settled | it was read, or is known not to exist |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use kube::{Api, Client};
use vestibule_crds::compile::{DataId, DataKind, Reference, USE_LABEL};
use vestibule_crds::object::NamespacedName;
use vestibule_crds::secret::Secret;

/// Reads at once.
const READS_MAX: usize = 16;
const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// What the watches have seen; shared by them and the controller.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    tracked: Mutex<HashMap<DataId, Tracked>>,
}

#[derive(Debug, Default)]
struct Tracked {
    keys: BTreeSet<String>,
    version: Option<String>,
    wanted: bool,
}

/// What was read: the controller's own, in the form that `compile` takes.
#[derive(Debug, Default)]
pub(crate) struct ReferencedData {
    pub(crate) secrets: BTreeMap<NamespacedName, BTreeMap<String, Secret>>,
    /// The use that the label of a Secret allows.
    pub(crate) secret_uses: BTreeMap<NamespacedName, String>,
    pub(crate) config_maps: BTreeMap<NamespacedName, BTreeMap<String, String>>,
    /// What could not be read, so that it is logged once.
    unreadable: BTreeSet<DataId>,
}

/// How many Secrets and ConfigMaps could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} Secrets or ConfigMaps that objects refer to cannot be read")]
pub(crate) struct Unread(usize);

/// Why one of them could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{}", crate::failure::describe(.0))]
    Refused(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

impl Tracker {
    fn lock(&self) -> MutexGuard<'_, HashMap<DataId, Tracked>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch has seen this version. Whether anything that is named has changed.
    pub(crate) fn seen(&self, data: &DataId, version: Option<&str>) -> bool {
        let mut all = self.lock();
        let Some(tracked) = all.get_mut(data) else {
            return false;
        };
        if tracked.version.as_deref() == version && version.is_some() {
            return false;
        }
        tracked.wanted = true;
        true
    }

    /// The watch has listed what `within` covers. Whether anything that is named was left out.
    pub(crate) fn listed(
        &self,
        kind: DataKind,
        listed: &BTreeSet<NamespacedName>,
        within: impl Fn(&NamespacedName) -> bool,
    ) -> bool {
        let mut left_out = false;
        for (data, tracked) in self.lock().iter_mut() {
            let covered = data.kind == kind && within(&data.id);
            if covered && tracked.version.is_some() && !listed.contains(&data.id) {
                tracked.wanted = true;
                left_out = true;
            }
        }
        left_out
    }

    /// Whether something named is there under this id; a list need not remember any other.
    pub(crate) fn is_named(&self, data: &DataId) -> bool {
        self.lock().contains_key(data)
    }

    /// Takes over what is named now; returns what is named no more.
    fn name(&self, wanted: &HashMap<DataId, BTreeSet<String>>) -> Vec<DataId> {
        let mut all = self.lock();
        let gone: Vec<DataId> = all
            .keys()
            .filter(|data| !wanted.contains_key(data))
            .cloned()
            .collect();
        for data in &gone {
            all.remove(data);
        }
        for (data, keys) in wanted {
            let tracked = all.entry(data.clone()).or_default();
            if tracked.keys != *keys {
                tracked.keys.clone_from(keys);
                tracked.wanted = true;
            }
        }
        gone
    }

    /// What is to be read. An event that comes while it is read makes it wanted again.
    fn take_wanted(&self) -> Vec<(DataId, BTreeSet<String>)> {
        let mut all = self.lock();
        let wanted = all.iter_mut().filter(|(_, tracked)| tracked.wanted);
        wanted
            .map(|(data, tracked)| {
                tracked.wanted = false;
                (data.clone(), tracked.keys.clone())
            })
            .collect()
    }

    fn settle(&self, data: &DataId, version: Option<String>) {
        if let Some(tracked) = self.lock().get_mut(data) {
            tracked.version = version;
        }
    }

    fn want(&self, data: &DataId) {
        if let Some(tracked) = self.lock().get_mut(data) {
            tracked.wanted = true;
        }
    }
}

/// The named entries of one Secret or ConfigMap, or that it is not there.
enum Found {
    Secret(Option<String>, Option<String>, BTreeMap<String, Secret>),
    ConfigMap(Option<String>, BTreeMap<String, String>),
    Missing,
}

impl ReferencedData {
    /// Reads what is new or changed among what `references` name. What could not be read keeps the
    /// content that it had, and is read at the next call.
    pub(crate) async fn refresh<'a>(
        &mut self,
        client: &Client,
        tracker: &Tracker,
        references: impl Iterator<Item = &'a Reference>,
    ) -> Result<(), Unread> {
        let mut named: HashMap<DataId, BTreeSet<String>> = HashMap::new();
        for reference in references {
            let keys = named.entry(reference.data.clone()).or_default();
            keys.insert(reference.key.clone());
        }
        for data in tracker.name(&named) {
            self.forget(&data);
        }
        let mut reads = futures_util::stream::iter(tracker.take_wanted())
            .map(|(data, keys)| async move {
                let reading = read(client, &data, &keys);
                let found = tokio::time::timeout(READ_TIME_MAX, reading).await;
                let found = found.map_err(ReadError::from);
                (data, found.and_then(|found| Ok(found?)))
            })
            .buffer_unordered(READS_MAX);
        let mut unread = 0;
        while let Some((data, found)) = reads.next().await {
            match found {
                Ok(found) => {
                    self.unreadable.remove(&data);
                    tracker.settle(&data, self.keep(&data, found));
                }
                Err(error) => {
                    unread += 1;
                    tracker.want(&data);
                    if self.unreadable.insert(data.clone()) {
                        tracing::warn!(kind = %data.kind, name = %data.id, %error, "something that is referred to cannot be read: trying again");
                    }
                }
            }
        }
        match unread {
            0 => Ok(()),
            unread => Err(Unread(unread)),
        }
    }

    /// The version of what is kept now.
    fn keep(&mut self, data: &DataId, found: Found) -> Option<String> {
        match found {
            Found::Secret(version, label, entries) => {
                match label {
                    Some(label) => self.secret_uses.insert(data.id.clone(), label),
                    None => self.secret_uses.remove(&data.id),
                };
                self.secrets.insert(data.id.clone(), entries);
                version
            }
            Found::ConfigMap(version, entries) => {
                self.config_maps.insert(data.id.clone(), entries);
                version
            }
            Found::Missing => {
                self.forget(data);
                None
            }
        }
    }

    fn forget(&mut self, data: &DataId) {
        self.unreadable.remove(data);
        match data.kind {
            DataKind::Secret => {
                self.secret_uses.remove(&data.id);
                self.secrets.remove(&data.id);
            }
            DataKind::ConfigMap => drop(self.config_maps.remove(&data.id)),
        }
    }
}

async fn read(client: &Client, data: &DataId, keys: &BTreeSet<String>) -> kube::Result<Found> {
    let NamespacedName { namespace, name } = &data.id;
    Ok(match data.kind {
        DataKind::Secret => {
            let api: Api<SecretObject> = Api::namespaced(client.clone(), namespace);
            match api.get_opt(name).await? {
                Some(secret) => {
                    let version = secret.metadata.resource_version.clone();
                    let labels = secret.metadata.labels.as_ref();
                    let label = labels.and_then(|labels| labels.get(USE_LABEL)).cloned();
                    Found::Secret(version, label, secret_entries(secret, keys))
                }
                None => Found::Missing,
            }
        }
        DataKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            match api.get_opt(name).await? {
                Some(map) => {
                    let version = map.metadata.resource_version.clone();
                    Found::ConfigMap(version, config_map_entries(map, keys))
                }
                None => Found::Missing,
            }
        }
    })
}

/// An entry that is no text is left out, as in manifests.
fn secret_entries(secret: SecretObject, keys: &BTreeSet<String>) -> BTreeMap<String, Secret> {
    let entries = secret.data.unwrap_or_default().into_iter();
    let named = entries.filter(|(key, _)| keys.contains(key));
    named
        .filter_map(|(key, bytes)| Some((key, Secret::of_entry(bytes.0)?)))
        .collect()
}

fn config_map_entries(map: ConfigMap, keys: &BTreeSet<String>) -> BTreeMap<String, String> {
    let binary = map.binary_data.unwrap_or_default().into_iter();
    let binary = binary.filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes.0).ok()?)));
    let text = map.data.unwrap_or_default();
    binary
        .chain(text)
        .filter(|(key, _)| keys.contains(key))
        .collect()
}

pub(crate) type SharedTracker = Arc<Tracker>;

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(name: &str) -> DataId {
        DataId {
            kind: DataKind::Secret,
            id: NamespacedName::new("auth", name),
        }
    }

    fn named(tracker: &Tracker, key: &str) {
        let keys = BTreeSet::from([key.to_owned()]);
        tracker.name(&HashMap::from([(secret("a"), keys)]));
    }

    #[test]
    fn what_nobody_names_is_nothing_to_do() {
        let tracker = Tracker::default();
        named(&tracker, "tls.key");
        assert!(!tracker.seen(&secret("foreign"), Some("1")));
        assert_eq!(tracker.take_wanted().len(), 1);
    }

    #[test]
    fn a_named_one_is_read_when_it_is_new_changed_or_gone() {
        let tracker = Tracker::default();
        named(&tracker, "tls.key");
        assert_eq!(tracker.take_wanted().len(), 1);
        tracker.settle(&secret("a"), Some("7".to_owned()));
        assert!(!tracker.seen(&secret("a"), Some("7")), "the same version");
        assert!(tracker.take_wanted().is_empty());
        assert!(tracker.seen(&secret("a"), Some("8")), "another version");
        assert!(tracker.seen(&secret("a"), None), "it is gone");
        assert_eq!(tracker.take_wanted().len(), 1);
        named(&tracker, "other.key");
        assert_eq!(tracker.take_wanted().len(), 1, "another entry of it");
    }

    #[test]
    fn an_event_during_a_read_is_not_lost() {
        let tracker = Tracker::default();
        named(&tracker, "tls.key");
        tracker.take_wanted();
        assert!(tracker.seen(&secret("a"), Some("8")));
        tracker.settle(&secret("a"), Some("7".to_owned()));
        assert_eq!(tracker.take_wanted().len(), 1);
    }

    #[test]
    fn what_a_list_leaves_out_is_read_again() {
        let tracker = Tracker::default();
        named(&tracker, "tls.key");
        tracker.take_wanted();
        tracker.settle(&secret("a"), Some("7".to_owned()));
        let there = BTreeSet::from([secret("a").id]);
        assert!(!tracker.listed(DataKind::Secret, &there, |_| true));
        assert!(!tracker.listed(DataKind::ConfigMap, &BTreeSet::new(), |_| true));
        assert!(!tracker.listed(DataKind::Secret, &BTreeSet::new(), |id| id.namespace == "b"));
        assert!(tracker.listed(DataKind::Secret, &BTreeSet::new(), |_| true));
    }

    #[test]
    fn only_named_entries_that_are_text_are_kept() {
        let bytes = |text: &[u8]| ByteString(text.to_vec());
        let data = BTreeMap::from([
            ("tls.key".to_owned(), bytes(b"pem")),
            ("garbage".to_owned(), bytes(&[b'x'; 1024])),
            ("store".to_owned(), bytes(&[0xff])),
        ]);
        let object = SecretObject {
            data: Some(data),
            ..SecretObject::default()
        };
        let keys = BTreeSet::from(["tls.key".to_owned(), "store".to_owned()]);
        let entries = secret_entries(object, &keys);
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["tls.key"]);
    }
}
