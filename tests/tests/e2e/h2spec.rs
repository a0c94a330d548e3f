//! HTTP/2 as h2spec checks it, a program of others: all its cases, in plain text and over TLS.

use std::fs;
use std::path::Path;
use std::process::Command;

use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::program::run;
use vestibule_tests::e2e::{LocalIssuer, Service};

/// All that there are.
const PASSED: &str = "145 tests, 145 passed, 0 skipped, 0 failed";

/// Some cases want an error for a frame that comes after an answer: on a busy machine the answer is there before the frame is
/// sent, and the stream has ended well.
const RUNS_MAX: usize = 5;

async fn check(service: &Service, more: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/h2spec");
    assert!(
        program.exists(),
        "{} is missing: `make tools` makes it",
        program.display()
    );
    for run_number in 1..=RUNS_MAX {
        let mut command = Command::new(&program);
        command
            .args(["-path", "/openapi.json", "-port"])
            .arg(service.address.port().to_string())
            .args(more);
        let finished = run(&mut command, "").await;
        if finished.code == 0 && finished.stdout.contains(PASSED) {
            return;
        }
        assert!(
            run_number < RUNS_MAX,
            "{}{}",
            finished.stdout,
            finished.stderr
        );
    }
}

#[tokio::test]
async fn all_145_cases_of_h2spec_pass_in_plain_text() {
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .start()
        .await;
    check(&service, &[]).await;
    assert_eq!(service.signin(&issuer.id_token("alice")).await.code(), "ok");
}

#[tokio::test]
async fn all_145_cases_of_h2spec_pass_over_tls() {
    let issuer = LocalIssuer::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let made = made.expect("a certificate");
    let folder = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
    fs::write(&certificate, made.cert.pem()).expect("it is written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("it is written");
    let files = [
        "--tls-cert".into(),
        certificate.into(),
        "--tls-key".into(),
        key.into(),
    ];
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .tls(files)
        .start()
        .await;
    check(&service, &["-tls"]).await;
}
