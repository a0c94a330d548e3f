//! From files, as the kubelet mounts them: what is loaded, and what is not.

use serde_json::json;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::publication::{
    HEAD_KEY, Packed, ProofKey, Published, Seed, Seeds, pack, part_key,
};
use vestibule_crds::snapshot::{KeySource, Snapshot};

use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::testing::{self, NOW};
use vestibule_idtoken::keys::ProviderKeys;
use vestibule_store::sqlite::{SqliteOptions, SqliteStore};

struct Pod {
    loader: Arc<Loader>,
    directory: tempfile::TempDir,
}

impl Pod {
    fn new() -> Self {
        Self::in_directory(tempfile::tempdir().expect("a directory"))
    }

    fn in_directory(directory: tempfile::TempDir) -> Self {
        for name in ["mounted", "memory"] {
            std::fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        let clock = Clock::set_to(NOW);
        let store = directory.path().join("store.db");
        let store = SqliteStore::open(&store, SqliteOptions::default()).expect("it opens");
        let runtime_config = RuntimeConfig::empty(HttpIssuers::Refuse, clock.clone());
        let app = App::new(runtime_config, store.into(), clock, Metrics::default());
        let loader = Loader {
            app: Arc::new(app),
            admin: Arc::new(Admin::default()),
            last_good: Some(LastGood::new(directory.path().join("memory"))),
            head: Mutex::default(),
            watching: AtomicBool::new(false),
        };
        Self {
            loader: Arc::new(loader),
            directory,
        }
    }

    fn mounted(&self) -> Mounted {
        Mounted::new(self.directory.path().join("mounted"))
    }

    /// Writes the Secrets as files.
    fn mount(&self, packed: &Packed) {
        for secret in &packed.secrets {
            for (key, bytes) in &secret.data {
                let path = self.directory.path().join("mounted").join(key);
                std::fs::write(path, bytes).expect("a file");
            }
        }
    }

    async fn start(&self) {
        self.loader.start(Some(&self.mounted())).await;
    }

    /// The container starts again: its memory-backed directory and its mounts are still there.
    fn restart(self) -> Self {
        let Self { loader, directory } = self;
        drop(loader);
        Self::in_directory(directory)
    }

    fn revision(&self) -> Option<String> {
        let active = self.loader.app.runtime_config.active();
        active.revision.as_ref().map(ToString::to_string)
    }
}

fn published(snapshot: Snapshot) -> Published {
    Published {
        snapshot,
        seeds: Seeds::new(),
        proof_key: ProofKey::generate().expect("random bytes"),
    }
}

/// A configuration of its own each time: the policy's key is new.
fn configuration() -> Snapshot {
    testing::snapshot([testing::policy()], [])
}

fn packed_at(snapshot: &Snapshot, at: i64) -> Packed {
    pack(&published(snapshot.clone()), at).expect("it fits")
}

#[tokio::test]
async fn a_pod_starts_from_the_mounted_copy() {
    let pod = Pod::new();
    let snapshot = configuration();
    pod.mount(&packed_at(&snapshot, NOW));
    pod.start().await;
    assert_eq!(pod.revision(), Some(snapshot.revision.to_string()));
}

#[tokio::test]
async fn without_anything_published_nothing_is_served() {
    let pod = Pod::new();
    pod.start().await;
    assert_eq!(pod.revision(), None);
}

#[tokio::test]
async fn a_container_that_restarts_has_the_newest_copy_of_the_two() {
    let pod = Pod::new();
    let (old, new) = (configuration(), configuration());
    pod.mount(&packed_at(&old, NOW));
    pod.start().await;
    let read = read(&packed_at(&new, NOW + 1));
    assert!(pod.loader.load(read, "watch").await);

    let pod = pod.restart();
    pod.start().await;
    assert_eq!(
        pod.revision(),
        Some(new.revision.to_string()),
        "the mounted copy lags behind what was served"
    );

    let newest = configuration();
    pod.mount(&packed_at(&newest, NOW + 2));
    let pod = pod.restart();
    pod.start().await;
    assert_eq!(pod.revision(), Some(newest.revision.to_string()));
}

fn read(packed: &Packed) -> Read {
    let parts = (0..packed.head.parts()).map(|part| {
        let mut secrets = packed.secrets.iter();
        let found = secrets.find_map(|secret| secret.data.get(&part_key(part)));
        found.expect("each part").clone()
    });
    Read {
        head: packed.head.clone(),
        parts: parts.collect(),
    }
}

#[tokio::test]
async fn a_copy_that_does_not_fit_its_head_replaces_nothing_and_is_reported() {
    let pod = Pod::new();
    let good = configuration();
    pod.mount(&packed_at(&good, NOW));
    pod.start().await;

    let torn = Read {
        head: packed_at(&configuration(), NOW + 1).head,
        parts: read(&packed_at(&configuration(), NOW + 1)).parts,
    };
    assert!(!pod.loader.load(torn, "watch").await);
    assert_eq!(pod.revision(), Some(good.revision.to_string()));
    let refused = pod.loader.admin.refusals().error.expect("it is reported");
    assert!(refused.contains("being written"), "{refused}");

    let next = configuration();
    assert!(
        pod.loader
            .load(read(&packed_at(&next, NOW + 2)), "watch")
            .await
    );
    assert_eq!(pod.loader.admin.refusals().error, None);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_built_replaces_nothing() {
    let pod = Pod::new();
    let good = configuration();
    pod.mount(&packed_at(&good, NOW));
    pod.start().await;
    let mut policy = testing::policy();
    policy.signing_keys[0].pem = vestibule_crds::secret::Secret::new("no key");
    let bad = testing::snapshot([policy], []);
    assert!(
        !pod.loader
            .load(read(&packed_at(&bad, NOW + 1)), "watch")
            .await
    );
    assert_eq!(pod.revision(), Some(good.revision.to_string()));
}

#[tokio::test]
async fn a_half_written_or_unreadable_head_is_reported_and_the_copy_in_memory_serves() {
    let pod = Pod::new();
    let good = configuration();
    assert!(pod.loader.load(read(&packed_at(&good, NOW)), "watch").await);
    let pod = pod.restart();
    let head = pod.directory.path().join("mounted").join(HEAD_KEY);
    std::fs::write(head, b"{\"packing\": 1, ").expect("a file");
    pod.start().await;
    assert_eq!(pod.revision(), Some(good.revision.to_string()));
}

#[tokio::test]
async fn a_damaged_copy_in_memory_counts_as_missing() {
    let pod = Pod::new();
    let snapshot = configuration();
    pod.mount(&packed_at(&snapshot, NOW));
    let copy = pod.directory.path().join("memory/last-good");
    for damaged in [b"".as_slice(), b"\n", b"{}\nxyz", b"no line feed"] {
        std::fs::write(&copy, damaged).expect("a file");
        let fresh = LastGood::new(pod.directory.path().join("memory"));
        assert!(fresh.read().is_none());
    }
    pod.start().await;
    assert_eq!(pod.revision(), Some(snapshot.revision.to_string()));
}

#[tokio::test]
async fn an_older_mounted_copy_never_replaces_what_the_cluster_said() {
    let pod = Pod::new();
    let (old, new) = (
        packed_at(&configuration(), NOW),
        packed_at(&configuration(), NOW + 1),
    );
    assert!(pod.loader.load(read(&new), "watch").await);
    assert!(!pod.loader.is_newer(&old.head));
    assert!(!pod.loader.is_newer(&new.head), "it is served already");
    let newer = packed_at(&configuration(), NOW + 2);
    assert!(pod.loader.is_newer(&newer.head));
}

#[tokio::test]
async fn seeded_keys_are_there_with_the_first_request_and_only_for_their_source() {
    let key = testing::key(SigningAlgorithm::ES256);
    let jwks = json!({"keys": [key.jwk]});
    let mut provider = testing::provider(json!({}));
    provider.keys = KeySource::JwksUri {
        url: "https://idp.example/jwks".to_owned(),
    };
    for (source, seeded) in [
        (provider.key_source_revision(), true),
        (testing::provider(json!({})).key_source_revision(), false),
    ] {
        let pod = Pod::new();
        let snapshot = testing::snapshot([testing::policy()], [provider.clone()]);
        let mut published = published(snapshot);
        let seed = Seed {
            source,
            jwks: jwks.clone(),
            fetched_at: NOW - 5,
        };
        published.seeds.insert("auth/corp".to_owned(), seed);
        let packed = pack(&published, NOW).expect("it fits");
        assert!(pod.loader.load(read(&packed), "watch").await);
        let active = pod.loader.app.runtime_config.active();
        let provider = active.provider("corp").expect("corp");
        let ProviderKeys::Remote(remote) = &provider.keys else {
            panic!("its keys come from an endpoint");
        };
        assert_eq!(
            remote.fetched().map(|fetched| fetched.at),
            seeded.then_some(NOW - 5)
        );
    }
}

#[tokio::test]
async fn a_refusal_is_told_until_what_is_served_is_published_again() {
    let pod = Pod::new();
    let packed = packed_at(&configuration(), NOW);
    pod.mount(&packed);
    pod.start().await;
    let head = pod.directory.path().join("mounted").join(HEAD_KEY);
    std::fs::write(&head, "{}").expect("a file");
    pod.loader.look(&pod.mounted()).await;
    assert!(pod.loader.admin.refusals().error.is_some());
    pod.mount(&packed);
    pod.loader.look(&pod.mounted()).await;
    assert_eq!(pod.loader.admin.refusals().error, None);
}
