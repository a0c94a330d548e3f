//! Geolocation databases: what they add to a sign-in's risk, and that one which is replaced is used.

use std::path::{Path, PathBuf};

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{LocalIssuer, Service, eventually, is};

const LONDON: &str = "81.2.69.160";
const LINKOPING: &str = "89.160.20.128";

fn testdata(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/testdata");
    root.join(name)
}

async fn start(issuer: &LocalIssuer, databases: &[&Path]) -> Service {
    let risk = json!({"mode": "Observe", "trustedProxies": ["127.0.0.0/8"]});
    let manifests = [issuer.provider(), with(policy(), "/spec/risk", risk)];
    let mut builder = Service::builder().manifests("all.yaml", &manifests);
    for database in databases {
        builder = builder.argument("--geoip-db").argument(*database);
    }
    builder.start().await
}

/// The reasons of a sign-in from there.
async fn reasons(service: &Service, issuer: &LocalIssuer, client: &str) -> Value {
    let body = json!({"id_token": issuer.id_token("alice")}).to_string();
    let request = Request::post(service.url("/auth/id-token/signin"))
        .header("content-type", "application/json")
        .header("x-forwarded-for", client)
        .body(Full::from(body));
    let reply = service.client.send(request.expect("a request")).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.code(), "ok", "{}", reply.body);
    reply.json()["risk_assessment"]["reasons"].clone()
}

#[tokio::test]
async fn another_country_at_once_is_impossible_and_the_same_one_is_not() {
    let issuer = LocalIssuer::new();
    let (city, asn) = (testdata("city.mmdb"), testdata("asn.mmdb"));
    let service = start(&issuer, &[&city, &asn]).await;
    assert_eq!(
        reasons(&service, &issuer, LONDON).await,
        json!(["first_signin"])
    );
    assert_eq!(
        reasons(&service, &issuer, "81.2.69.161").await,
        json!(["new_ip"])
    );
    assert_eq!(
        reasons(&service, &issuer, LINKOPING).await,
        json!(["impossible_travel", "new_country", "new_asn", "new_ip"])
    );
}

#[tokio::test]
async fn without_a_database_no_place_is_known_and_one_that_is_replaced_is_used() {
    let issuer = LocalIssuer::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("geo.mmdb");
    std::fs::copy(testdata("asn.mmdb"), &path).expect("copied");
    let service = start(&issuer, &[&path]).await;
    reasons(&service, &issuer, LONDON).await;
    assert_eq!(
        reasons(&service, &issuer, LINKOPING).await,
        json!(["new_asn", "new_ip"])
    );
    // Written aside and moved, as `geoipupdate` does it.
    let aside = directory.path().join("new.mmdb");
    std::fs::copy(testdata("city.mmdb"), &aside).expect("copied");
    std::fs::rename(&aside, &path).expect("moved");
    eventually("the new database is used", || async {
        let log = service.child.stderr.text();
        is(log.contains("a new geolocation database is used"), true)
    })
    .await;
    reasons(&service, &issuer, LONDON).await;
    let reasons = reasons(&service, &issuer, LINKOPING).await;
    assert_eq!(reasons[0], "impossible_travel", "{reasons}");
}
