//! How long a change takes: from `kubectl apply` until every ready pod serves it and the operator says so. And what many objects cost.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::Api;
use kube::api::{DeleteParams, ListParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use vestibule_crds::object::Kind;

use super::objects::{address, condition};
use super::{Release, bulk, node};
use crate::e2e::manifests::with;
use crate::e2e::{Client, LocalIssuer, within};

/// For ten thousand objects on a small machine.
const DEADLINE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const PAGE: u32 = 1000;

/// Many providers in the namespace of a release.
#[derive(Debug)]
pub struct Many {
    api: Api<DynamicObject>,
    issuer: LocalIssuer,
    client: Client,
}

/// Seconds from the change.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Until each ready pod has served it.
    pub served: f64,
    /// Until Programmed was True for it.
    pub programmed: f64,
}

impl Many {
    pub async fn of(release: &Release) -> Self {
        let client = bulk::client().await;
        Self {
            api: bulk::api(&client, Kind::OidcProvider, &release.namespace.name),
            issuer: LocalIssuer::new(),
            client: Client::new(),
        }
    }

    /// Number `number` of them; `display_name` is what changes.
    pub fn provider(&self, number: usize, display_name: &str) -> Value {
        let provider = with(
            self.issuer.provider(),
            "/metadata/name",
            format!("many-{number}"),
        );
        let issuer = format!("https://login-{number}.corp.example");
        let provider = with(provider, "/spec/issuer", issuer);
        let provider = with(provider, "/spec/displayName", display_name);
        let metadata = json!({"name": provider["metadata"]["name"]});
        with(provider, "/metadata", metadata)
    }

    /// Applies the first `count` of them.
    pub async fn apply(&self, count: usize) {
        let all = (0..count).map(|number| self.provider(number, "Corp"));
        bulk::apply(&self.api, all).await;
    }

    /// Waits until every provider is Programmed as it stands.
    pub async fn all_programmed(&self, count: usize) {
        let what = format!("{count} providers are Programmed");
        within(DEADLINE, LOOK_EVERY, &what, || async {
            let programmed = self.count_programmed().await;
            if programmed >= count {
                Ok(())
            } else {
                Err(programmed)
            }
        })
        .await;
    }

    pub async fn delete_all(&self) {
        let (how, all) = (DeleteParams::default(), ListParams::default());
        let deleted = self.api.delete_collection(&how, &all).await;
        deleted.expect("the API server takes it");
    }

    async fn count_programmed(&self) -> usize {
        let mut page = ListParams::default().limit(PAGE);
        let mut count = 0;
        loop {
            let listed = self.api.list(&page).await.expect("the API server answers");
            count += listed.items.iter().filter(|one| is_programmed(one)).count();
            let next = listed.metadata.continue_.filter(|next| !next.is_empty());
            let Some(next) = next else { return count };
            page = page.continue_token(&next);
        }
    }

    /// Changes one of them, and watches it become served.
    pub async fn change(&self, release: &Release, number: usize, display_name: &str) -> Taken {
        let pods: Vec<String> = release
            .namespace
            .pods("dataplane")
            .iter()
            .map(|pod| format!("http://{}:8081/revision", address(pod)))
            .collect();
        self.change_at(&pods, number, display_name).await
    }

    /// The same with the pods known already: their `/revision`.
    pub async fn change_at(&self, pods: &[String], number: usize, display_name: &str) -> Taken {
        let name = format!("many-{number}");
        let before = self.api.get(&name).await.expect("it is there");
        let version = before.metadata.resource_version.unwrap_or_default();
        let revisions =
            futures_util::future::join_all(pods.iter().map(|pod| self.revision(pod))).await;
        let began = Instant::now();
        let changed = self.provider(number, display_name);
        bulk::apply(&self.api, [changed]).await;
        let pods = pods.iter().zip(&revisions);
        futures_util::future::join_all(pods.map(|(pod, before)| self.another(pod, before))).await;
        let served = began.elapsed().as_secs_f64();
        self.programmed(&name, &version).await;
        Taken {
            served,
            programmed: began.elapsed().as_secs_f64(),
        }
    }

    async fn revision(&self, pod: &str) -> Value {
        let reply = self.client.get(pod).await.expect("the pod answers");
        reply.json()["revision"].clone()
    }

    async fn another(&self, pod: &str, before: &Value) {
        let look_every = Duration::from_millis(5);
        within(Duration::from_secs(60), look_every, pod, || async {
            let now = self.revision(pod).await;
            if now == *before { Err(now) } else { Ok(()) }
        })
        .await;
    }

    /// Watches from `version` on.
    async fn programmed(&self, name: &str, version: &str) {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(60);
        let watching = self.api.watch(&params, version).await;
        let mut events = watching.expect("the API server answers").boxed();
        while let Some(event) = events.try_next().await.expect("it can be watched") {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                && object.metadata.resource_version.as_deref() != Some(version)
                && is_programmed(&object)
            {
                return;
            }
        }
        panic!("{name} did not become Programmed within a minute");
    }
}

fn is_programmed(object: &DynamicObject) -> bool {
    let value = json!({"status": object.data["status"]});
    let condition = condition(&value, "Programmed");
    condition["status"] == "True"
        && condition["observedGeneration"].as_i64() == object.metadata.generation
}

/// The largest program of a component, in MiB.
pub fn resident_mebibytes(release: &Release, component: &str) -> f64 {
    let pods = release.namespace.pods(component);
    let bytes = pods.iter().map(|pod| {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        node::resident_bytes(uid)
    });
    bytes.max().unwrap_or_default() as f64 / 1024.0 / 1024.0
}

/// Sum over the operators of one of their metrics, such as `vestibule_operator_status_patches_total`.
pub async fn operator_metric(release: &Release, name: &str) -> f64 {
    let client = Client::new();
    let mut sum = 0.0;
    for pod in release.namespace.pods("operator") {
        let url = format!("http://{}:8082/metrics", address(&pod));
        let text = client.get(&url).await.expect("the operator answers").body;
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        sum += lines
            .filter_map(|rest| {
                let (labels, value) = rest.rsplit_once(' ')?;
                (labels.is_empty() || labels.starts_with('{')).then_some(value)
            })
            .filter_map(|value| value.parse::<f64>().ok())
            .sum::<f64>();
    }
    sum
}
