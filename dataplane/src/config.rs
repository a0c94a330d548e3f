//! Where the configuration comes from: manifests in a directory, here, or what the operator
//! published ([`snapshot`]).
//!
//! The embedded way to run: a directory of manifests, compiled as the operator would compile them,
//! and again whenever a file changes or a managed key is due.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use notify::Watcher as _;
use vestibule_crds::compile::{Compiled, Compiler, Inputs, Serving as ServingState, Verdict};
use vestibule_crds::installer::Installer;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::manifests::{self, ManifestFile, ManifestObjects};
use vestibule_crds::object::NamespacedName;
use vestibule_crds::report::{REFUSED_LISTED_MAX, Refusals, RefusedObject};
use vestibule_crds::rotation::{self, ManagedKey};
use vestibule_crds::secret::Secret;
use vestibule_crds::snapshot::{KeyState, Snapshot};

use crate::admin::Admin;
use crate::app::App;

pub mod files;
pub mod key_store;
pub mod snapshot;

use files::Files;
use key_store::{EncryptionKeysOfPolicies, Keeper, KeeperError, KeysOfPolicies};

/// How often the directory is checked when nothing says that it changed: a watch does not see
/// through every link.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Checking costs at most this share of the time, however many files there are.
const LOOK_SHARE: u32 = 50;

/// A manifest directory that is being served.
#[derive(Debug)]
pub struct Manifests {
    files: Files,
    directory: PathBuf,
    keeper: Keeper,
    compiler: Compiler,
    app: Arc<App>,
    admin: Arc<Admin>,
    allowed: Allowed,
    served: Option<Arc<Snapshot>>,
    /// When a managed key is due, seconds since the Unix epoch.
    keys_due: Option<i64>,
    /// What is logged already, so that it is logged once.
    complaints: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the manifests in {} cannot be read: {error}", directory.display())]
    Directory {
        directory: PathBuf,
        error: std::io::Error,
    },
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl Manifests {
    /// Reads, compiles and serves the directory for the first time.
    pub fn open(
        directory: &Path,
        data_dir: &Path,
        allowed: Allowed,
        app: Arc<App>,
        admin: Arc<Admin>,
    ) -> Result<Self, ConfigError> {
        let mut manifests = Self {
            files: Files::new(directory),
            directory: directory.to_owned(),
            keeper: Keeper::open(data_dir)?,
            compiler: Compiler::default(),
            app,
            admin,
            allowed,
            served: None,
            keys_due: None,
            complaints: Vec::new(),
        };
        manifests.look(false)?;
        manifests.reload()?;
        Ok(manifests)
    }

    /// Follows changes for ever, on a thread of its own: compiling is work for a processor, not for
    /// a runtime.
    pub fn follow(mut self) {
        let (changed, changes) = mpsc::channel();
        let watcher = watch(&self.directory, changed);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "changes of the manifests cannot be watched: they are looked for each second");
        }
        let mut pause = LOOK_EVERY;
        loop {
            match changes.recv_timeout(pause) {
                // A change is many events.
                Ok(_) => while changes.try_recv().is_ok() {},
                Err(RecvTimeoutError::Timeout) => {}
                // Without a watch there is no sender.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(pause),
            }
            let began = Instant::now();
            pause = match self.step() {
                Ok(pause) => pause,
                Err(error) => {
                    self.complain(vec![error.to_string()]);
                    LOOK_EVERY
                }
            };
            pause = pause.max(
                began
                    .elapsed()
                    .saturating_mul(LOOK_SHARE)
                    .min(LOOK_EVERY * 30),
            );
        }
    }

    /// One check, and a reload when something changed; how long to pause.
    fn step(&mut self) -> Result<Duration, ConfigError> {
        let (changed, look_again) = self.look(true)?;
        let now = self.app.clock.now();
        if changed || self.keys_due.is_some_and(|due| due <= now) {
            self.reload()?;
        }
        Ok(look_again.unwrap_or(LOOK_EVERY))
    }

    fn look(&mut self, patient: bool) -> Result<(bool, Option<Duration>), ConfigError> {
        let look = self.files.look(Instant::now(), patient);
        let look = look.map_err(|error| ConfigError::Directory {
            directory: self.directory.clone(),
            error,
        })?;
        Ok((look.changed, look.look_again))
    }

    fn reload(&mut self) -> Result<(), ConfigError> {
        let now = self.app.clock.now();
        let accepted = self.files.accepted();
        let (compiled, keys_due) = keep_and_compile(
            &accepted,
            &mut self.compiler,
            &mut self.keeper,
            self.served.clone(),
            self.allowed.clone(),
            now,
        )?;
        self.keys_due = keys_due;
        let mut refusals = refusals(&compiled.verdicts);
        let outcome = match self.app.runtime_config.serve(&compiled.snapshot) {
            Ok(true) => {
                let providers = compiled.snapshot.providers.len();
                let policies = compiled.snapshot.policies.len();
                tracing::info!(revision = %compiled.snapshot.revision, providers, policies, refused = refusals.count, "serving a new configuration");
                self.app
                    .metrics
                    .providers
                    .set(i64::try_from(providers).unwrap_or(i64::MAX));
                self.served = Some(Arc::new(compiled.snapshot));
                "ok"
            }
            Ok(false) => "unchanged",
            Err(error) => {
                refusals.error = Some(error.to_string());
                "failed"
            }
        };
        self.app.metrics.reload(outcome);
        let refused = i64::try_from(refusals.count).unwrap_or(i64::MAX);
        self.app.metrics.refused_objects.set(refused);

        let file_errors = self.files.errors();
        if let Some(first) = file_errors.first() {
            refusals.error = Some(first.clone());
        }
        let mut complaints = file_errors;
        complaints.extend(
            compiled
                .verdicts
                .iter()
                .filter(|verdict| verdict.is_refused())
                .map(complaint),
        );
        complaints.extend(refusals.error.clone().filter(|_| outcome == "failed"));
        self.complain(complaints);
        self.admin.set_refusals(refusals);
        Ok(())
    }

    /// Logs what has not been logged before.
    fn complain(&mut self, complaints: Vec<String>) {
        for complaint in complaints
            .iter()
            .filter(|new| !self.complaints.contains(new))
            .take(REFUSED_LISTED_MAX)
        {
            tracing::warn!("{complaint}");
        }
        self.complaints = complaints;
    }
}

/// Reports changes below `directory`, but not reads: our own check would be the next event, and so
/// for ever.
fn watch(
    directory: &Path,
    changed: mpsc::Sender<notify::Event>,
) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // After an error of the watch, such as a full queue, anything may have changed.
        let event = event.unwrap_or_default();
        if !event.kind.is_access() {
            // The receiver is gone only when the process ends.
            let _sent = changed.send(event);
        }
    })?;
    watcher.watch(directory, notify::RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Compiles, makes the managed keys that are due, and compiles again with them.
pub fn keep_and_compile(
    accepted: &[ManifestFile],
    compiler: &mut Compiler,
    keeper: &mut Keeper,
    previous: Option<Arc<Snapshot>>,
    allowed: impl Into<Allowed>,
    now: i64,
) -> Result<(Compiled, Option<i64>), KeeperError> {
    let (objects, _errors) = manifests::read(accepted);
    let mut inputs = inputs(objects, previous, allowed);
    inputs.managed_keys = with_states(keeper.keys(), now);
    inputs.managed_encryption_keys = by_policy(keeper.encryption_keys());
    let compiled = compiler.compile(&inputs);
    let kept = keeper.keep(&compiled.snapshot, now)?;
    if !kept.changed {
        return Ok((compiled, kept.next_look));
    }
    inputs.managed_keys = with_states(keeper.keys(), now);
    inputs.managed_encryption_keys = by_policy(keeper.encryption_keys());
    Ok((compiler.compile(&inputs), kept.next_look))
}

/// What manifests may ask for.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    pub http_issuers: HttpIssuers,
    pub installer: Installer,
}

impl From<HttpIssuers> for Allowed {
    fn from(http_issuers: HttpIssuers) -> Self {
        Self {
            http_issuers,
            installer: Installer::default(),
        }
    }
}

pub fn inputs(
    objects: ManifestObjects,
    previous: Option<Arc<Snapshot>>,
    allowed: impl Into<Allowed>,
) -> Inputs {
    let Allowed {
        http_issuers,
        installer,
    } = allowed.into();
    let ManifestObjects {
        objects,
        secrets,
        secret_uses,
        config_maps,
        ignored: _,
        notes: _,
    } = objects;
    Inputs {
        objects,
        secrets,
        secret_uses,
        config_maps,
        managed_keys: BTreeMap::new(),
        managed_encryption_keys: BTreeMap::new(),
        previous,
        http_issuers,
        installer,
        now: None,
    }
}

fn with_states(
    keys: &KeysOfPolicies,
    now: i64,
) -> BTreeMap<NamespacedName, Vec<(ManagedKey, KeyState)>> {
    keys.iter()
        .filter_map(|(policy, keys)| {
            let (namespace, name) = policy.split_once('/')?;
            let states = rotation::states(keys, now);
            let keys = keys.iter().cloned().zip(states).collect();
            Some((NamespacedName::new(namespace, name), keys))
        })
        .collect()
}

fn by_policy(keys: &EncryptionKeysOfPolicies) -> BTreeMap<NamespacedName, Secret> {
    keys.iter()
        .filter_map(|(policy, key)| {
            let (namespace, name) = policy.split_once('/')?;
            Some((NamespacedName::new(namespace, name), key.clone()))
        })
        .collect()
}

fn refusals(verdicts: &[Verdict]) -> Refusals {
    let refused = || verdicts.iter().filter(|verdict| verdict.is_refused());
    Refusals {
        count: refused().count(),
        objects: refused()
            .take(REFUSED_LISTED_MAX)
            .map(|verdict| RefusedObject {
                kind: verdict.kind.name().to_owned(),
                namespace: verdict.namespace.clone(),
                name: verdict.name.clone(),
                reason: reason(verdict).to_owned(),
                message: message(verdict),
            })
            .collect(),
        error: None,
    }
}

/// The reason that keeps an object from being served.
pub fn reason(verdict: &Verdict) -> &'static str {
    use vestibule_crds::compile::AcceptedReason;
    match verdict.accepted.reason {
        AcceptedReason::Accepted => verdict.resolved_refs.reason.name(),
        reason => reason.name(),
    }
}

fn message(verdict: &Verdict) -> String {
    let findings: Vec<String> = verdict.findings.iter().map(ToString::to_string).collect();
    findings.join("; ")
}

fn complaint(verdict: &Verdict) -> String {
    let file = verdict.source.as_deref().unwrap_or("manifests");
    let what_now = match verdict.serving {
        ServingState::Current => "",
        ServingState::Previous(_) => " (its last good version is still served)",
        ServingState::Nothing => " (nothing is served for it)",
    };
    format!(
        "{file}: {} {}/{}: {}: {}{what_now}",
        verdict.kind,
        verdict.namespace,
        verdict.name,
        reason(verdict),
        message(verdict),
    )
}

#[cfg(test)]
mod tests;
