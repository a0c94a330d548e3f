//! The cluster's way to run: what the operator published, taken from wherever it can be had.
//!
//! | source | used |
//! |---|---|
//! | watch of the Secret `vestibule-snapshot` | always, and its word is final: a change is served within a second |
//! | the same Secrets, mounted | at the start, and while the API server cannot be reached, when newer than what is served |
//! | the copy in memory that this pod left before its container restarted | at the start, when newer than the mounted one |
//!
//! Whatever does not load in every respect replaces nothing: what is served goes on, and
//! `/revision` says what was refused.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vestibule_crds::publication::{Head, UnpackError};
use vestibule_crds::report::Refusals;

use crate::admin::Admin;
use crate::app::App;
use crate::runtime_config::BuildError;

mod cluster;
mod copies;

pub use cluster::Cluster;
use copies::{LastGood, Mounted};

/// How often the mounted copy is checked; the kubelet takes longer than this to bring a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where snapshots come from.
#[derive(Debug)]
pub struct Sources {
    pub cluster: Option<Cluster>,
    pub mounted: Option<PathBuf>,
    pub last_good: Option<PathBuf>,
}

/// One publication as read, not yet believed.
struct Read {
    head: Head,
    parts: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Read({})", self.head.digest)
    }
}

/// Why a publication is not served.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{0}")]
    Read(String),
}

/// Loads what the sources bring.
#[derive(Debug)]
struct Loader {
    app: Arc<App>,
    admin: Arc<Admin>,
    last_good: Option<LastGood>,
    /// Of what is served.
    head: Mutex<Option<Head>>,
    /// Whether the cluster itself says what to serve; while it does, copies are not read.
    watching: AtomicBool,
}

impl Sources {
    /// Serves the newest copy at hand, then follows the cluster for ever.
    pub async fn follow(self, app: Arc<App>, admin: Arc<Admin>) {
        let Self {
            cluster,
            mounted,
            last_good,
        } = self;
        let mounted = mounted.map(Mounted::new);
        let last_good = last_good.map(LastGood::new);
        let loader = Arc::new(Loader {
            app,
            admin,
            last_good,
            head: Mutex::default(),
            watching: AtomicBool::new(false),
        });
        loader.start(mounted.as_ref()).await;
        let watching = async {
            match cluster {
                Some(cluster) => cluster.watch(&loader).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(watching, loader.follow_mounted(mounted));
    }
}

impl Loader {
    async fn start(self: &Arc<Self>, mounted: Option<&Mounted>) {
        let left = self.last_good.as_ref().and_then(LastGood::read);
        let mounted = match mounted.map(Mounted::read) {
            None => None,
            Some(Ok(read)) => read,
            Some(Err(error)) => {
                self.refuse(&error, "mounted copy");
                None
            }
        };
        let mut copies: Vec<Read> = left.into_iter().chain(mounted).collect();
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.head.published_at));
        for copy in copies {
            if self.load(copy, "copy").await {
                return;
            }
        }
    }

    async fn follow_mounted(self: &Arc<Self>, mounted: Option<Mounted>) {
        let Some(mounted) = mounted else {
            return;
        };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.watching.load(Ordering::SeqCst) {
                continue;
            }
            self.look(&mounted).await;
        }
    }

    async fn look(self: &Arc<Self>, mounted: &Mounted) {
        match mounted.read() {
            Ok(Some(read)) if self.is_served(&read.head) => self.settle(),
            Ok(Some(read)) if self.is_newer(&read.head) => {
                self.load(read, "mounted copy").await;
            }
            Ok(_) => {}
            Err(error) => self.refuse(&error, "mounted copy"),
        }
    }

    fn set_watching(&self, watching: bool) {
        self.watching.store(watching, Ordering::SeqCst);
    }

    fn is_served(&self, head: &Head) -> bool {
        self.head()
            .as_ref()
            .is_some_and(|served| served.digest == head.digest)
    }

    fn is_newer(&self, head: &Head) -> bool {
        self.head().as_ref().is_none_or(|served| {
            served.digest != head.digest && served.published_at < head.published_at
        })
    }

    fn head(&self) -> MutexGuard<'_, Option<Head>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks, builds and serves, off the runtime's threads; false when it is refused.
    async fn load(self: &Arc<Self>, read: Read, source: &'static str) -> bool {
        let loader = Arc::clone(self);
        let loading = tokio::task::spawn_blocking(move || match loader.try_load(&read, source) {
            Ok(()) => true,
            Err(error) => {
                loader.refuse(&error, source);
                false
            }
        });
        loading.await.unwrap_or(false)
    }

    fn try_load(&self, read: &Read, source: &'static str) -> Result<(), LoadError> {
        let published = read.head.unpack(&read.parts)?;
        let (providers, policies) = (
            published.snapshot.providers.len(),
            published.snapshot.policies.len(),
        );
        let app = &self.app;
        let changed = app
            .runtime_config
            .serve_published(published, read.head.digest.clone())?;
        *self.head() = Some(read.head.clone());
        if changed {
            tracing::info!(revision = %read.head.revision, providers, policies, source, "serving a new configuration");
        }
        app.metrics.reload(if changed { "ok" } else { "unchanged" });
        app.metrics
            .providers
            .set(i64::try_from(providers).unwrap_or(i64::MAX));
        app.metrics.refused_objects.set(0);
        self.admin.set_refusals(Refusals::default());
        if let Some(last_good) = &self.last_good
            && let Err(error) = last_good.write(read)
        {
            tracing::warn!(%error, "the copy for a restart could not be written");
        }
        Ok(())
    }

    /// What is published is what is served: what was refused before is not published any more.
    fn settle(&self) {
        if self.admin.set_refusals(Refusals::default()) {
            tracing::info!("what is published is what is served again");
        }
    }

    /// Says once why something is not served.
    fn refuse(&self, error: &LoadError, source: &'static str) {
        let error = format!("{source}: {error}");
        let refusals = Refusals {
            error: Some(error.clone()),
            ..Refusals::default()
        };
        if self.admin.set_refusals(refusals) {
            tracing::warn!("a published configuration is not served: {error}");
            self.app.metrics.reload("failed");
        }
    }
}

/// Reads a file that may not be there.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoadError::Read(format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests;
