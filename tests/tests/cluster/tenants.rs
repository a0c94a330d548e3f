//! Authors in a watched namespace beside the release's own: what they write takes nothing from
//! others, and blinds nobody.

use serde_json::{Value, json};
use vestibule_tests::cluster::kubectl::kubectl_reading;
use vestibule_tests::cluster::{Namespace, Release};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, LocalIssuer};

const ISSUER: &str = "https://tenant.example.com";

async fn keys_of(release: &Release, namespace: &Namespace) -> Value {
    let path = format!("/policies/{}/default/jwks.json", namespace.name);
    let reply = Client::new().get(&release.url(&path)).await;
    reply.expect("the service answers").json()
}

#[tokio::test]
async fn a_tenant_takes_nothing_from_others_and_blinds_nobody() {
    let ours = Namespace::create("e2e-tenants");
    let owner = Namespace::create("e2e-tenants-owner");
    let waiting = Namespace::create("e2e-tenants-waiting");
    let watched = format!(
        "watchNamespaces={{{},{},{}}}",
        ours.name, owner.name, waiting.name
    );
    let release = Release::install(
        ours,
        &[
            "dataplane.plainHttp=true",
            "persistence.enabled=false",
            "operator.replicas=1",
            &watched,
        ],
    );
    let ours = &release.namespace;
    ours.apply(&[policy()]).ok();
    let tenants = with(policy(), "/spec/token/issuer", ISSUER);
    owner.apply(std::slice::from_ref(&tenants)).ok();
    owner.programmed(&["sip/default"]).await;

    an_issuer_is_not_lost_to_one_that_waits(&release, &owner, &waiting, &tenants).await;
    an_odd_object_blinds_nobody(&release, &owner).await;

    let cluster = with(LocalIssuer::new().provider(), "/metadata/name", "inside");
    let cluster = with(cluster, "/spec/egress", "Cluster");
    owner.apply(std::slice::from_ref(&cluster)).ok();
    let refused = owner
        .condition("oidcp/inside", "Accepted", "False", "Invalid")
        .await;
    assert!(refused.contains("spec.egress"), "{refused}");
    ours.apply(&[cluster]).ok();
    ours.programmed(&["oidcp/inside"]).await;
}

async fn an_issuer_is_not_lost_to_one_that_waits(
    release: &Release,
    owner: &Namespace,
    waiting: &Namespace,
    policy: &Value,
) {
    waiting.apply(std::slice::from_ref(policy)).ok();
    waiting
        .condition("sip/default", "Accepted", "False", "IssuerConflict")
        .await;
    let replaced = owner.own(policy).to_string();
    kubectl_reading("replace --force --filename=-", &replaced).ok();
    owner.programmed(&["sip/default"]).await;
    let refused = waiting
        .condition("sip/default", "Accepted", "False", "IssuerConflict")
        .await;
    assert!(refused.contains(&owner.name), "{refused}");
    assert_eq!(keys_of(release, waiting).await["code"], "not_found");
    let keys = keys_of(release, owner).await;
    assert!(keys["keys"][0]["kid"].is_string(), "{keys}");
}

async fn an_odd_object_blinds_nobody(release: &Release, tenant: &Namespace) {
    let deep = (0..200).fold(json!(1), |below, _| json!([below]));
    let odd = |name: &str, claims: Value| {
        let provider = with(LocalIssuer::new().provider(), "/metadata/name", name);
        let example = json!({"name": "a", "claims": claims, "expect": {"allowed": true}});
        with(provider, "/spec/examples", json!([example]))
    };
    tenant
        .apply(&[
            odd(
                "raw",
                json!({"sub": "a", "$serde_json::private::RawValue": 5}),
            ),
            odd("deep", json!({"sub": "a", "deep": deep})),
        ])
        .ok();
    // What it holds cannot be read here either: its event says what its condition says.
    let note = tenant.event("oidcp/deep", "Invalid").await;
    assert!(note.contains("nested too deeply"), "{note}");
    let accepted = "{.status.conditions[?(@.type=='Accepted')].status}";
    let accepted = tenant.kubectl(&format!("get oidcp/deep --output=jsonpath={accepted}"));
    assert_eq!(accepted.ok(), "False");
    tenant.programmed(&["oidcp/raw"]).await;

    // One that starts lists them all at once.
    let ours = &release.namespace;
    ours.kubectl("delete pod --selector=app.kubernetes.io/component=operator --wait=true")
        .ok();
    let neighbour = LocalIssuer::new().provider();
    ours.apply(&[neighbour]).ok();
    ours.programmed(&["oidcp/corp"]).await;
}
