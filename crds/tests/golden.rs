//! Manifests in, snapshot and verdicts out, in files: `UPDATE_GOLDEN=1 cargo test --test golden` writes them again.
//!
//! Each folder has `input.yaml`, perhaps `before.yaml` with what was applied before it, and `expected.json`. Secrets are
//! replaced by a digest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_crds::compile::{Compiled, Inputs, compile};
use vestibule_crds::manifests::{ManifestFile, read};
use vestibule_crds::snapshot::{Revision, Snapshot};

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(root).expect("the folder of golden files");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    folders
}

fn compile_file(path: &Path, previous: Option<Arc<Snapshot>>) -> Compiled {
    let name = path.file_name().expect("a file").to_string_lossy();
    let file = ManifestFile {
        path: name.into_owned(),
        text: fs::read_to_string(path).expect("a manifest"),
    };
    let (objects, errors) = read(&[file]);
    assert_eq!(errors, [], "{}", path.display());
    compile(&Inputs {
        objects: objects.objects,
        secrets: objects.secrets,
        config_maps: objects.config_maps,
        previous,
        ..Inputs::default()
    })
}

fn compile_folder(folder: &Path) -> Compiled {
    let before = folder.join("before.yaml");
    let previous = before.exists().then(|| {
        let compiled = compile_file(&before, None);
        assert!(
            compiled
                .verdicts
                .iter()
                .all(|verdict| !verdict.is_refused()),
            "{} must be good: {:?}",
            before.display(),
            compiled.verdicts
        );
        Arc::new(compiled.snapshot)
    });
    compile_file(&folder.join("input.yaml"), previous)
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let is_secret = ["pem", "key", "username", "password"].contains(&name.as_str());
                match member.as_str().filter(|_| is_secret) {
                    Some(secret) => *member = json!(Revision::of(secret.as_bytes())),
                    None => redact(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn manifests_compile_to_the_expected_snapshot_and_verdicts() {
    let mut stale = Vec::new();
    for folder in folders() {
        let Compiled { snapshot, verdicts } = compile_folder(&folder);
        let mut found = json!({"snapshot": snapshot, "verdicts": verdicts});
        redact(&mut found);
        let expected = folder.join("expected.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            found.sort_all_objects();
            fs::write(&expected, format!("{found:#}\n")).expect("the folder is writable");
        }
        let text = fs::read_to_string(&expected).unwrap_or_default();
        if serde_json::from_str::<Value>(&text).ok().as_ref() != Some(&found) {
            stale.push(folder);
        }
    }
    assert_eq!(
        stale,
        Vec::<PathBuf>::new(),
        "look at `git diff` after UPDATE_GOLDEN=1"
    );
}

#[test]
fn every_reason_has_a_golden_file() {
    let mut seen = BTreeSet::new();
    for folder in folders() {
        for verdict in compile_folder(&folder).verdicts {
            seen.insert(verdict.accepted.reason.name());
            seen.insert(verdict.resolved_refs.reason.name());
        }
    }
    let all = [
        "Accepted",
        "Invalid",
        "IssuerConflict",
        "PolicyNotFound",
        "ExpressionInvalid",
        "ExampleFailed",
        "ResolvedRefs",
        "RefNotFound",
        "KeyInvalid",
        "InvalidCaBundle",
        "NotAccepted",
    ];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn no_verdict_repeats_a_secret() {
    for folder in folders() {
        let compiled = compile_folder(&folder);
        let text = format!("{compiled:?}{}", json!(compiled.verdicts));
        for secret in ["PRIVATE KEY-----\\n", "hunter2", "aHVudGVyMg", "aHVudGVyM"] {
            assert!(
                !text.contains(secret),
                "{} tells {secret}",
                folder.display()
            );
        }
    }
}

#[test]
fn equal_manifests_have_an_equal_revision() {
    for folder in folders() {
        let once = compile_folder(&folder);
        assert_eq!(once, compile_folder(&folder));
        let again = compile_file(
            &folder.join("input.yaml"),
            Some(Arc::new(once.snapshot.clone())),
        );
        assert_eq!(again.snapshot, once.snapshot, "{}", folder.display());
    }
}
