//! Keys rotate with several pods: none signs with a key that another does not publish yet.

use serde_json::json;
use vestibule_tests::e2e::manifests::{policy, with};

use crate::fleet::fleet;
use crate::rotation::rotates;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_pods_no_token_is_signed_before_every_pod_publishes_its_key() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let policy = with(policy(), "/metadata/name", "rotation");
    let issuer = "https://auth.example.com/rotation";
    let policy = with(policy, "/spec/token/issuer", issuer);
    let policy = with(policy, "/spec/limits/perUserPerMinute", 100_000);
    let provider = with(fleet.issuer.provider(), "/metadata/name", "rotation");
    let provider = with(provider, "/spec/policyRef/name", "rotation");
    let provider = with(provider, "/spec/audiences", json!(["rotation"]));
    namespace.apply(&[policy, provider]).ok();
    let objects = ["sip/rotation", "oidcp/rotation"];
    namespace.programmed(&objects).await;
    rotates(&fleet.release, namespace, "rotation", &|subject| {
        let claims = with(fleet.issuer.claims(subject), "/aud", "rotation");
        fleet.issuer.sign(&claims)
    })
    .await;
    namespace.delete(&objects.join(" "));
}
