//! The cluster's own parts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vestibule_tests::cluster::node;
use vestibule_tests::cluster::node::signal;
use vestibule_tests::cluster::objects::{address, condition, name};
use vestibule_tests::e2e::{Client, is, within};

use crate::fleet::{DEADLINE, LOOK_EVERY, all_succeeded, fleet, serves_itself};

/// An outage of the API server, as the bar names it.
const API_OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_sign_ins_go_on_and_a_killed_container_serves_again() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let pods = namespace.pods("dataplane");
    let victim = &pods[0];
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    let before = restarts(victim);
    let uid = victim["metadata"]["uid"]
        .as_str()
        .expect("a pod has one")
        .to_owned();
    let node_ready_since = || {
        let nodes = namespace.get("nodes");
        condition(&nodes["items"][0], "Ready")["lastTransitionTime"].clone()
    };
    let node_since = node_ready_since();
    let load = fleet.load().await;
    load.more(50).await;
    node::component("kill", "kube-apiserver");
    let began = Instant::now();
    load.more(50).await;
    let results = load.finish().await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");

    // Nobody tells kube-proxy while the API server is away: connections to the one that is gone are refused, so others are asked by address.
    signal(&uid, "KILL");
    let others = &pods[1..];
    within(
        DEADLINE,
        LOOK_EVERY,
        "the container serves again",
        || async {
            for pod in others {
                serves_itself(pod, &fleet.issuer).await;
            }
            let url = format!("http://{}:8080/auth/id-token/signin", address(victim));
            let body = json!({"id_token": fleet.issuer.id_token("alice")});
            match Client::new().post(&url, &body).await {
                Ok(reply) => is(reply.code(), "ok".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        },
    )
    .await;
    let load = fleet.load().await;
    within(DEADLINE, LOOK_EVERY, "the outage has lasted", || async {
        if began.elapsed() >= API_OUTAGE {
            Ok(())
        } else {
            Err(began.elapsed())
        }
    })
    .await;
    node::component("start", "kube-apiserver");
    all_succeeded(load).await;
    namespace.ready("vestibule-dataplane", 3).await;
    namespace.ready("vestibule-operator", 2).await;
    within(
        DEADLINE,
        LOOK_EVERY,
        "the kubelet has told the API server of the restart",
        || async {
            let after = namespace.get(&format!("pod/{}", name(victim)));
            is(restarts(&after), before.map(|count| count + 1))
        },
    )
    .await;
    assert_eq!(
        node_ready_since(),
        node_since,
        "the node was not called lost"
    );
    fleet
        .a_change_is_served("after an outage of the API server")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_restarts_and_nobody_notices() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let load = fleet.load().await;
    load.more(50).await;
    node::component("kill", "etcd");
    load.more(50).await;
    node::component("start", "etcd");
    fleet.a_change_is_served("after etcd").await;
    all_succeeded(load).await;
}
