//! Whatever somebody applies earns a condition and an Event; nobody else is harmed, and everything stays up.

use std::fmt::Write as _;

use serde_json::{Value, json};
use vestibule_tests::cluster::Namespace;
use vestibule_tests::e2e::manifests::{policy, with};

use crate::shared::{Shared, shared};

/// All that a Secret holds, and no text.
const GARBAGE_BYTES: usize = 1_000_000;
const CONFIG_MAP_KEYS: usize = 10_000;

/// A provider beside all of it that signs people in before and after, and the restarts of the pods.
struct Neighbour {
    shared: &'static Shared,
    name: &'static str,
}

impl Neighbour {
    async fn of(name: &'static str) -> Self {
        let shared = shared();
        let namespace = shared.namespace();
        namespace.apply(&[shared.provider(name)]).ok();
        namespace.programmed(&[&format!("oidcp/{name}")]).await;
        Self { shared, name }
    }

    /// It has not noticed anything, and changes are served as before.
    async fn is_unharmed(&self) {
        let namespace = self.shared.namespace();
        self.shared.signs_in(self.name, "ok").await;
        let change = with(
            self.shared.provider(self.name),
            "/spec/displayName",
            "changed",
        );
        namespace.apply(&[change]).ok();
        namespace
            .programmed(&[&format!("oidcp/{}", self.name)])
            .await;
        for component in ["operator", "dataplane"] {
            for pod in namespace.pods(component) {
                let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
                assert_eq!(restarts, 0, "{pod:#}");
            }
        }
    }
}

async fn is_told(namespace: &Namespace, object: &str, (type_, reason): (&str, &str)) {
    let message = namespace.condition(object, type_, "False", reason).await;
    assert!(message.len() < 3000, "{object}: {message}");
    let note = namespace.event(object, reason).await;
    assert!(note.len() <= 1024, "{object}: {note}");
}

#[tokio::test]
async fn a_secret_of_a_mebibyte_of_garbage_harms_nobody() {
    let neighbour = Neighbour::of("beside-garbage").await;
    let shared = neighbour.shared;
    let namespace = shared.namespace();
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("garbage");
    // Text, so that all of it is looked at.
    let garbage: String = (0..GARBAGE_BYTES)
        .map(|number| char::from(b' ' + (number * 7919 % 95) as u8))
        .collect();
    std::fs::write(&file, garbage).expect("it can be written");
    for name in ["garbage", "garbage-of-nobody"] {
        namespace
            .kubectl(&format!(
                "create secret generic {name} --from-file=tls.key={}",
                file.display()
            ))
            .ok();
    }
    let key = with(policy(), "/metadata/name", "garbage-key");
    let key = with(key, "/spec/token/issuer", "https://garbage.example.com");
    let key = with(
        key,
        "/spec/signing",
        json!({"secretRefs": [{"name": "garbage", "key": "tls.key"}]}),
    );
    let ca = json!({"secretRef": {"name": "garbage", "key": "tls.key"}});
    let ca = with(shared.provider("garbage-ca"), "/spec/tls/caBundle", ca);
    namespace.apply(&[key, ca]).ok();
    is_told(namespace, "sip/garbage-key", ("ResolvedRefs", "KeyInvalid")).await;
    is_told(
        namespace,
        "oidcp/garbage-ca",
        ("ResolvedRefs", "InvalidCaBundle"),
    )
    .await;
    neighbour.is_unharmed().await;
    namespace.delete("secret/garbage secret/garbage-of-nobody sip/garbage-key oidcp/garbage-ca");
}

#[tokio::test]
async fn a_config_map_of_ten_thousand_keys_harms_nobody() {
    let neighbour = Neighbour::of("beside-keys").await;
    let shared = neighbour.shared;
    let namespace = shared.namespace();
    let mut data: serde_json::Map<String, Value> = (0..CONFIG_MAP_KEYS)
        .map(|number| (format!("key-{number}"), json!("x")))
        .collect();
    data.insert("jwks.json".to_owned(), json!(shared.jwks().to_string()));
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "many-keys"}, "data": data});
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("many-keys.json");
    std::fs::write(&file, config_map.to_string()).expect("it can be written");
    namespace
        .kubectl(&format!("create --filename {}", file.display()))
        .ok();
    let provider = |name: &str, key: &str| {
        let reference = json!({"configMapRef": {"name": "many-keys", "key": key}});
        with(shared.provider(name), "/spec/keys", reference)
    };
    namespace
        .apply(&[
            provider("many-keys", "jwks.json"),
            provider("no-key", "key-10000"),
        ])
        .ok();
    namespace.programmed(&["oidcp/many-keys"]).await;
    shared.signs_in("many-keys", "ok").await;
    is_told(namespace, "oidcp/no-key", ("ResolvedRefs", "RefNotFound")).await;
    neighbour.is_unharmed().await;
    namespace.delete("configmap/many-keys oidcp/many-keys oidcp/no-key");
}

#[tokio::test]
async fn expressions_at_their_limits_harm_nobody() {
    let neighbour = Neighbour::of("beside-expressions").await;
    let shared = neighbour.shared;
    let namespace = shared.namespace();
    // As many as may be, each as long as may be.
    let mut long = "claims.sub != ''".to_owned();
    while long.len() + 20 <= 1024 {
        write!(long, " && claims.sub != ''").expect("a String takes it");
    }
    let rules = |expression: &str, count: usize| -> Value {
        (0..count)
            .map(|_| json!({"expression": expression, "message": "no"}))
            .collect()
    };
    let nested = format!("{}true{}", "(".repeat(400), ")".repeat(400));
    let numbers = (0..100)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let costly = format!("[{numbers}].all(a, [{numbers}].all(b, a + b >= 0))");
    assert!(costly.len() <= 1024);
    let provider =
        |name: &str, rules: Value| with(shared.provider(name), "/spec/claims/rules", rules);
    namespace
        .apply(&[
            provider("long-rules", rules(&long, 32)),
            provider("nested-rule", rules(&nested, 1)),
            provider("costly-rule", rules(&costly, 32)),
        ])
        .ok();
    namespace.programmed(&["oidcp/long-rules"]).await;
    shared.signs_in("long-rules", "ok").await;
    is_told(
        namespace,
        "oidcp/nested-rule",
        ("Accepted", "ExpressionInvalid"),
    )
    .await;
    // It is bounded where it runs: whoever signs in there is refused, and nobody else.
    shared.signs_in("costly-rule", "claims_rejected").await;
    neighbour.is_unharmed().await;
    namespace.delete("oidcp/long-rules oidcp/nested-rule oidcp/costly-rule");
}
