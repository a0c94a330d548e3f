//! Managed signing keys rotate while people sign in: whoever fetched the published keys before a token was made can verify it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Request;
use serde_json::{Value, json};
use vestibule_tests::cluster::fleet::install;
use vestibule_tests::cluster::{Namespace, Release, node};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, Load, LocalIssuer, within};

use crate::shared::shared;

const ROTATIONS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_when_asked_and_every_token_verifies_throughout() {
    let shared = shared();
    let namespace = shared.namespace();
    let policy = with(policy(), "/metadata/name", "rotation");
    let policy = with(
        policy,
        "/spec/token/issuer",
        "https://auth.example.com/rotation",
    );
    let policy = with(policy, "/spec/limits/perUserPerMinute", 100_000);
    let provider = with(
        shared.provider("rotation"),
        "/spec/policyRef/name",
        "rotation",
    );
    namespace.apply(&[policy, provider]).ok();
    namespace
        .programmed(&["sip/rotation", "oidcp/rotation"])
        .await;
    rotates(&shared.release, namespace, "rotation", &|subject| {
        shared.token("rotation", subject)
    })
    .await;
}

/// With several pods none signs with a key that another does not publish yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_pods_no_token_is_signed_before_every_pod_publishes_its_key() {
    if !node::is_ours() {
        return;
    }
    let release = install("e2e-rotation", 3);
    let (namespace, issuer) = (&release.namespace, LocalIssuer::new());
    let policy = with(policy(), "/spec/limits/perUserPerMinute", 100_000);
    let url = "https://auth.example.com/default";
    let policy = with(policy, "/spec/token/issuer", url);
    namespace.apply(&[policy, issuer.provider()]).ok();
    namespace.programmed(&["sip/default", "oidcp/corp"]).await;
    release.is_reached().await;
    let token = |subject: &str| issuer.id_token(subject);
    rotates(&release, namespace, "default", &token).await;
}

/// Asks for one rotation after another under load.
async fn rotates(
    release: &Release,
    namespace: &Namespace,
    policy: &str,
    token: &dyn Fn(&str) -> String,
) {
    let jwks = release.url(&format!("/{policy}/jwks.json"));
    let url = release.url("/auth/id-token/signin");
    let tokens: Arc<Vec<Value>> = Arc::new(
        (0..20)
            .map(|number| json!({"id_token": token(&format!("user-{number}"))}))
            .collect(),
    );
    let load = Load::start(2, move |client, number| {
        let (jwks, url, tokens) = (jwks.clone(), url.clone(), Arc::clone(&tokens));
        async move {
            // Fetched before the token is made, as a resource server which caches them has; over a connection of its own, which
            // may lead to another pod.
            let keys = Client::new().get(&jwks).await.expect("an answer").json();
            let reply = client.post(&url, &tokens[number % tokens.len()]).await;
            let reply = reply.expect("an answer");
            assert_eq!(reply.code(), "ok");
            let token = reply.text("access_token");
            (verify(&token, &keys), token)
        }
    });
    load.more(20).await;
    let before = current(namespace, policy);
    let mut last = before.clone();
    for number in 0..ROTATIONS {
        namespace
            .kubectl(&format!(
                "annotate --overwrite sip/{policy} vestibule.dev/rotate=now-{number}"
            ))
            .ok();
        let what = format!("rotation {number} is done");
        let (deadline, look_every) = (Duration::from_secs(60), Duration::from_millis(100));
        last = within(deadline, look_every, &what, || async {
            let now = current(namespace, policy);
            if now == last { Err(now) } else { Ok(now) }
        })
        .await;
        namespace.programmed(&[&format!("sip/{policy}")]).await;
        load.more(20).await;
    }
    let results = load.finish().await;
    let wrong: Vec<&Result<String, String>> = results
        .iter()
        .map(|(verified, _)| verified)
        .filter(|verified| verified.is_err())
        .collect();
    assert_eq!(wrong, Vec::<&Result<String, String>>::new());
    let mut kids: Vec<&str> = results
        .iter()
        .filter_map(|(verified, _)| verified.as_deref().ok())
        .collect();
    kids.sort_unstable();
    kids.dedup();
    assert_eq!(kids.len(), ROTATIONS + 1, "each key has signed: {kids:?}");

    // The first token is good still: its key is published until it has expired.
    let oldest = results
        .iter()
        .find(|(verified, _)| verified.as_ref() == Ok(&before));
    let (_, oldest) = oldest.expect("the first key has signed");
    let request = Request::get(release.url("/auth/userinfo"))
        .header("authorization", format!("Bearer {oldest}"))
        .body(Default::default());
    let reply = Client::new().send(request.expect("a request")).await;
    assert_eq!(reply.expect("an answer").code(), "ok");
    let status = namespace.get(&format!("sip/{policy}"))["status"].clone();
    let states: Vec<&str> = keys(&status)
        .filter_map(|key| key["state"].as_str())
        .collect();
    assert_eq!(
        states.iter().filter(|state| **state == "Current").count(),
        1,
        "{status}"
    );
    assert!(states.contains(&"Previous"), "{status}");
    assert!(status["nextRotationTime"].is_string(), "{status}");
}

fn keys(status: &Value) -> impl Iterator<Item = &Value> {
    status["keys"].as_array().into_iter().flatten()
}

/// The key that signs.
fn current(namespace: &Namespace, policy: &str) -> String {
    let status = namespace.get(&format!("sip/{policy}"))["status"].clone();
    let current = keys(&status).find(|key| key["state"] == "Current");
    let kid = current.and_then(|key| key["kid"].as_str());
    kid.unwrap_or_else(|| panic!("no key signs: {status}"))
        .to_owned()
}

/// The key of a token that verifies with one of these.
fn verify(token: &str, jwks: &Value) -> Result<String, String> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let (signed, signature) = token.rsplit_once('.').expect("a JWS");
    let header = signed.split('.').next().expect("a header");
    let header: Value = serde_json::from_slice(&decode(header)).expect("JSON");
    let kid = header["kid"].as_str().expect("it names its key").to_owned();
    let mut keys = keys(jwks);
    let Some(key) = keys.find(|key| key["kid"] == kid.as_str()) else {
        return Err(format!("{kid} is not published in {jwks}"));
    };
    let mut point = vec![4];
    for coordinate in ["x", "y"] {
        point.extend(decode(key[coordinate].as_str().expect("an EC key")));
    }
    let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decode(signature));
    verified.map_err(|_| format!("the signature of {kid} does not verify"))?;
    Ok(kid)
}

#[tokio::test]
async fn signing_keys_that_somebody_deletes_are_stored_again_and_sign_on() {
    let shared = shared();
    let namespace = shared.namespace();
    let policy = with(policy(), "/metadata/name", "kept");
    let policy = with(
        policy,
        "/spec/token/issuer",
        "https://auth.example.com/kept",
    );
    namespace.apply(&[policy]).ok();
    namespace.programmed(&["sip/kept"]).await;
    let before = current(namespace, "kept");
    let selector = "vestibule.dev/signing-keys=true";
    let secrets = || -> Vec<(String, String)> {
        let found = namespace.get(&format!("secrets --selector {selector}"));
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let own = items.iter().filter(|secret| {
            secret["metadata"]["annotations"]["vestibule.dev/policy"]
                == format!("{}/kept", namespace.name)
        });
        own.map(|secret| {
            let text = |pointer: &str| {
                secret
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            (text("/metadata/name"), text("/metadata/uid"))
        })
        .collect()
    };
    let (name, uid) = secrets().pop().expect("its keys are stored");
    namespace.delete(&format!("secret/{name}"));
    let (deadline, look_every) = (Duration::from_secs(30), Duration::from_millis(100));
    within(
        deadline,
        look_every,
        "its keys are stored again",
        || async {
            let found = secrets();
            if found.iter().any(|(_, now)| *now != uid) {
                Ok(())
            } else {
                Err(found)
            }
        },
    )
    .await;
    assert_eq!(current(namespace, "kept"), before);
}
