//! Managed signing keys of the embedded way to run: made at the first start, kept in the data directory, rotated on time.
//!
//! One file, replaced as a whole: a crash leaves the old keys or the new ones, never half of them. A key is durable before
//! anything is signed with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use vestibule_crds::rotation::{self, ManagedKey};
use vestibule_crds::signing_key::SigningKeyError;
use vestibule_crds::snapshot::Snapshot;

pub const FILE: &str = "signing-keys.json";

/// By `namespace/name` of the policy.
pub type KeysOfPolicies = BTreeMap<String, Vec<ManagedKey>>;

#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    keys: KeysOfPolicies,
}

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{}: it is not a file of signing keys; restore it, or move it away to begin with new keys (tokens signed with the old ones are then refused)",
        .0.display()
    )]
    Unreadable(PathBuf),
    #[error("a signing key for policy {0} could not be made: {1}")]
    Generation(String, SigningKeyError),
}

/// What keeping the keys came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether keys were made or dropped, so that the configuration must be compiled again.
    pub changed: bool,
    /// When to look again, seconds since the Unix epoch.
    pub next_look: Option<i64>,
}

impl Keeper {
    pub fn open(data_dir: &Path) -> Result<Self, KeeperError> {
        let path = data_dir.join(FILE);
        let keys = match fs::read(&path) {
            Ok(bytes) => {
                let bytes = zeroize::Zeroizing::new(bytes);
                serde_json::from_slice(&bytes).map_err(|_| KeeperError::Unreadable(path.clone()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => KeysOfPolicies::new(),
            Err(error) => return Err(KeeperError::Io { path, error }),
        };
        Ok(Self { path, keys })
    }

    pub fn keys(&self) -> &KeysOfPolicies {
        &self.keys
    }

    /// Makes and drops keys as each policy's schedule says at `now`. Nothing changes when it fails.
    pub fn keep(&mut self, snapshot: &Snapshot, now: i64) -> Result<Kept, KeeperError> {
        let mut keys = self.keys.clone();
        let mut next_look = None;
        for policy in snapshot.policies.values() {
            let Some(schedule) = policy.managed else {
                continue;
            };
            let of_policy = keys
                .entry(format!("{}/{}", policy.namespace, policy.name))
                .or_default();
            let plan = rotation::plan(of_policy, schedule, now);
            for index in plan.retire.iter().rev() {
                of_policy.remove(*index);
            }
            if let Some(signs_from) = plan.make {
                let key = ManagedKey::generate(schedule.algorithm, now, signs_from)
                    .map_err(|error| KeeperError::Generation(policy.name.clone(), error))?;
                of_policy.push(key);
            }
            for key in of_policy.iter_mut() {
                key.note_token_lifetime(policy.token.access_ttl);
            }
            next_look = next_look.into_iter().chain([plan.next_look]).min();
        }
        let changed = keys != self.keys;
        if changed {
            self.write(&keys)?;
            self.keys = keys;
        }
        Ok(Kept { changed, next_look })
    }

    fn write(&self, keys: &KeysOfPolicies) -> Result<(), KeeperError> {
        let io = |error| KeeperError::Io {
            path: self.path.clone(),
            error,
        };
        let bytes = serde_json::to_vec(keys).map_err(|error| io(error.into()))?;
        let bytes = zeroize::Zeroizing::new(bytes);
        let new = self.path.with_extension("json.new");
        // A leftover of a crash may have other permissions.
        match fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .map_err(io)?;
        file.write_all(&bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&new, &self.path).map_err(io)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io)
    }
}
