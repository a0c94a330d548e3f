//! The data plane's pods: deleted, killed, replaced, and all gone.

use serde_json::{Value, json};
use vestibule_tests::cluster::node::signal;
use vestibule_tests::cluster::objects::name;

use crate::fleet::{all_succeeded, fleet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_plane_pod_is_deleted_under_load_and_no_sign_in_fails() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let load = fleet.load().await;
    load.more(50).await;
    let pods = namespace.pods("dataplane");
    namespace
        .kubectl(&format!("delete pod {}", name(&pods[0])))
        .ok();
    namespace.ready("vestibule-dataplane", 3).await;
    all_succeeded(load).await;
}

/// Killed without a word, a pod takes along what it had begun: those requests fail, and no others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_plane_pod_is_killed_under_load_and_only_what_it_had_begun_fails() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let load = fleet.load().await;
    load.more(50).await;
    let pods = namespace.pods("dataplane");
    signal(&fleet.uid(name(&pods[0])), "KILL");
    load.more(200).await;
    namespace.ready("vestibule-dataplane", 3).await;
    load.more(50).await;
    let results = load.finish().await;
    let failed: Vec<&String> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    eprintln!(
        "{} sign-ins, {} failed: {failed:?}",
        results.len(),
        failed.len()
    );
    // An answer is never wrong: what fails is the connection.
    assert!(
        failed
            .iter()
            .all(|error| !error.starts_with(|first: char| first.is_ascii_digit())),
        "{failed:?}"
    );
    fleet.signs_in().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_upgrade_under_load_fails_no_sign_in() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let load = fleet.load().await;
    load.more(50).await;
    let uids = || -> Vec<Value> {
        let pods = namespace.pods("dataplane");
        pods.iter()
            .map(|pod| pod["metadata"]["uid"].clone())
            .collect()
    };
    let before = uids();
    fleet.release.upgrade(&[
        "dataplane.maxConnections=9000",
        "operator.podAnnotations.upgraded=yes",
    ]);
    namespace.ready("vestibule-dataplane", 3).await;
    assert!(
        uids().iter().all(|uid| !before.contains(uid)),
        "every pod is a new one"
    );
    load.more(50).await;
    all_succeeded(load).await;
    fleet.a_change_is_served("after an upgrade").await;
}

#[tokio::test]
async fn a_pod_that_does_not_prove_what_it_serves_keeps_programmed_false_until_it_is_gone() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    // Ready, and with the labels, but not one of ours: it has no admin listener.
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "impostor", "labels": {
            "app.kubernetes.io/name": "vestibule",
            "app.kubernetes.io/instance": "vestibule",
            "app.kubernetes.io/component": "dataplane",
        }},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "impostor",
                "image": "localhost/vestibule-tools:dev",
                "imagePullPolicy": "Never",
                "command": ["sleep", "infinity"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    pod["metadata"]["namespace"] = json!(namespace.name);
    namespace.apply(&[pod]).ok();
    let message = namespace
        .condition("oidcp/corp", "Programmed", "False", "Propagating")
        .await;
    assert!(message.contains("impostor"), "{message}");
    namespace.delete("pod/impostor");
    namespace.programmed(&["oidcp/corp", "sip/default"]).await;
}

#[tokio::test]
async fn without_a_data_plane_pod_nothing_is_programmed_until_one_is_ready() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    namespace
        .kubectl("scale deployment/vestibule-dataplane --replicas=0")
        .ok();
    for object in ["oidcp/corp", "sip/default"] {
        namespace
            .condition(object, "Programmed", "False", "NoReplicas")
            .await;
    }
    namespace
        .kubectl("scale deployment/vestibule-dataplane --replicas=3")
        .ok();
    namespace.ready("vestibule-dataplane", 3).await;
    namespace.programmed(&["oidcp/corp", "sip/default"]).await;
    fleet.signs_in().await;
}
