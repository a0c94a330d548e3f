//! Managed keys of the embedded way to run: made at the first start and kept in the data directory;
//! those that sign are rotated on time.
//!
//! Each file is replaced as a whole: a crash leaves the old keys or the new ones, never half of
//! them. A key is durable before anything is signed or sealed with it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vestibule_crds::encryption_key::{EncryptionKey, EncryptionKeyError};
use vestibule_crds::rotation::{self, ManagedKey};
use vestibule_crds::secret::Secret;
use vestibule_crds::signing_key::SigningKeyError;
use vestibule_crds::snapshot::{EncryptionKeySource, Snapshot};

pub const FILE: &str = "signing-keys.json";
pub const ENCRYPTION_FILE: &str = "encryption-keys.json";

/// By `namespace/name` of the policy.
pub type KeysOfPolicies = BTreeMap<String, Vec<ManagedKey>>;
/// By `namespace/name` of the policy: what the secrets of its second factors are sealed with. Never
/// dropped.
pub type EncryptionKeysOfPolicies = BTreeMap<String, Secret>;

#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    keys: KeysOfPolicies,
    encryption_path: PathBuf,
    encryption_keys: EncryptionKeysOfPolicies,
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
    #[error(
        "{}: it is not a file of encryption keys; restore it: without them no user's second factor works",
        .0.display()
    )]
    UnreadableEncryption(PathBuf),
    #[error("an encryption key for policy {0} could not be made: {1}")]
    EncryptionGeneration(String, EncryptionKeyError),
}

/// What keeping the keys came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether keys were made or dropped, so that the configuration must be compiled again.
    pub changed: bool,
    /// When to check again, seconds since the Unix epoch.
    pub next_look: Option<i64>,
}

impl Keeper {
    pub fn open(data_dir: &Path) -> Result<Self, KeeperError> {
        let path = data_dir.join(FILE);
        let encryption_path = data_dir.join(ENCRYPTION_FILE);
        Ok(Self {
            keys: read(&path, KeeperError::Unreadable)?,
            path,
            encryption_keys: read(&encryption_path, KeeperError::UnreadableEncryption)?,
            encryption_path,
        })
    }

    pub fn keys(&self) -> &KeysOfPolicies {
        &self.keys
    }

    pub fn encryption_keys(&self) -> &EncryptionKeysOfPolicies {
        &self.encryption_keys
    }

    /// Makes and drops keys as each policy's schedule says at `now`. Nothing changes when it fails.
    pub fn keep(&mut self, snapshot: &Snapshot, now: i64) -> Result<Kept, KeeperError> {
        let mut keys = self.keys.clone();
        let mut encryption_keys = self.encryption_keys.clone();
        let mut next_look = None;
        for policy in snapshot.policies.values() {
            let id = format!("{}/{}", policy.namespace, policy.name);
            let seals = policy.mfa.key_source == EncryptionKeySource::Managed;
            if seals && !encryption_keys.contains_key(&id) {
                let key = EncryptionKey::generate()
                    .map_err(|error| KeeperError::EncryptionGeneration(id.clone(), error))?;
                encryption_keys.insert(id.clone(), key.key);
            }
            let Some(schedule) = policy.managed else {
                continue;
            };
            let of_policy = keys.entry(id).or_default();
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
        let mut changed = false;
        if encryption_keys != self.encryption_keys {
            write(&self.encryption_path, &encryption_keys)?;
            self.encryption_keys = encryption_keys;
            changed = true;
        }
        if keys != self.keys {
            write(&self.path, &keys)?;
            self.keys = keys;
            changed = true;
        }
        Ok(Kept { changed, next_look })
    }
}

fn read<T: Default + DeserializeOwned>(
    path: &Path,
    unreadable: fn(PathBuf) -> KeeperError,
) -> Result<T, KeeperError> {
    match fs::read(path) {
        Ok(bytes) => {
            let bytes = zeroize::Zeroizing::new(bytes);
            serde_json::from_slice(&bytes).map_err(|_| unreadable(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(KeeperError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

fn write(path: &Path, keys: &impl Serialize) -> Result<(), KeeperError> {
    let io = |error| KeeperError::Io {
        path: path.to_owned(),
        error,
    };
    let bytes = serde_json::to_vec(keys).map_err(|error| io(error.into()))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let new = path.with_extension("json.new");
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
    fs::rename(&new, path).map_err(io)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io)
}
