//! The watches: each fills the caches from one kind in one namespace (or all), without end, with a
//! pause after a failure.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _, core::ApiResource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use vestibule_crds::object::{Kind, NamespacedName};
use vestibule_crds::{OidcProvider, SigninPolicy};
use vestibule_process::backoff::watch_backoff;

use crate::arguments::Scope;
use crate::cache::{Cache, id_of};
use crate::owned::OWNED_SELECTOR;
use crate::pods::Pods;
use crate::referenced_data::SharedTracker;
use crate::watched::Watched;
use vestibule_crds::compile::{DataId, DataKind};

/// Objects of a list's page.
const PAGE: u32 = 500;

/// How many watches have not listed for the first time yet.
#[derive(Debug, Default)]
pub(crate) struct Unsynced(AtomicUsize);

/// One watch that has not listed yet.
#[derive(Debug)]
pub(crate) struct FirstList(Arc<Unsynced>);

impl FirstList {
    pub(crate) fn done(self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Unsynced {
    pub(crate) fn begin(self: &Arc<Self>) -> FirstList {
        self.0.fetch_add(1, Ordering::SeqCst);
        FirstList(Arc::clone(self))
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// Where everything that is watched goes.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) client: Client,
    pub(crate) own_namespace: String,
    pub(crate) scope: Scope,
    pub(crate) dataplane_selector: String,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tracker: SharedTracker,
    pub(crate) pods: Arc<Pods>,
    pub(crate) unsynced: Arc<Unsynced>,
}

impl Watches {
    pub(crate) fn start(&self, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let namespaces: Vec<Option<&str>> = match &self.scope {
            Scope::All => vec![None],
            Scope::Named(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        for namespace in namespaces {
            for kind in Kind::ALL {
                self.watch_objects(kind, namespace, tasks);
            }
            self.watch_data::<Secret>(DataKind::Secret, namespace, tasks);
            self.watch_data::<ConfigMap>(DataKind::ConfigMap, namespace, tasks);
        }
        self.watch_owned(tasks);
        self.watch_pods(tasks);
    }

    fn watch_objects(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) {
        let resource = api_resource(kind);
        let api: Api<Watched> = match namespace {
            None => Api::all_with(self.client.clone(), &resource),
            Some(name) => Api::namespaced_with(self.client.clone(), name, &resource),
        };
        let cache = Arc::clone(&self.cache);
        let within = covered(namespace);
        let mut listed = BTreeSet::new();
        let config = watcher::Config::default().page_size(PAGE);
        let what = format!("{kind} in {}", place(namespace));
        self.follow(
            what,
            watcher(api, config),
            tasks,
            move |event| match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.extend(id_of(&object.metadata));
                    cache.apply(kind, object);
                }
                Event::InitDone => {
                    cache.keep_only(kind, &listed, &within);
                    listed.clear();
                }
                Event::Apply(object) => cache.apply(kind, object),
                Event::Delete(object) => {
                    if let Some(id) = id_of(&object.metadata) {
                        cache.delete(kind, &id);
                    }
                }
            },
        );
    }

    fn watch_data<K>(
        &self,
        kind: DataKind,
        namespace: Option<&str>,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<PartialObjectMeta<K>> = match namespace {
            None => Api::all(self.client.clone()),
            Some(name) => Api::namespaced(self.client.clone(), name),
        };
        let (cache, tracker) = (Arc::clone(&self.cache), Arc::clone(&self.tracker));
        let within = covered(namespace);
        let mut listed = BTreeSet::new();
        let config = watcher::Config::default().page_size(PAGE);
        let what = format!("{kind} in {}", place(namespace));
        let seen = move |object: &PartialObjectMeta<K>, gone: bool| -> (Option<DataId>, bool) {
            let Some(id) = id_of(&object.metadata) else {
                return (None, false);
            };
            let data = DataId { kind, id };
            let version = object.metadata.resource_version.as_deref();
            let changed = tracker.seen(&data, version.filter(|_| !gone));
            (tracker.is_named(&data).then_some(data), changed)
        };
        let tracker = Arc::clone(&self.tracker);
        let events = watcher(api, config);
        self.follow(what, events, tasks, move |event| {
            let changed = match event {
                Event::Init => {
                    listed.clear();
                    false
                }
                Event::InitApply(object) => {
                    let (data, changed) = seen(&object, false);
                    listed.extend(data.map(|data| data.id));
                    changed
                }
                Event::InitDone => {
                    let left_out = tracker.listed(kind, &listed, &within);
                    listed.clear();
                    left_out
                }
                Event::Apply(object) => seen(&object, false).1,
                Event::Delete(object) => seen(&object, true).1,
            };
            if changed {
                cache.configuration_changed();
            }
        });
    }

    /// The Secrets that the operator wrote: one that something else changed or deleted is written
    /// again.
    fn watch_owned(&self, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let api: Api<PartialObjectMeta<Secret>> =
            Api::namespaced(self.client.clone(), &self.own_namespace);
        let config = watcher::Config::default().labels(OWNED_SELECTOR);
        let cache = Arc::clone(&self.cache);
        let mut listed = BTreeSet::new();
        let events = watcher(api, config);
        let what = "Secret of the operator".to_owned();
        self.follow(what, events, tasks, move |event| {
            let apply = |object: PartialObjectMeta<Secret>| {
                let version = object.resource_version().unwrap_or_default();
                cache.owned_applied(object.name_any(), version);
            };
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.insert(object.name_any());
                    apply(object);
                }
                Event::InitDone => cache.owned_keep_only(&std::mem::take(&mut listed)),
                Event::Apply(object) => apply(object),
                Event::Delete(object) => cache.owned_deleted(&object.name_any()),
            }
        });
    }

    fn watch_pods(&self, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.own_namespace);
        let config = watcher::Config::default().labels(&self.dataplane_selector);
        let pods = Arc::clone(&self.pods);
        let mut listed = BTreeSet::new();
        let seen = Arc::clone(&self.pods);
        let events = watcher(api, config).inspect(move |event| match event {
            Ok(_) => seen.watch_works(),
            Err(error) => seen.watch_failed(&crate::failure::chain(error)),
        });
        self.follow(
            "Pod of the data plane".to_owned(),
            events,
            tasks,
            move |event| match event {
                Event::Init => listed.clear(),
                Event::InitApply(pod) => {
                    listed.insert(pod.name_any());
                    pods.apply(&pod);
                }
                Event::InitDone => pods.keep_only(&std::mem::take(&mut listed)),
                Event::Apply(pod) => pods.apply(&pod),
                Event::Delete(pod) => pods.remove(&pod.name_any()),
            },
        );
    }

    fn follow<T: Send + 'static>(
        &self,
        what: String,
        events: impl Stream<Item = watcher::Result<Event<T>>> + Send + 'static,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        mut handle: impl FnMut(Event<T>) + Send + 'static,
    ) {
        let mut first_list = Some(self.unsynced.begin());
        let cache = Arc::clone(&self.cache);
        tasks.spawn(async move {
            let mut events = Box::pin(events.backoff(watch_backoff()));
            let mut failing = false;
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        let listed = matches!(event, Event::InitDone);
                        // A list begins before anything is known to work.
                        let works = !matches!(event, Event::Init);
                        handle(event);
                        if works && std::mem::take(&mut failing) {
                            tracing::info!(what, "watching again");
                        }
                        if listed && let Some(first_list) = first_list.take() {
                            first_list.done();
                            cache.changed.notify_one();
                        }
                    }
                    // A watch that ran into its time limit or a compacted version begins again by
                    // itself.
                    Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(what, error = %crate::failure::chain(&error), "it cannot be watched: trying again");
                        }
                    }
                }
            }
            anyhow::bail!("the watch of {what} ended")
        });
    }
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || "all namespaces".to_owned(),
        |name| format!("namespace {name}"),
    )
}

fn covered(namespace: Option<&str>) -> impl Fn(&NamespacedName) -> bool + Send + use<> {
    let namespace = namespace.map(str::to_owned);
    move |id| namespace.as_ref().is_none_or(|own| *own == id.namespace)
}

pub(crate) fn api_resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::OidcProvider => ApiResource::erase::<OidcProvider>(&()),
        Kind::SigninPolicy => ApiResource::erase::<SigninPolicy>(&()),
    }
}
