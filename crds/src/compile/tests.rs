//! What golden files cannot say: managed keys, the order of objects, objects that nobody would
//! write.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::algorithm::SigningAlgorithm;
use crate::encryption_key::EncryptionKey;
use crate::signing_key::SigningKey;

mod installer;

fn policy() -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth"},
        "spec": {
            "token": {"issuer": "https://auth.example.com", "audiences": ["internal"]},
            "signing": {"managed": {}},
        },
    })
}

fn provider(name: &str) -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "OidcProvider",
        "metadata": {"name": name, "namespace": "auth"},
        "spec": {"issuer": format!("https://{name}.example"), "audiences": ["web"]},
    })
}

fn object(body: Value) -> Object {
    Object::from_value(body, None).expect("an object of ours")
}

fn inputs(bodies: impl IntoIterator<Item = Value>) -> Inputs {
    Inputs {
        objects: bodies.into_iter().map(object).collect(),
        ..Inputs::default()
    }
}

fn after(compiled: Compiled, bodies: impl IntoIterator<Item = Value>) -> Inputs {
    Inputs {
        previous: Some(Arc::new(compiled.snapshot)),
        ..inputs(bodies)
    }
}

fn managed_key(state: KeyState) -> (ManagedKey, KeyState) {
    let algorithm = SigningAlgorithm::ES256;
    let key = ManagedKey {
        algorithm,
        pem: SigningKey::generate(algorithm).expect("a key can be made"),
        created_at: 0,
        signs_from: 0,
        longest_token_seconds: 600,
    };
    (key, state)
}

fn states(compiled: &Compiled) -> Vec<KeyState> {
    let keys = &compiled.snapshot.policies["auth/default"].signing_keys;
    keys.iter().map(|key| key.state).collect()
}

#[test]
fn managed_keys_are_published_with_their_states() {
    let mut inputs = inputs([policy()]);
    let id = NamespacedName::new("auth", "default");
    let keys = vec![
        managed_key(KeyState::Previous),
        managed_key(KeyState::Current),
    ];
    inputs.managed_keys.insert(id, keys.clone());
    let compiled = compile(&inputs);
    assert_eq!(states(&compiled), [KeyState::Previous, KeyState::Current]);
    let published = &compiled.snapshot.policies["auth/default"].signing_keys[0];
    assert_eq!(published.pem, keys[0].0.pem);
}

#[test]
fn managed_keys_rotate_on_while_the_policy_has_a_bad_update() {
    let id = NamespacedName::new("auth", "default");
    let mut before = inputs([policy()]);
    before
        .managed_keys
        .insert(id.clone(), vec![managed_key(KeyState::Current)]);
    let mut bad = policy();
    bad["spec"]["limits"] = json!({"perUserPerMinute": 0});
    let mut now = after(compile(&before), [bad]);
    let keys = vec![
        managed_key(KeyState::Previous),
        managed_key(KeyState::Current),
    ];
    now.managed_keys.insert(id, keys);
    let compiled = compile(&now);
    assert!(compiled.verdicts[0].is_refused());
    assert_eq!(states(&compiled), [KeyState::Previous, KeyState::Current]);
}

#[test]
fn a_managed_encryption_key_is_published_and_reaches_a_policy_with_a_bad_update_too() {
    let id = NamespacedName::new("auth", "default");
    let key = EncryptionKey::generate().expect("a key can be made");
    let keys = |compiled: &Compiled| compiled.snapshot.policies["auth/default"].mfa.keys.clone();
    let mut bad = policy();
    bad["spec"]["limits"] = json!({"perUserPerMinute": 0});
    for body in [policy(), bad] {
        let before = compile(&inputs([policy()]));
        assert_eq!(keys(&before), []);
        let mut now = after(before, [body]);
        now.managed_encryption_keys
            .insert(id.clone(), key.key.clone());
        assert_eq!(keys(&compile(&now)), std::slice::from_ref(&key));
    }
}

#[test]
fn a_managed_encryption_key_that_cannot_be_read_is_told_without_its_text() {
    let mut inputs = inputs([policy()]);
    inputs.managed_encryption_keys.insert(
        NamespacedName::new("auth", "default"),
        Secret::new("hunter2"),
    );
    let verdict = &compile(&inputs).verdicts[0];
    assert_eq!(verdict.resolved_refs.reason, ResolvedRefsReason::KeyInvalid);
    assert!(!format!("{verdict:?}").contains("hunter2"));
}

#[test]
fn a_managed_key_that_cannot_be_read_is_told_without_its_text() {
    let mut inputs = inputs([policy()]);
    let (mut key, state) = managed_key(KeyState::Current);
    key.pem = Secret::new("hunter2");
    inputs
        .managed_keys
        .insert(NamespacedName::new("auth", "default"), vec![(key, state)]);
    let verdict = &compile(&inputs).verdicts[0];
    assert_eq!(verdict.resolved_refs.reason, ResolvedRefsReason::KeyInvalid);
    assert!(!format!("{verdict:?}").contains("hunter2"));
}

#[test]
fn http_issuers_want_the_flag() {
    let mut body = provider("corp");
    body["spec"]["issuer"] = json!("http://idp.idp.svc");
    body["spec"]["keys"] = json!({"jwksUri": "http://127.0.0.1:9000/keys"});
    let mut inputs = inputs([policy(), body]);
    let findings = &compile(&inputs).verdicts[1].findings;
    let paths: Vec<&str> = findings
        .iter()
        .map(|finding| finding.path.as_str())
        .collect();
    assert_eq!(paths, ["spec.issuer", "spec.keys.jwksUri"]);
    inputs.http_issuers = HttpIssuers::LoopbackAndCluster;
    assert!(!compile(&inputs).verdicts[1].is_refused());
}

#[test]
fn a_bad_update_lifts_no_suspension() {
    let mut suspended = provider("corp");
    suspended["spec"]["suspended"] = json!(true);
    let before = compile(&inputs([policy(), suspended]));
    let mut bad = provider("corp");
    bad["spec"]["audiences"] = json!([]);
    let compiled = compile(&after(before, [policy(), bad]));
    assert!(compiled.snapshot.providers["auth/corp"].suspended);
}

#[test]
fn what_another_namespace_served_is_not_taken_over() {
    let before = compile(&inputs([policy(), provider("corp")]));
    let mut other = provider("corp");
    other["metadata"]["namespace"] = json!("apps");
    other["spec"]["audiences"] = json!([]);
    let compiled = compile(&after(before, [policy(), other]));
    assert_eq!(compiled.verdicts[1].serving, Serving::Nothing);
    assert!(compiled.snapshot.providers.is_empty());
}

#[test]
fn a_policy_that_loses_its_issuer_to_an_older_one_serves_nothing() {
    let named = |name: &str, created: &str, issuer: &str| {
        let mut body = policy();
        body["metadata"] = json!({"name": name, "namespace": "auth", "creationTimestamp": created});
        body["spec"]["token"]["issuer"] = json!(issuer);
        body
    };
    let newer = named("newer", "2026-02-01T00:00:00Z", "https://auth.example.com");
    let older = |issuer| named("older", "2026-01-01T00:00:00Z", issuer);
    let before = compile(&inputs([older("https://old.example.com"), newer.clone()]));
    let compiled = compile(&after(before, [older("https://auth.example.com"), newer]));
    assert_eq!(compiled.verdicts[0].serving, Serving::Nothing);
    assert_eq!(compiled.verdicts[1].serving, Serving::Current);
}

#[test]
fn unchanged_objects_are_the_same_in_memory() {
    let before = compile(&inputs([policy(), provider("corp")]));
    let kept = Arc::clone(&before.snapshot.providers["auth/corp"]);
    let compiled = compile(&after(
        before,
        [policy(), provider("corp"), provider("other")],
    ));
    assert!(Arc::ptr_eq(
        &kept,
        &compiled.snapshot.providers["auth/corp"]
    ));
}

#[test]
fn a_revision_is_of_the_content_alone() {
    let revision = |body: Value| compile(&inputs([policy(), body])).snapshot.revision;
    let plain = revision(provider("corp"));
    let mut touched = provider("corp");
    touched["metadata"]["labels"] = json!({"team": "a"});
    touched["metadata"]["generation"] = json!(7);
    touched["spec"]["egress"] = json!("Cluster");
    assert_eq!(revision(touched), plain);
    let mut changed = provider("corp");
    changed["spec"]["egress"] = json!("Public");
    assert_ne!(revision(changed), plain);
}

#[test]
fn what_is_compiled_again_takes_note_of_all_it_refers_to() {
    let id = |name: &str| NamespacedName::new("auth", name);
    let entry = |text: &str| BTreeMap::from([("key".to_owned(), text.to_owned())]);
    let secret = |pem: &Secret| BTreeMap::from([("key".to_owned(), pem.clone())]);
    let pem = |algorithm| SigningKey::generate(algorithm).expect("a key can be made");
    let (first, second) = (pem(SigningAlgorithm::ES256), pem(SigningAlgorithm::EdDSA));
    let jwks = |pem: &Secret| {
        let key = SigningKey::parse(pem, None).expect("it was made above");
        json!({"keys": [key.jwk]}).to_string()
    };

    let mut of_secret = policy();
    of_secret["spec"]["signing"] = json!({"secretRefs": [{"name": "s", "key": "key"}]});
    let mut of_config_map = provider("corp");
    of_config_map["spec"]["algorithms"] = json!(["ES256", "EdDSA"]);
    of_config_map["spec"]["keys"] = json!({"configMapRef": {"name": "c", "key": "key"}});

    let mut compiler = Compiler::default();
    let mut inputs = inputs([of_secret, of_config_map]);
    let mut revisions = Vec::new();
    for (key, set) in [
        (Some(secret(&first)), Some(entry(&jwks(&first)))),
        (Some(secret(&second)), Some(entry(&jwks(&first)))),
        (Some(secret(&second)), Some(entry(&jwks(&second)))),
        (Some(BTreeMap::new()), Some(entry("not json"))),
        (None, Some(BTreeMap::new())),
        (Some(secret(&first)), None),
        (Some(secret(&first)), Some(entry(&jwks(&first)))),
    ] {
        inputs.secrets = key.map(|key| (id("s"), key)).into_iter().collect();
        inputs.config_maps = set.map(|set| (id("c"), set)).into_iter().collect();
        let compiled = compiler.compile(&inputs);
        assert_eq!(compiled, compile(&inputs));
        revisions.push(compiled.snapshot.revision);
    }
    assert_eq!(revisions.first(), revisions.last());
    revisions.sort();
    revisions.dedup();
    assert!(
        revisions.len() > 4,
        "the contents made no difference: {revisions:?}"
    );
}

#[test]
fn what_has_not_changed_is_not_compiled_again() {
    let mut compiler = Compiler::default();
    let first = compiler.compile(&inputs([policy(), provider("corp")]));
    let mut touched = provider("corp");
    touched["metadata"]["resourceVersion"] = json!("7");
    touched["status"] = json!({"observedGeneration": 1});
    let second = compiler.compile(&inputs([policy(), touched, provider("other")]));
    let (first, second) = (&first.snapshot.providers, &second.snapshot.providers);
    assert!(Arc::ptr_eq(&first["auth/corp"], &second["auth/corp"]));
}

/// Any JSON, with names and texts that mean something here.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "spec",
        "issuer",
        "keys",
        "jwks",
        "kty",
        "managed",
        "secretRefs",
        "name",
        "claims.x",
        "0s",
        "1h",
        "Off",
        "https://a.example",
        "claims",
        "",
        "\u{0}",
        "ſ",
        "[",
        "𝕏",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| members
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
        ]
    })
}

/// A place in the spec of either kind, and what stands there instead.
fn any_change() -> impl Strategy<Value = (String, Value)> {
    let places = prop::sample::select(vec![
        "",
        "/issuer",
        "/issuerAliases",
        "/audiences",
        "/policyRef",
        "/suspended",
        "/keys",
        "/keys/jwks",
        "/tls",
        "/algorithms",
        "/token",
        "/claims",
        "/claims/rules",
        "/linking",
        "/examples",
        "/upstreamMfa",
        "/signing",
        "/signing/secretRefs",
        "/extraClaims",
        "/risk",
        "/risk/trustedProxies",
        "/mfa",
        "/password",
        "/limits",
    ]);
    (places.prop_map(str::to_owned), any_json())
}

fn changed(mut body: Value, (place, value): (String, Value)) -> Value {
    let mut target = &mut body["spec"];
    for name in place.split('/').skip(1) {
        if !target.is_object() {
            *target = json!({});
        }
        target = &mut target[name];
    }
    *target = value;
    body
}

proptest! {
    #[test]
    fn an_object_that_nobody_would_write_harms_no_other(change in any_change(), of_policy in any::<bool>()) {
        let mut odd = if of_policy { policy() } else { provider("odd") };
        odd["metadata"]["name"] = json!("odd");
        let good = compile(&inputs([policy(), provider("corp")]));
        let both = after(good.clone(), [policy(), provider("corp"), changed(odd, change)]);
        let compiled = compile(&both);
        prop_assert_eq!(&compiled.snapshot.providers["auth/corp"], &good.snapshot.providers["auth/corp"]);
        prop_assert_eq!(&compiled.snapshot.policies["auth/default"], &good.snapshot.policies["auth/default"]);
        prop_assert_eq!(compiled.verdicts.len(), 3);
        for verdict in &compiled.verdicts {
            prop_assert_eq!(verdict.is_refused(), !verdict.findings.is_empty());
            prop_assert_eq!(verdict.is_refused(), verdict.serving != Serving::Current);
        }
    }

    #[test]
    fn compiling_again_and_compiling_afresh_come_to_the_same(
        steps in prop::collection::vec((0_usize..4, any_change(), any::<bool>(), any::<bool>()), 1..12)
    ) {
        let mut compiler = Compiler::default();
        let mut bodies = vec![policy(), provider("a"), provider("b"), provider("c")];
        let mut served = None;
        for (index, change, restore, http) in steps {
            bodies[index] = match (restore, index) {
                (true, 0) => policy(),
                (true, index) => provider(["", "a", "b", "c"][index]),
                (false, _) => changed(bodies[index].clone(), change),
            };
            let mut now = inputs(bodies.clone());
            now.previous = served.clone();
            if http {
                now.http_issuers = HttpIssuers::LoopbackAndCluster;
            }
            let compiled = compiler.compile(&now);
            prop_assert_eq!(&compiled, &compile(&now));
            served = Some(Arc::new(compiled.snapshot));
        }
    }

    #[test]
    fn the_order_of_objects_does_not_matter(
        bodies in Just(vec![
            policy(),
            changed(policy(), ("/limits".to_owned(), json!({"perUserPerMinute": 0}))),
            provider("a"),
            provider("b"),
            changed(provider("c"), ("/issuer".to_owned(), json!("https://a.example"))),
            changed(provider("d"), ("/policyRef".to_owned(), json!({"name": "absent"}))),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, mut body)| {
            body["metadata"]["namespace"] = json!(if index == 1 { "apps" } else { "auth" });
            body
        })
        .collect::<Vec<_>>())
        .prop_shuffle()
    ) {
        let mut sorted = bodies.clone();
        sorted.sort_by_key(Value::to_string);
        prop_assert_eq!(compile(&inputs(bodies)), compile(&inputs(sorted)));
    }
}
