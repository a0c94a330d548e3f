use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;

use vestibule_crds::algorithm::Algorithm;

use super::files::{CUT_OFF_REST, REST};
use super::*;
use crate::testing::NOW;

mod odd;

const POLICY: &str = "\
apiVersion: vestibule.dev/v1alpha1
kind: SigninPolicy
metadata: {name: default, namespace: auth}
spec:
  token: {issuer: https://auth.example.com, audiences: [internal]}
  signing: {managed: {algorithm: ES256, rotateEvery: 720h, prePublish: 24h}}
";
const HOUR: i64 = 3600;

fn files_of(text: &str) -> Vec<ManifestFile> {
    vec![ManifestFile {
        path: "a.yaml".to_owned(),
        text: text.to_owned(),
    }]
}

fn keys_at(keeper: &mut Keeper, text: &str, now: i64) -> Vec<(String, KeyState)> {
    let compiled = keep_and_compile(
        &files_of(text),
        &mut Compiler::default(),
        keeper,
        None,
        HttpIssuers::Refuse,
        now,
    );
    let (compiled, _) = compiled.expect("the keys are kept");
    let policy = &compiled.snapshot.policies["auth/default"];
    policy
        .signing_keys
        .iter()
        .map(|key| (key.kid.clone(), key.state))
        .collect()
}

#[test]
fn a_managed_key_is_made_once_and_kept_private() {
    let data = tempfile::tempdir().expect("a directory");
    let first = keys_at(&mut Keeper::open(data.path()).expect("opens"), POLICY, NOW);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].1, KeyState::Current);
    let again = keys_at(
        &mut Keeper::open(data.path()).expect("opens"),
        POLICY,
        NOW + HOUR,
    );
    assert_eq!(first, again, "after a restart");
    let mode =
        fs::metadata(data.path().join(key_store::FILE)).map(|file| file.permissions().mode());
    assert_eq!(mode.ok().map(|mode| mode & 0o777), Some(0o600));
}

#[test]
fn a_key_is_published_before_it_signs_and_until_its_last_token_has_expired() {
    let data = tempfile::tempdir().expect("a directory");
    let mut keeper = Keeper::open(data.path()).expect("opens");
    let day = 24 * HOUR;
    let old = keys_at(&mut keeper, POLICY, NOW)[0].0.clone();
    let pre_published = keys_at(&mut keeper, POLICY, NOW + 29 * day);
    assert_eq!(pre_published.len(), 2);
    let next = pre_published[1].clone();
    assert_eq!(
        (pre_published[0].clone(), next.1),
        ((old.clone(), KeyState::Current), KeyState::Next)
    );

    let rotated = keys_at(&mut keeper, POLICY, NOW + 30 * day);
    assert_eq!(
        rotated,
        [
            (old.clone(), KeyState::Previous),
            (next.0.clone(), KeyState::Current)
        ]
    );
    // Tokens of ten minutes, and five minutes for clocks that run behind.
    let still = keys_at(&mut keeper, POLICY, NOW + 30 * day + 600);
    assert!(still.iter().any(|(kid, _)| *kid == old));
    let gone = keys_at(&mut keeper, POLICY, NOW + 30 * day + 900);
    assert_eq!(gone, [(next.0, KeyState::Current)]);
}

#[test]
fn a_shorter_lifetime_does_not_shorten_the_life_of_a_key_that_signed_longer_tokens() {
    let data = tempfile::tempdir().expect("a directory");
    let mut keeper = Keeper::open(data.path()).expect("opens");
    let long = POLICY.replace(
        "audiences: [internal]",
        "audiences: [internal], accessTtl: 2h",
    );
    let old = keys_at(&mut keeper, &long, NOW)[0].0.clone();
    let day = 24 * HOUR;
    keys_at(&mut keeper, POLICY, NOW + 29 * day);
    let later = keys_at(&mut keeper, POLICY, NOW + 30 * day + 2 * HOUR);
    assert!(later.iter().any(|(kid, _)| *kid == old), "{later:?}");
}

#[test]
fn another_algorithm_is_pre_published_like_any_next_key() {
    let data = tempfile::tempdir().expect("a directory");
    let mut keeper = Keeper::open(data.path()).expect("opens");
    keys_at(&mut keeper, POLICY, NOW);
    let eddsa = POLICY.replace("ES256", "EdDSA");
    let states: Vec<KeyState> = keys_at(&mut keeper, &eddsa, NOW)
        .into_iter()
        .map(|(_, state)| state)
        .collect();
    assert_eq!(states, [KeyState::Current, KeyState::Next]);
    let compiled = keep_and_compile(
        &files_of(&eddsa),
        &mut Compiler::default(),
        &mut keeper,
        None,
        HttpIssuers::Refuse,
        NOW + 25 * HOUR,
    );
    let policy = compiled.expect("kept").0.snapshot.policies["auth/default"].clone();
    let current = policy
        .signing_keys
        .iter()
        .find(|key| key.state == KeyState::Current);
    assert_eq!(current.map(|key| key.algorithm), Some(Algorithm::EdDSA));
}

#[test]
fn an_encryption_key_is_made_once_kept_private_and_given_to_the_policy() {
    let data = tempfile::tempdir().expect("a directory");
    let key_at = |now| {
        let compiled = keep_and_compile(
            &files_of(POLICY),
            &mut Compiler::default(),
            &mut Keeper::open(data.path()).expect("opens"),
            None,
            HttpIssuers::Refuse,
            now,
        );
        let snapshot = compiled.expect("kept").0.snapshot;
        snapshot.policies["auth/default"].mfa.keys.clone()
    };
    let first = key_at(NOW);
    assert_eq!(first.len(), 1);
    assert_eq!(key_at(NOW + 1000 * 24 * HOUR), first, "it is not rotated");
    let file = data.path().join(key_store::ENCRYPTION_FILE);
    let mode = fs::metadata(file).map(|file| file.permissions().mode());
    assert_eq!(mode.ok().map(|mode| mode & 0o777), Some(0o600));
}

#[test]
fn no_encryption_key_is_made_where_the_policy_names_one() {
    let data = tempfile::tempdir().expect("a directory");
    let named = POLICY.to_owned()
        + "\n  mfa: {encryptionKeys: [{name: mfa, key: key}]}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: mfa, namespace: auth}\nstringData: {key: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff}\n";
    let compiled = keep_and_compile(
        &files_of(&named),
        &mut Compiler::default(),
        &mut Keeper::open(data.path()).expect("opens"),
        None,
        HttpIssuers::Refuse,
        NOW,
    );
    let snapshot = compiled.expect("kept").0.snapshot;
    assert_eq!(snapshot.policies["auth/default"].mfa.keys.len(), 1);
    assert!(!data.path().join(key_store::ENCRYPTION_FILE).exists());
}

#[test]
fn a_file_that_is_none_of_keys_is_refused_with_its_name() {
    for name in [key_store::FILE, key_store::ENCRYPTION_FILE] {
        let data = tempfile::tempdir().expect("a directory");
        fs::write(data.path().join(name), "hunter2").expect("written");
        let error = Keeper::open(data.path())
            .expect_err("it is no file of keys")
            .to_string();
        assert!(
            error.contains(name) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

/// A directory that a test changes, and a clock for how long files are at rest.
struct Folder {
    directory: tempfile::TempDir,
    files: Files,
    now: Instant,
}

impl Folder {
    fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("a.yaml"), text).expect("written");
        let mut files = Files::new(directory.path());
        let now = Instant::now();
        assert!(files.look(now, false).expect("read").changed);
        Self {
            directory,
            files,
            now,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Looks, and looks again when this much time has passed; whether anything changed then.
    fn changed_after(&mut self, rest: Duration) -> bool {
        let first = self.files.look(self.now, true).expect("read").changed;
        self.now += rest;
        self.files.look(self.now, true).expect("read").changed || first
    }

    fn texts(&self) -> Vec<String> {
        self.files
            .accepted()
            .into_iter()
            .map(|file| file.text)
            .collect()
    }
}

#[test]
fn a_rename_and_a_write_in_place_are_noticed_once_they_are_at_rest() {
    let mut folder = Folder::with(POLICY);
    assert!(!folder.changed_after(REST));
    let changed = POLICY.replace("internal", "other");
    fs::write(folder.path(".a.yaml.swp"), &changed).expect("written");
    fs::rename(folder.path(".a.yaml.swp"), folder.path("a.yaml")).expect("renamed");
    assert!(!folder.changed_after(REST / 2), "not at rest yet");
    assert!(folder.changed_after(REST));
    assert_eq!(folder.texts(), [changed]);
    fs::write(
        folder.path("a.yaml"),
        POLICY.replace("internal", "a-third-one"),
    )
    .expect("written");
    assert!(folder.changed_after(REST));
    fs::remove_file(folder.path("a.yaml")).expect("removed");
    assert!(folder.changed_after(REST));
    assert!(folder.texts().is_empty(), "deletion takes effect");
}

#[test]
fn kubernetes_swaps_of_a_symbolic_link_are_noticed() {
    let mut folder = Folder::with(POLICY);
    fs::remove_file(folder.path("a.yaml")).expect("removed");
    for (version, audience) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(folder.path(version)).expect("made");
        fs::write(
            folder.path(version).join("a.yaml"),
            POLICY.replace("internal", audience),
        )
        .expect("written");
    }
    symlink("..1", folder.path("..data")).expect("linked");
    symlink("..data/a.yaml", folder.path("a.yaml")).expect("linked");
    assert!(folder.changed_after(REST));
    assert_eq!(
        folder.texts(),
        [POLICY.replace("internal", "one")],
        "once, not from the hidden folders too"
    );
    symlink("..2", folder.path("..data_tmp")).expect("linked");
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("swapped");
    assert!(folder.changed_after(REST));
    assert_eq!(folder.texts(), [POLICY.replace("internal", "two")]);
}

#[test]
fn a_half_written_file_does_not_count() {
    let mut folder = Folder::with(POLICY);
    // Cut in the middle of a line: valid YAML, but the rest is missing.
    fs::write(folder.path("a.yaml"), &POLICY[..POLICY.len() / 2]).expect("written");
    assert!(!folder.changed_after(REST * 2));
    assert_eq!(folder.texts(), [POLICY]);
    let whole = POLICY.replace("internal", "another");
    fs::write(folder.path("a.yaml"), &whole).expect("written");
    assert!(folder.changed_after(REST));
    assert_eq!(folder.texts(), [whole]);
}

#[test]
fn a_file_without_a_last_line_break_counts_after_a_while() {
    let mut folder = Folder::with(POLICY);
    let whole = POLICY.replace("internal", "another").trim_end().to_owned();
    fs::write(folder.path("a.yaml"), &whole).expect("written");
    assert!(!folder.changed_after(REST));
    assert!(folder.changed_after(CUT_OFF_REST));
    assert_eq!(folder.texts(), [whole]);
}

#[test]
fn an_emptied_file_counts_after_a_while() {
    let mut folder = Folder::with(POLICY);
    // As `generate > a.yaml` leaves it while it generates.
    fs::write(folder.path("a.yaml"), "").expect("written");
    assert!(!folder.changed_after(REST));
    assert_eq!(folder.texts(), [POLICY]);
    assert!(folder.changed_after(CUT_OFF_REST));
    assert_eq!(folder.texts(), [""]);
}

#[test]
fn a_broken_file_keeps_what_it_had_and_is_told_of() {
    let mut folder = Folder::with(POLICY);
    fs::write(folder.path("a.yaml"), "kind: [\n").expect("written");
    assert!(folder.changed_after(REST));
    assert_eq!(folder.texts(), [POLICY]);
    let errors = folder.files.errors();
    assert!(
        errors.len() == 1 && errors[0].contains("a.yaml"),
        "{errors:?}"
    );
    fs::write(folder.path("a.yaml"), POLICY).expect("written");
    assert!(folder.changed_after(REST));
    assert!(folder.files.errors().is_empty());
}

#[test]
fn reading_the_directory_is_no_change_of_it() {
    let folder = Folder::with(POLICY);
    let (changed, changes) = mpsc::channel();
    let _watcher = watch(folder.directory.path(), changed).expect("it can be watched");
    for _ in 0..10 {
        let mut files = Files::new(folder.directory.path());
        files.look(Instant::now(), false).expect("read");
    }
    fs::write(folder.path("marker.yaml"), POLICY).expect("written");
    let first = changes
        .recv_timeout(Duration::from_secs(10))
        .expect("the write is told of");
    assert_eq!(first.paths, [folder.path("marker.yaml")]);
}
