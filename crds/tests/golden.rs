//! Manifests in, snapshot and verdicts out, in files: `UPDATE_GOLDEN=1 cargo test --test golden`
//! writes them again.
//!
//! Each folder has `input.yaml`, perhaps `before.yaml` with what was applied before it, and
//! `expected.json`. Secrets are replaced by a digest, and revisions by the name of the object that
//! they belong to. `defaults` and `every_field` show whole objects; every other folder leaves out
//! what is as in `defaults`, so that a new field rewrites those two alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_crds::compile::{Compiled, Inputs, compile};
use vestibule_crds::manifests::{ManifestFile, read};
use vestibule_crds::snapshot::{Revision, Snapshot};

/// Folders that show whole objects; the first is what all others are compared with.
const WHOLE: [&str; 2] = ["defaults", "every_field"];
/// Members that say which object it is.
const IDENTITY: [&str; 3] = ["kind", "namespace", "name"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root()).expect("the folder of golden files");
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

/// What a folder compiles to, as JSON without secrets and digests of whole objects.
fn shown(folder: &Path) -> Value {
    let Compiled { snapshot, verdicts } = compile_folder(folder);
    let mut names = BTreeMap::from([(snapshot.revision.to_string(), "the snapshot".to_owned())]);
    let policies = snapshot.policies.iter();
    let policies = policies.map(|(name, policy)| (name, &policy.revision));
    let providers = snapshot.providers.iter();
    let providers = providers.map(|(name, provider)| (name, &provider.revision));
    for (name, revision) in policies.chain(providers) {
        names.insert(revision.to_string(), name.clone());
    }
    let mut shown = json!({"snapshot": snapshot, "verdicts": verdicts});
    redact(&mut shown);
    name_revisions(&mut shown, &names);
    shown
}

fn name_revisions(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for member in members.values_mut() {
                name_revisions(member, names);
            }
        }
        Value::Array(items) => {
            for item in items {
                name_revisions(item, names);
            }
        }
        Value::String(text) => {
            if let Some(name) = names.get(text.as_str()) {
                *text = format!("revision of {name}");
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An object of `defaults` of each kind, and its verdict.
fn defaults() -> [Value; 4] {
    let whole = shown(&root().join(WHOLE[0]));
    [
        whole["snapshot"]["policies"]["auth/default"].clone(),
        whole["snapshot"]["providers"]["auth/corp"].clone(),
        whole["verdicts"][0].clone(),
        whole["verdicts"][1].clone(),
    ]
}

fn leave_out_defaults(shown: &mut Value) {
    let [policy, provider, policy_verdict, provider_verdict] = defaults();
    for (pointer, defaults) in [
        ("/snapshot/policies", policy),
        ("/snapshot/providers", provider),
    ] {
        let objects = shown.pointer_mut(pointer).and_then(Value::as_object_mut);
        for object in objects.expect("a snapshot has both").values_mut() {
            leave_out(object, &defaults);
        }
    }
    let verdicts = shown["verdicts"].as_array_mut();
    for verdict in verdicts.expect("verdicts are a list") {
        let defaults = if verdict["kind"] == policy_verdict["kind"] {
            &policy_verdict
        } else {
            &provider_verdict
        };
        leave_out(verdict, defaults);
    }
}

/// Leaves out members that are as in `defaults`; one that `defaults` alone has is shown as left
/// out.
fn leave_out(value: &mut Value, defaults: &Value) {
    let (Value::Object(members), Value::Object(defaults)) = (value, defaults) else {
        return;
    };
    for (name, default) in defaults {
        if IDENTITY.contains(&name.as_str()) {
            continue;
        }
        match members.get_mut(name) {
            None => drop(members.insert(name.clone(), json!("left out"))),
            Some(member) if member == default => drop(members.remove(name)),
            Some(member) => leave_out(member, default),
        }
    }
}

#[test]
fn a_member_is_left_out_only_where_it_is_the_default() {
    let defaults =
        json!({"name": "a", "same": [1], "other": 1, "gone": 1, "inner": {"same": 1, "other": 1}});
    let mut value =
        json!({"name": "a", "same": [1], "other": 2, "new": 3, "inner": {"same": 1, "other": 2}});
    leave_out(&mut value, &defaults);
    let expected =
        json!({"name": "a", "other": 2, "new": 3, "gone": "left out", "inner": {"other": 2}});
    assert_eq!(value, expected);
}

#[test]
fn manifests_compile_to_the_expected_snapshot_and_verdicts() {
    let mut stale = Vec::new();
    for folder in folders() {
        let mut found = shown(&folder);
        if !WHOLE.iter().any(|name| folder.ends_with(name)) {
            leave_out_defaults(&mut found);
        }
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
