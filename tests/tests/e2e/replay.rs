//! `vestibule replay`: decisions of the past, beside a data plane that goes on.

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use vestibule_tests::e2e::manifests::{self, policy, with};
use vestibule_tests::e2e::{Builder, LocalIssuer, Postgres, Service, vestibule};

const LAPTOP: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

fn observing() -> Value {
    with(policy(), "/spec/risk", json!({"mode": "Observe"}))
}

fn service(issuer: &LocalIssuer) -> Builder {
    Service::builder().manifests("all.yaml", &[issuer.provider(), observing()])
}

/// One that is first, one as before, one with another device.
async fn three_sign_ins(service: &Service, issuer: &LocalIssuer) {
    for agent in [LAPTOP, LAPTOP, PHONE] {
        let body = json!({"id_token": issuer.id_token("alice")}).to_string();
        let request = Request::post(service.url("/auth/id-token/signin"))
            .header("content-type", "application/json")
            .header("user-agent", agent)
            .body(Full::from(body));
        let reply = service.client.send(request.expect("a request")).await;
        assert_eq!(reply.expect("an answer").code(), "ok");
    }
}

async fn report(arguments: &[&str]) -> (i32, Value) {
    let line = ["replay", "--output", "json"].iter().chain(arguments);
    let finished = vestibule(line).await;
    let report = serde_json::from_str(&finished.stdout);
    (
        finished.code,
        report.unwrap_or_else(|_| panic!("{}", finished.stderr)),
    )
}

#[tokio::test]
async fn decisions_stand_and_another_policy_is_tried_on_them() {
    let issuer = LocalIssuer::new();
    let service = service(&issuer).start().await;
    three_sign_ins(&service, &issuer).await;
    let data = service.builder.data_directory().display().to_string();
    let (code, same) = report(&["--data-dir", &data]).await;
    assert_eq!(code, 0);
    assert_eq!((&same["stand"], &same["differ"]), (&json!(3), &json!(0)));
    assert_eq!(same["recorded"]["allow"], 3);
    assert_eq!(same.get("other"), None);

    let stricter = json!({"mode": "Observe", "thresholds": {"medium": 20, "high": 90}, "actions": {"medium": "Deny"}});
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("stricter.yaml");
    let text = manifests::file(&[with(policy(), "/spec/risk", stricter)]);
    std::fs::write(&file, text).expect("written");
    let file = file.display().to_string();
    let (code, tried) = report(&["--data-dir", &data, "--policy", &file]).await;
    assert_eq!(code, 0);
    assert_eq!(tried["recorded"]["allow"], 3);
    assert_eq!(
        tried["other"],
        json!({"allow": 2, "require_mfa": 0, "deny": 1, "by_reason": {"new_device": 1}})
    );
    let table = vestibule(["replay", "--data-dir", &data, "--policy", &file]).await;
    assert!(
        table.stdout.contains("3 scored sign-ins"),
        "{}",
        table.stdout
    );
    assert!(table.stdout.contains("new_device"), "{}", table.stdout);
    three_sign_ins(&service, &issuer).await;
}

#[tokio::test]
async fn a_decision_that_somebody_changed_does_not_stand() {
    let issuer = LocalIssuer::new();
    let service = service(&issuer).start().await;
    three_sign_ins(&service, &issuer).await;
    // Its directories are there for as long as it is.
    let builder = service.builder.clone();
    let data = builder.data_directory().to_owned();
    drop(service);
    let db = rusqlite::Connection::open(data.join("vestibule.db")).expect("it opens");
    db.execute(
        "UPDATE events SET detail = replace(detail, '\"score\":25', '\"score\":5')",
        [],
    )
    .expect("it is changed");
    let request: String = db
        .query_row(
            "SELECT request_id FROM events WHERE detail LIKE '%new_device%'",
            [],
            |row| row.get(0),
        )
        .expect("there is one");
    drop(db);
    let data = data.display().to_string();
    let (code, all) = report(&["--data-dir", &data]).await;
    assert_eq!(code, 1);
    assert_eq!(all["differing_requests"], json!([request]));
    let (code, one) = report(&["--data-dir", &data, "--request", &request]).await;
    assert_eq!((code, &one["scored"]), (1, &json!(1)));
    let (code, other) = report(&["--data-dir", &data, "--of", "auth/other"]).await;
    assert_eq!((code, &other["scored"]), (0, &json!(0)));
}

#[tokio::test]
async fn decisions_in_postgresql_are_read_too() {
    let (issuer, postgres) = (LocalIssuer::new(), Postgres::start());
    let url = postgres.url();
    let service = service(&issuer)
        .argument("--database")
        .argument(&url)
        .start()
        .await;
    three_sign_ins(&service, &issuer).await;
    let (code, report) = report(&["--database", &url]).await;
    assert_eq!((code, &report["stand"]), (0, &json!(3)), "{report}");
}

#[tokio::test]
async fn what_cannot_be_replayed_is_a_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().display().to_string();
    let file = directory.path().join("off.yaml");
    let off = with(policy(), "/spec/risk", json!({"mode": "Off"}));
    std::fs::write(&file, manifests::file(&[off])).expect("written");
    let file = file.display().to_string();
    for (arguments, said) in [
        (vec!["--data-dir", &data], "vestibule.db"),
        (vec!["--data-dir", &data, "--policy", &file], "risk.mode"),
        (
            vec!["--data-dir", &data, "--policy", "/nowhere.yaml"],
            "/nowhere.yaml",
        ),
    ] {
        let finished = vestibule(["replay"].iter().chain(&arguments)).await;
        assert_eq!(finished.code, 1, "{}", finished.stdout);
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
    }
}
