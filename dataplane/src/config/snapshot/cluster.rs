//! The Secrets of the published snapshot, watched by name: nothing else in the cluster is read.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config};
use vestibule_crds::publication::{HEAD_KEY, Head, SECRET_NAME, part_key, secret_name};
use vestibule_process::backoff::watch_backoff;

use super::{LoadError, Loader, Read};

/// For one answer of the API server; a watch is renewed by the server within minutes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A publication whose parts are being written is read again this often, after this pause and then
/// twice it and so on.
const TORN_TRIES: u32 = 6;
const TORN_PAUSE: Duration = Duration::from_millis(50);
/// The kubelet writes it for every pod that has a service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Where the snapshot is published.
#[derive(Clone)]
pub struct Cluster {
    secrets: Api<Secret>,
    namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.namespace)
    }
}

impl Cluster {
    /// The cluster that this pod runs in, or the one of `kubeconfig`; none when there is neither.
    pub async fn find(
        kubeconfig: Option<&Path>,
        namespace: Option<&str>,
    ) -> anyhow::Result<Option<Self>> {
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("{} is no kubeconfig", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("{} cannot be used", path.display()))?
            }
            None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() => return Ok(None),
            None => Config::incluster().context(
                "this is a pod, but its service account cannot be used: mount its token",
            )?,
        };
        config.connect_timeout = Some(CONNECT_TIME_MAX);
        let namespace = match namespace {
            Some(namespace) => namespace.to_owned(),
            None => match std::fs::read_to_string(NAMESPACE_FILE) {
                Ok(namespace) => namespace.trim().to_owned(),
                Err(_) => config.default_namespace.clone(),
            },
        };
        let client = Client::try_from(config).context("no client for the API server")?;
        Ok(Some(Self {
            secrets: Api::namespaced(client, &namespace),
            namespace,
        }))
    }

    /// Loads each publication as it comes, for ever.
    pub(super) async fn watch(self, loader: &Arc<Loader>) {
        let stream =
            watcher::watch_object(self.secrets.clone(), SECRET_NAME).backoff(watch_backoff());
        let mut stream = pin!(stream);
        let mut reachable = true;
        while let Some(event) = stream.next().await {
            match event {
                Ok(secret) => {
                    if !reachable {
                        tracing::info!("the API server can be reached again");
                    }
                    reachable = true;
                    loader.set_watching(true);
                    if let Some(secret) = secret {
                        self.load(secret, loader).await;
                    }
                }
                Err(error) => {
                    loader.set_watching(false);
                    if reachable {
                        tracing::warn!(error = %innermost(&error), "the published configuration cannot be watched: what is served goes on");
                    }
                    reachable = false;
                }
            }
        }
    }

    async fn load(&self, secret: Secret, loader: &Arc<Loader>) {
        let mut secret = secret;
        let mut pause = TORN_PAUSE;
        for attempt in 1..=TORN_TRIES {
            match self.read(&secret).await {
                Ok(read) if loader.is_served(&read.head) => return loader.settle(),
                Ok(read) => {
                    loader.load(read, "watch").await;
                    return;
                }
                Err(error) if attempt == TORN_TRIES => return loader.refuse(&error, "watch"),
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
            if let Ok(Some(newer)) = self.secrets.get_opt(SECRET_NAME).await {
                secret = newer;
            }
        }
    }

    /// The head of `secret` and the parts that it names, checked to belong together.
    async fn read(&self, secret: &Secret) -> Result<Read, LoadError> {
        let head = entry(secret, HEAD_KEY).ok_or_else(|| missing(SECRET_NAME, HEAD_KEY))?;
        let head = Head::parse(head)?;
        let mut parts = Vec::with_capacity(head.parts());
        for part in 0..head.parts() {
            let (name, key) = (secret_name(part), part_key(part));
            let other;
            let holder = if part == 0 {
                secret
            } else {
                let found = self.secrets.get_opt(&name).await;
                other = found
                    .map_err(|error| LoadError::Read(innermost(&error)))?
                    .ok_or_else(|| missing(&name, &key))?;
                &other
            };
            parts.push(
                entry(holder, &key)
                    .ok_or_else(|| missing(&name, &key))?
                    .to_vec(),
            );
        }
        head.check(&parts)?;
        Ok(Read { head, parts })
    }
}

fn entry<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let data = secret.data.as_ref()?;
    data.get(key).map(|bytes| bytes.0.as_slice())
}

fn missing(secret: &str, key: &str) -> LoadError {
    LoadError::Read(format!("Secret {secret} has no {key}"))
}

/// The innermost cause says most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
