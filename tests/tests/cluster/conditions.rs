//! Every reason of the conditions Accepted, ResolvedRefs and Discovered, provoked and mended. Those of Programmed that want pods to be
//! away are in `outages`.

use serde_json::{Value, json};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_tests::cluster::{Namespace, node};
use vestibule_tests::e2e::IdProvider;
use vestibule_tests::e2e::manifests::{policy, provider, secret, with};

use crate::shared::{Shared, shared};

/// Applies what is wrong, sees it told with a sentence and an Event, mends it, and sees it served.
async fn provoked_and_mended(
    wrong: &[Value],
    mended: &[Value],
    object: &str,
    (type_, status, reason): (&str, &str, &str),
    said: &str,
) {
    let namespace = shared().namespace();
    namespace.apply(wrong).ok();
    let message = namespace.condition(object, type_, status, reason).await;
    assert!(message.contains(said), "{object} {reason}: {message}");
    let note = namespace.event(object, reason).await;
    assert!(note.contains(said), "{object} {reason}: {note}");
    namespace
        .condition(object, "Programmed", "False", "NotAccepted")
        .await;
    namespace.apply(mended).ok();
    namespace.programmed(&[object]).await;
    namespace
        .condition(object, "Accepted", "True", "Accepted")
        .await;
    namespace
        .condition(object, "ResolvedRefs", "True", "ResolvedRefs")
        .await;
}

fn shared_provider(name: &str) -> (&'static Shared, Value) {
    let shared = shared();
    (shared, shared.provider(name))
}

#[tokio::test]
async fn an_expression_that_does_not_compile_is_told_and_mended() {
    let (shared, good) = shared_provider("expression");
    let rules = json!([{"expression": "claims.hd ==", "message": "no"}]);
    let wrong = with(good.clone(), "/spec/claims/rules", rules);
    let told = ("Accepted", "False", "ExpressionInvalid");
    provoked_and_mended(
        &[wrong],
        &[good],
        "oidcp/expression",
        told,
        "spec.claims.rules[0]",
    )
    .await;
    shared.signs_in("expression", "ok").await;
}

#[tokio::test]
async fn an_example_that_fails_is_told_and_mended() {
    let (_, good) = shared_provider("example");
    let example = |allowed: bool| json!([{"name": "staff", "claims": {"sub": "a", "preferred_username": "a"}, "expect": {"allowed": allowed}}]);
    let wrong = with(good.clone(), "/spec/examples", example(false));
    let mended = with(good, "/spec/examples", example(true));
    let told = ("Accepted", "False", "ExampleFailed");
    provoked_and_mended(&[wrong], &[mended], "oidcp/example", told, "staff").await;
}

#[tokio::test]
async fn a_policy_that_is_not_there_is_told_and_comes() {
    let (shared, good) = shared_provider("no-policy");
    let wrong = with(good, "/spec/policyRef/name", "late-policy");
    let late = with(policy(), "/metadata/name", "late-policy");
    let late = with(
        late,
        "/spec/token/issuer",
        "https://late-policy.example.com",
    );
    let told = ("Accepted", "False", "PolicyNotFound");
    // Nobody touches the provider.
    provoked_and_mended(&[wrong], &[late], "oidcp/no-policy", told, "late-policy").await;
    shared.signs_in("no-policy", "ok").await;
}

#[tokio::test]
async fn what_the_schema_cannot_judge_is_invalid_and_mended() {
    let (_, good) = shared_provider("invalid");
    let wrong = with(
        good.clone(),
        "/spec/keys",
        json!({"jwksUri": "http://203.0.113.1/jwks"}),
    );
    let told = ("Accepted", "False", "Invalid");
    provoked_and_mended(
        &[wrong],
        &[good],
        "oidcp/invalid",
        told,
        "spec.keys.jwksUri",
    )
    .await;
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_is_told_until_the_secret_is_there_changes_and_goes_missing()
{
    let shared = shared();
    let namespace = shared.namespace();
    let policy = with(policy(), "/metadata/name", "refs");
    let policy = with(policy, "/spec/token/issuer", "https://refs.example.com");
    let refs = json!({"secretRefs": [{"name": "refs-key", "key": "tls.key"}]});
    let policy = with(policy, "/spec/signing", refs);
    let provider = with(shared.provider("refs"), "/spec/policyRef/name", "refs");
    let key = || SigningKey::generate(SigningAlgorithm::ES256).expect("a key can be made");
    let (first, second) = (key(), key());
    let told = ("ResolvedRefs", "False", "RefNotFound");
    let late = secret("refs-key", "tls.key", first.expose());
    provoked_and_mended(&[policy, provider], &[late], "sip/refs", told, "refs-key").await;
    namespace.programmed(&["oidcp/refs"]).await;
    shared.signs_in("refs", "ok").await;
    let kids = || namespace.get("sip/refs")["status"]["keys"].clone();
    let before = kids();

    // It changes, and nobody touches the policy.
    namespace
        .apply(&[secret("refs-key", "tls.key", second.expose())])
        .ok();
    let kid = SigningKey::parse(&second, None).expect("a key").kid;
    served_key(namespace, "sip/refs", &kid).await;
    assert_ne!(kids(), before);

    // It is no key: the last good one serves on, and that is said.
    namespace
        .apply(&[secret("refs-key", "tls.key", "hunter2")])
        .ok();
    let message = namespace
        .condition("sip/refs", "ResolvedRefs", "False", "KeyInvalid")
        .await;
    assert!(
        message.contains("spec.signing.secretRefs[0]") && !message.contains("hunter2"),
        "{message}"
    );
    namespace
        .condition("sip/refs", "Programmed", "False", "ServingPrevious")
        .await;
    shared.signs_in("refs", "ok").await;

    // It goes missing.
    namespace.delete("secret/refs-key");
    namespace
        .condition("sip/refs", "ResolvedRefs", "False", "RefNotFound")
        .await;
    namespace
        .condition("sip/refs", "Programmed", "False", "ServingPrevious")
        .await;
    shared.signs_in("refs", "ok").await;

    namespace
        .apply(&[secret("refs-key", "tls.key", first.expose())])
        .ok();
    namespace.programmed(&["sip/refs"]).await;
    let kid = SigningKey::parse(&first, None).expect("a key").kid;
    served_key(namespace, "sip/refs", &kid).await;
}

/// Waits until the status has this key, and every pod serves the policy.
async fn served_key(namespace: &Namespace, policy: &str, kid: &str) {
    let what = format!("--for=jsonpath={{.status.keys[0].kid}}={kid}");
    namespace
        .kubectl(&format!("wait {what} {policy} --timeout=60s"))
        .ok();
    namespace.programmed(&[policy]).await;
}

#[tokio::test]
async fn a_config_map_of_keys_that_is_no_jwk_set_is_told_and_mended() {
    let shared = shared();
    let config_map = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keys"}, "data": {"jwks.json": text}});
    let keys = json!({"configMapRef": {"name": "keys", "key": "jwks.json"}});
    let provider = with(shared.provider("keys"), "/spec/keys", keys);
    let (wrong, good) = (
        config_map("not json"),
        config_map(&shared.jwks().to_string()),
    );
    let told = ("ResolvedRefs", "False", "KeyInvalid");
    provoked_and_mended(
        &[wrong, provider],
        &[good],
        "oidcp/keys",
        told,
        "spec.keys.configMapRef",
    )
    .await;
    shared.signs_in("keys", "ok").await;
}

#[tokio::test]
async fn a_ca_bundle_without_a_certificate_is_told_and_mended() {
    let (_, good) = shared_provider("ca");
    let wrong = with(good.clone(), "/spec/tls/caBundle/inline", "no certificate");
    let told = ("ResolvedRefs", "False", "InvalidCaBundle");
    provoked_and_mended(&[wrong], &[good], "oidcp/ca", told, "spec.tls.caBundle").await;
}

#[tokio::test]
async fn a_provider_that_is_not_reached_is_told_serves_stale_keys_and_recovers() {
    if !node::is_ours() {
        return;
    }
    let namespace = shared().namespace();
    let issuer = format!("http://idp.{}.svc", namespace.name);
    let id_provider = IdProvider::start_with(&["--host", node::ADDRESS, "--issuer", &issuer]).await;
    let port = id_provider.port().await;
    let remote = |name: &str, keys: Value| {
        let provider = with(provider(name, &issuer), "/spec/audiences", json!([name]));
        with(provider, "/spec/keys", keys)
    };

    // Nothing stops it from being served.
    let elsewhere = format!("http://late.{}.svc", namespace.name);
    let late = provider("late", &elsewhere);
    namespace.apply(&[late]).ok();
    let message = namespace
        .condition("oidcp/late", "Discovered", "False", "Unreachable")
        .await;
    assert!(message.contains(&elsewhere), "{message}");
    namespace.programmed(&["oidcp/late"]).await;
    namespace.delete("oidcp/late");

    node::expose(&namespace.name, "idp", port);
    let quick = json!({"refreshInterval": "1s"});
    namespace.apply(&[remote("stale", quick)]).ok();
    namespace
        .condition("oidcp/stale", "Discovered", "True", "Discovered")
        .await;
    id_provider.take_down().await;
    namespace
        .condition("oidcp/stale", "Discovered", "False", "ServingStale")
        .await;
    namespace.event("oidcp/stale", "ServingStale").await;
    namespace.programmed(&["oidcp/stale"]).await;

    // With the same keys in its place under another name it is another issuer.
    id_provider.bring_back().await;
    namespace
        .condition("oidcp/stale", "Discovered", "True", "Discovered")
        .await;
    let other = with(
        remote(
            "mismatch",
            json!({"discoveryUrl": format!("{issuer}/.well-known/openid-configuration")}),
        ),
        "/spec/issuer",
        format!("{issuer}/other"),
    );
    namespace.apply(&[other]).ok();
    let message = namespace
        .condition("oidcp/mismatch", "Discovered", "False", "IssuerMismatch")
        .await;
    assert!(message.contains("spec.issuer"), "{message}");
    namespace.apply(&[remote("mismatch", json!({}))]).ok();
    namespace
        .condition("oidcp/mismatch", "Discovered", "True", "Discovered")
        .await;
    namespace.delete("oidcp/stale");
    namespace.delete("oidcp/mismatch");
}

#[tokio::test]
async fn a_bad_update_keeps_the_last_good_revision_and_harms_nobody_else() {
    let (shared, good) = shared_provider("last-good");
    let namespace = shared.namespace();
    let neighbour = shared.provider("neighbour");
    namespace.apply(&[good.clone(), neighbour]).ok();
    namespace
        .programmed(&["oidcp/last-good", "oidcp/neighbour"])
        .await;
    let bad = with(good.clone(), "/spec/claims/mapping/username", "claims.");
    namespace.apply(&[bad]).ok();
    namespace
        .condition("oidcp/last-good", "Programmed", "False", "ServingPrevious")
        .await;
    shared.signs_in("last-good", "ok").await;
    shared.signs_in("neighbour", "ok").await;
    namespace.programmed(&["oidcp/neighbour"]).await;
    // A suspension takes effect at once, whatever else is wrong.
    let suspended = with(good.clone(), "/spec/suspended", true);
    namespace.apply(&[suspended]).ok();
    shared.signs_in("last-good", "provider_suspended").await;
    namespace.apply(&[good]).ok();
    shared.signs_in("last-good", "ok").await;
    namespace.delete("oidcp/last-good");
    shared.signs_in("last-good", "provider_required").await;
}

#[tokio::test]
async fn of_two_providers_for_one_token_the_older_is_inferred_and_the_newer_says_so() {
    let (shared, older) = shared_provider("pair-1");
    let namespace = shared.namespace();
    namespace.apply(std::slice::from_ref(&older)).ok();
    namespace.programmed(&["oidcp/pair-1"]).await;
    // Of two that were made in one second the name decides.
    let newer = with(older, "/metadata/name", "pair-2");
    namespace.apply(&[newer]).ok();
    let message = namespace
        .condition("oidcp/pair-2", "Accepted", "True", "Accepted")
        .await;
    assert!(message.contains("pair-1"), "{message}");
    namespace.delete("oidcp/pair-2");
}
