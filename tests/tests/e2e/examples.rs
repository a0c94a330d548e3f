//! The providers of `examples`: each compiles as it stands, and its own examples are really tried.

use std::path::{Path, PathBuf};

use serde_json::json;
use vestibule_tests::e2e::manifests::file;
use vestibule_tests::e2e::{Finished, vestibule};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).expect("the folder of examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    paths.sort();
    paths
}

/// Checks the text beside what every namespace of a cluster has.
async fn check(text: &str) -> Finished {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("it can be written");
    };
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).expect("a certificate");
    let config_map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-root-ca.crt"},
        "data": {"ca.crt": ca.cert.pem()},
    });
    write("kube-root-ca.yaml", &file(&[config_map]));
    write("example.yaml", text);
    vestibule([Path::new("check"), folder.path()]).await
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("an example can be read")
}

#[tokio::test]
async fn each_example_is_accepted_as_it_stands() {
    let names: Vec<_> = examples()
        .iter()
        .map(|path| path.file_stem().expect("a name").to_owned())
        .collect();
    let expected = [
        "entra-id",
        "github-actions",
        "google",
        "keycloak",
        "kubernetes-service-accounts",
        "oauth-clients",
        "okta",
    ];
    assert_eq!(names, expected);
    for path in examples() {
        let text = read(&path);
        let checked = check(&text).await;
        let said = format!("{}: {}", path.display(), checked.stdout);
        assert_eq!(checked.code, 0, "{said}");
        let objects = text.matches("apiVersion: vestibule.dev").count();
        let accepted = format!("{objects} accepted, 0 refused");
        assert!(checked.stdout.contains(&accepted), "{said}");
        assert!(!checked.stdout.contains("warning"), "{said}");
    }
}

#[tokio::test]
async fn each_example_is_refused_when_its_rules_do_not_do_what_it_says() {
    for path in examples() {
        let turned = read(&path).replacen("allowed: true", "allowed: false", 1);
        let checked = check(&turned).await;
        let said = format!("{}: {}", path.display(), checked.stdout);
        assert_eq!(checked.code, 1, "{said}");
        assert!(checked.stdout.contains("ExampleFailed"), "{said}");
    }
}
