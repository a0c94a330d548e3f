//! `vestibule explain`: every verification step of a token, safe to paste.

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_tests::e2e::manifests::{file, policy, with};
use vestibule_tests::e2e::{Finished, IdProvider, LocalIssuer, vestibule, vestibule_reading};

/// A directory of manifests that trust this issuer.
fn manifests(provider: Value) -> TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let text = file(&[provider, policy()]);
    std::fs::write(folder.path().join("auth.yaml"), text).expect("it can be written");
    folder
}

async fn explain(folder: &TempDir, token: &str, more: &[&str]) -> Finished {
    let path = folder.path().to_str().expect("a path in UTF-8");
    let mut arguments = vec![
        "explain",
        "--manifests",
        path,
        "--allow-http-issuers",
        token,
    ];
    arguments.extend_from_slice(more);
    vestibule(arguments).await
}

/// The outcome and the code of a step in the JSON form.
fn step<'r>(report: &'r Value, name: &str) -> (&'r str, Option<&'r str>) {
    let steps = report["steps"].as_array().expect("a list");
    let step = steps.iter().find(|step| step["step"] == name);
    let step = step.unwrap_or_else(|| panic!("no step {name} in {report:#}"));
    (
        step["outcome"].as_str().expect("an outcome"),
        step["code"].as_str(),
    )
}

#[tokio::test]
async fn a_good_token_is_accepted_step_by_step() {
    let issuer = LocalIssuer::new();
    let folder = manifests(issuer.provider());
    let explained = explain(&folder, &issuer.id_token("alice"), &[]).await;
    assert_eq!(
        explained.code, 0,
        "{}{}",
        explained.stdout, explained.stderr
    );
    for name in [
        "form",
        "provider",
        "issuer",
        "algorithm",
        "signature",
        "audience",
        "expiry",
        "nonce",
    ] {
        let passed = format!("passed  {name}");
        assert!(
            explained.stdout.contains(&passed),
            "{passed}: {}",
            explained.stdout
        );
    }
    assert!(
        explained
            .stdout
            .contains("accepted: a sign-in with this token goes on"),
        "{}",
        explained.stdout
    );
}

#[tokio::test]
async fn a_bad_token_is_refused_with_the_code_that_a_caller_would_get() {
    let issuer = LocalIssuer::new();
    let folder = manifests(issuer.provider());
    let expired = with(
        issuer.claims("alice"),
        "/exp",
        issuer.claims("alice")["iat"].as_i64().map(|now| now - 3600),
    );
    let explained = explain(&folder, &issuer.sign(&expired), &["--output", "json"]).await;
    assert_eq!(explained.code, 1, "{}", explained.stderr);
    let report: Value = serde_json::from_str(&explained.stdout).expect("it is JSON");
    assert_eq!(report["accepted"], false);
    assert_eq!(step(&report, "expiry"), ("refused", Some("token_expired")));
    // The steps after the first refusal are told as well.
    assert_eq!(step(&report, "signature"), ("passed", None));
    assert_eq!(step(&report, "audience"), ("passed", None));

    let other = with(issuer.claims("alice"), "/aud", "other");
    let explained = explain(&folder, &issuer.sign(&other), &["--provider", "corp"]).await;
    assert_eq!(explained.code, 1);
    assert!(
        explained.stdout.contains("token_audience_mismatch"),
        "{}",
        explained.stdout
    );
    assert!(
        explained.stdout.contains("other"),
        "what was found: {}",
        explained.stdout
    );
    assert!(
        explained.stdout.contains("web"),
        "what was expected: {}",
        explained.stdout
    );
}

#[tokio::test]
async fn a_nonce_is_explained_as_the_request_would_carry_it() {
    let issuer = LocalIssuer::new();
    let folder = manifests(issuer.provider());
    let token = issuer.sign(&with(issuer.claims("alice"), "/nonce", "n-1"));
    assert_eq!(explain(&folder, &token, &["--nonce", "n-1"]).await.code, 0);
    let without = explain(&folder, &token, &[]).await;
    assert_eq!(without.code, 1);
    assert!(
        without.stdout.contains("token_nonce_required"),
        "{}",
        without.stdout
    );
    let wrong = explain(&folder, &token, &["--nonce", "n-2"]).await;
    assert!(
        wrong.stdout.contains("token_nonce_mismatch"),
        "{}",
        wrong.stdout
    );
}

#[tokio::test]
async fn a_dash_reads_the_token_from_standard_input() {
    let issuer = LocalIssuer::new();
    let folder = manifests(issuer.provider());
    let arguments = [
        "explain".as_ref(),
        "--manifests".as_ref(),
        folder.path().as_os_str(),
        "-".as_ref(),
    ];
    let read = vestibule_reading(arguments, &format!("{}\n", issuer.id_token("alice"))).await;
    assert_eq!(read.code, 0, "{}{}", read.stdout, read.stderr);
    let nothing = vestibule_reading(arguments, "").await;
    assert_eq!(nothing.code, 1);
    assert!(
        nothing.stderr.contains("no token on standard input"),
        "{}",
        nothing.stderr
    );
}

#[tokio::test]
async fn what_is_printed_holds_no_token_no_signature_and_no_key() {
    let provider = IdProvider::start().await;
    let trusting = vestibule_tests::e2e::manifests::provider("corp", &provider.issuer);
    let folder = manifests(trusting);
    let token = provider.id_token("alice").await;
    let parts: Vec<&str> = token.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()));
    for form in ["text", "json"] {
        let good = explain(&folder, &token, &["--output", form]).await;
        assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
        let bad = explain(&folder, &forged, &["--output", form]).await;
        assert_eq!(bad.code, 1);
        assert!(
            bad.stdout.contains("token_signature_invalid"),
            "{}",
            bad.stdout
        );
        for finished in [good, bad] {
            let printed = format!("{}{}", finished.stdout, finished.stderr);
            for secret in [parts[1], parts[2], &"A".repeat(20), "\"n\":", "BEGIN"] {
                assert!(!printed.contains(secret), "{secret}: {printed}");
            }
        }
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_no_fault_of_the_token() {
    let provider = IdProvider::start().await;
    let folder = manifests(vestibule_tests::e2e::manifests::provider(
        "corp",
        &provider.issuer,
    ));
    let token = provider.id_token("alice").await;
    provider.take_down().await;
    let explained = explain(&folder, &token, &["--output", "json"]).await;
    assert_eq!(explained.code, 1);
    let report: Value = serde_json::from_str(&explained.stdout).expect("it is JSON");
    assert_eq!(
        step(&report, "signature"),
        ("refused", Some("provider_unavailable"))
    );
    assert_eq!(step(&report, "audience"), ("passed", None));
    assert_eq!(report["accepted"], json!(false));
}
