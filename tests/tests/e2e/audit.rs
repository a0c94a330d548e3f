//! The audit trail as a stream of lines.

use serde_json::Value;
use tempfile::TempDir;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{LocalIssuer, Service, eventually, is};

#[tokio::test]
async fn every_event_is_a_line_once_it_is_durable_and_none_is_lost_at_the_end() {
    let issuer = LocalIssuer::new();
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let mut service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .argument("--audit-log")
        .argument(&path)
        .start()
        .await;
    let token = issuer.id_token("alice");
    let signed_in = service.signin(&token).await;
    assert_eq!(signed_in.code(), "ok", "{}", signed_in.body);
    assert_eq!(service.signin("no token").await.code(), "token_malformed");
    let refreshed = service.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "ok");

    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.lines().map(serde_json::from_str);
        whole.collect::<Result<_, _>>().expect("each line is JSON")
    };
    eventually("three events are told", || async { is(lines().len(), 3) }).await;
    // Another one, and the end at once.
    assert_eq!(service.signin("another").await.code(), "token_malformed");
    service.child.signal("TERM");
    assert!(service.child.ended().await.success());
    let told = lines();
    let what: Vec<(&str, &str)> = told
        .iter()
        .map(|line| {
            (
                line["event"].as_str().unwrap_or_default(),
                line["outcome"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        what,
        [
            ("signin", "ok"),
            ("signin", "token_malformed"),
            ("refresh", "ok"),
            ("signin", "token_malformed"),
        ]
    );
    assert_eq!(told[0]["session_id"], told[2]["session_id"]);
    assert_eq!(told[0]["user_id"], signed_in.json()["user"]["id"]);
    let text = std::fs::read_to_string(&path).expect("it is there");
    for secret in [&token, "alice@", &signed_in.text("refresh_token")] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_is_told_at_the_start() {
    let issuer = LocalIssuer::new();
    let builder = Service::builder().manifests("all.yaml", &[issuer.provider(), policy()]);
    let mut line = builder.command_line();
    line.extend(["--audit-log".into(), "/nowhere/audit.jsonl".into()]);
    let finished = vestibule_tests::e2e::vestibule(line).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains("--audit-log"), "{finished:?}");
}
