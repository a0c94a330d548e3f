//! What the published document allows, and much that it does not, made up by a program that reads it: every answer is one
//! that the document names, what fits it is accepted, and what does not is refused. All checks of the program, without a finding.

use std::path::Path;
use std::process::Command;

use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::program::run;
use vestibule_tests::e2e::{LocalIssuer, Service};

/// Requests made up for each operation, beside the systematic ones.
const EXAMPLES_MAX: &str = "50";

#[tokio::test]
async fn every_answer_is_one_of_the_published_document() {
    let issuer = LocalIssuer::new();
    // It fails more often in a minute than one address may otherwise.
    let policy = with(policy(), "/spec/limits/failuresPerIpPerMinute", 1_000_000);
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy])
        .start()
        .await;
    let signed_in = service.signin(&issuer.id_token("alice")).await;
    let bearer = signed_in.text("access_token");
    let base = format!("http://{}", service.address);
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/python/bin/schemathesis");
    let folder = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(program);
    command
        .current_dir(folder.path())
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("verify/schemathesis.toml"))
        .args(["run", &format!("{base}/openapi.json"), "--url", &base])
        .args(["--max-examples", EXAMPLES_MAX, "--seed", "1", "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {bearer}")])
        .args(["--checks", "all", "--continue-on-failure"]);
    let finished = run(&mut command, "").await;
    assert!(
        finished.code == 0 && finished.stdout.contains("Tested: 19"),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    let alive = service.signin(&issuer.id_token("bob")).await;
    assert_eq!(alive.code(), "ok");
}
