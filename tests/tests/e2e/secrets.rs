//! What the process writes holds nothing that a reader could sign in with, and nobody's address.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use vestibule_tests::e2e::manifests::{policy, provider, secret, with};
use vestibule_tests::e2e::{IdProvider, LocalIssuer, Reply, Service};

/// The client behind a trusted proxy.
const CLIENT: &str = "203.0.113.77";
const CLIENT_NETWORK: &str = "203.0.113.0/24";

#[tokio::test]
async fn no_log_metric_error_or_database_holds_a_token_a_key_an_email_or_a_client_address() {
    let id_provider = IdProvider::start().await;
    let pem = made_key();
    let signing = json!({"secretRefs": [{"name": "signing", "key": "tls.key"}]});
    let proxied = with(
        policy(),
        "/spec/risk/trustedProxies",
        json!(["127.0.0.0/8"]),
    );
    let second = with(
        with(proxied.clone(), "/metadata/name", "second"),
        "/spec/signing",
        signing,
    );
    let second = with(second, "/spec/token/issuer", "https://second.example.com");
    let service = Service::builder()
        .manifests("corp.yaml", &[provider("corp", &id_provider.issuer)])
        .manifests("policies.yaml", &[proxied, second])
        .manifests("secret.yaml", &[secret("signing", "tls.key", &pem)])
        .environment("VESTIBULE_LOG", "trace")
        .start()
        .await;

    // Everything that a caller can do, rightly and wrongly.
    let token = id_provider
        .id_token_with(json!({"subject": "alice", "nonce": "n-0S6_WzA2Mj"}))
        .await;
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let payload = signed.split('.').nth(1).expect("a payload");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{first}{}", &signature[1..]);
    let mut errors = String::new();
    let mut keep = |reply: Reply| {
        assert_ne!(reply.status, 200, "{}", reply.body);
        errors.push_str(&reply.body);
    };
    let signin = async |token: &str, nonce: Value| {
        post(
            &service,
            "/auth/id-token/signin",
            json!({"id_token": token, "nonce": nonce}),
        )
        .await
    };
    let good = signin(&token, json!("n-0S6_WzA2Mj")).await;
    assert_eq!(good.code(), "ok", "{}", good.body);
    keep(signin(&token, json!("n-other-nonce")).await);
    keep(signin(&token, Value::Null).await);
    keep(signin(&forged, json!("n-0S6_WzA2Mj")).await);
    keep(signin(&format!("{token}.{token}"), Value::Null).await);
    keep(signin(&token, json!(4711)).await);
    keep(post(&service, &format!("/{token}"), json!({})).await);
    // A caller's mistake, and a likely one.
    let misplaced = format!("/auth/token/refresh/{}", good.text("refresh_token"));
    keep(post(&service, &misplaced, json!({})).await);
    let (access, refresh) = (good.text("access_token"), good.text("refresh_token"));
    let refreshed = service.refresh(&refresh).await;
    assert_eq!(refreshed.code(), "ok");
    let (next_access, next_refresh) = (
        refreshed.text("access_token"),
        refreshed.text("refresh_token"),
    );
    assert_eq!(service.userinfo(&next_access).await.code(), "ok");
    keep(service.userinfo(&token).await);
    keep(service.refresh(&access).await);
    keep(service.userinfo(&refresh).await);
    let revoked = post(
        &service,
        "/auth/token/revoke",
        json!({"token": next_refresh}),
    )
    .await;
    assert_eq!(revoked.status, 204);
    keep(service.refresh(&next_refresh).await);
    keep(service.userinfo(&next_access).await);

    let metrics = service.admin_get("/metrics").await.body;
    let revision = service.admin_get("/revision").await.body;
    let kept = service.builder.data_directory();
    let managed = std::fs::read_to_string(kept.join("signing-keys.json")).expect("it is there");
    let sealing = std::fs::read_to_string(kept.join("encryption-keys.json")).expect("it is there");
    let database = in_files(kept, "vestibule.db");
    let mut child = service.child;
    child.signal("TERM");
    assert_eq!(child.ended().await.code(), Some(0));
    let log = child.stderr.text();
    assert!(log.contains("\"TRACE\""), "the log has everything");
    assert!(
        log.contains("token_signature_invalid"),
        "refusals are logged"
    );
    assert!(
        database.contains(CLIENT_NETWORK),
        "the audit trail has the network"
    );

    let signature_of = |token: &str| token.rsplit('.').next().unwrap_or_default().to_owned();
    let mut secrets = vec![
        ("the ID token", token.clone()),
        ("its payload", payload.to_owned()),
        ("its signature", signature.to_owned()),
        ("the forged signature", signature_of(&forged)),
        ("the nonce", "n-0S6_WzA2Mj".to_owned()),
        ("the access token's signature", signature_of(&access)),
        (
            "the next access token's signature",
            signature_of(&next_access),
        ),
        ("the refresh token", refresh),
        ("the next refresh token", next_refresh),
        ("a PEM", "PRIVATE KEY".to_owned()),
    ];
    let managed: Value = serde_json::from_str(&managed).expect("it is JSON");
    let managed = managed["auth/default"][0]["pem"]
        .as_str()
        .expect("a key")
        .to_owned();
    for line in pem
        .lines()
        .chain(managed.lines())
        .filter(|line| !line.starts_with("-----"))
    {
        // In a JSON log a line of a PEM would stand as it is.
        secrets.push(("a line of a key", line.to_owned()));
    }
    let sealing: Value = serde_json::from_str(&sealing).expect("it is JSON");
    let sealing = sealing["auth/default"].as_str().expect("a key").to_owned();
    secrets.push(("the encryption key", sealing));
    let of_people = [
        ("the e-mail address", "alice@corp.example"),
        ("the client's address", CLIENT),
    ];
    for (what, secret) in &secrets {
        assert!(secret.len() > 10, "{what} is long enough to be looked for");
        for (place, text) in [
            ("log", &log),
            ("errors", &errors),
            ("metrics", &metrics),
            ("revision", &revision),
            ("database", &database),
        ] {
            assert!(!text.contains(secret.as_str()), "{what} is in the {place}");
        }
    }
    for (what, personal) in of_people {
        for (place, text) in [
            ("log", &log),
            ("errors", &errors),
            ("metrics", &metrics),
            ("revision", &revision),
        ] {
            assert!(!text.contains(personal), "{what} is in the {place}");
        }
    }
    assert!(
        !database.contains(CLIENT),
        "the audit trail has no more than the network"
    );
}

/// As the proxy passes a request on.
async fn post(service: &Service, path: &str, body: Value) -> Reply {
    let request = Request::post(service.url(path))
        .header("content-type", "application/json")
        .header("x-forwarded-for", CLIENT)
        .body(Full::<Bytes>::from(body.to_string()));
    let reply = service.client.send(request.expect("a request")).await;
    reply.expect("the service answers")
}

fn made_key() -> String {
    let algorithm = vestibule_crds::algorithm::SigningAlgorithm::RS256;
    let pem = vestibule_crds::signing_key::SigningKey::generate(algorithm);
    pem.expect("a key can be made").expose().to_owned()
}

/// The bytes of the files whose names begin like this, as text.
fn in_files(folder: &std::path::Path, prefix: &str) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let entry = entry.expect("an entry");
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let bytes = std::fs::read(entry.path()).expect("it can be read");
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    text
}

#[tokio::test]
async fn a_crash_leaves_no_copy_of_the_keys_and_a_stranger_reads_no_details() {
    let issuer = LocalIssuer::new();
    let broken = with(issuer.provider(), "/spec/audiences", json!([]));
    let broken = with(broken, "/metadata/name", "broken-tenant");
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), broken, policy()])
        .start()
        .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.child.id()));
    let limits = limits.expect("the process is there");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");

    assert_eq!(
        service.revision().await["refused"]["objects"][0]["name"],
        "broken-tenant"
    );
    let revision = service.admin_get("/revision").await;
    assert_eq!(revision.status, 200);
    assert!(
        !revision.body.contains("broken-tenant"),
        "{}",
        revision.body
    );
    assert_eq!(revision.json()["refused"]["count"], 1);
    assert_eq!(service.admin_get("/discovery").await.status, 401);
}
