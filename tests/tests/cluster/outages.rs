//! Parts of Vestibule and of the cluster go away while people sign in. Alone and last: they take away what other tests need.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use vestibule_tests::cluster::node::signal;
use vestibule_tests::cluster::objects::{address, condition, name};
use vestibule_tests::cluster::{Namespace, Release, fleet, node};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, Load, LocalIssuer, eventually, is, within};

/// An outage of the API server, as the bar names it.
const API_OUTAGE: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Three data-plane pods over PostgreSQL.
pub(crate) struct Fleet {
    pub(crate) release: Release,
    issuer: LocalIssuer,
}

static FLEET: OnceLock<Fleet> = OnceLock::new();
static TURN: Mutex<()> = Mutex::const_new(());

/// One outage at a time, whatever the number of threads; none where the cluster is not the tests' own.
pub(crate) async fn fleet() -> Option<(&'static Fleet, MutexGuard<'static, ()>)> {
    if !node::is_ours() {
        return None;
    }
    let turn = TURN.lock().await;
    Some((FLEET.get_or_init(Fleet::start), turn))
}

impl Fleet {
    fn start() -> Self {
        let release = fleet::install("e2e-outages", 3);
        let issuer = LocalIssuer::new();
        let policy = with(policy(), "/spec/limits/perUserPerMinute", 100_000);
        release.namespace.apply(&[issuer.provider(), policy]).ok();
        release
            .namespace
            .kubectl("wait --for=condition=Programmed oidcp/corp sip/default --timeout=60s")
            .ok();
        Self { release, issuer }
    }

    fn namespace(&self) -> &Namespace {
        &self.release.namespace
    }

    /// Sign-ins without a pause, each of somebody, until it is finished.
    async fn load(&self) -> Load<Result<(), String>> {
        // Of pods that are ready the Service learns a moment later.
        self.signs_in().await;
        let began = Instant::now();
        let url = self.release.url("/auth/id-token/signin");
        let bodies: Vec<Value> = (0..50)
            .map(|number| json!({"id_token": self.issuer.id_token(&format!("user-{number}"))}))
            .collect();
        let bodies = std::sync::Arc::new(bodies);
        Load::start(CONNECTIONS, move |client: Client, number| {
            let (url, bodies) = (url.clone(), std::sync::Arc::clone(&bodies));
            async move {
                let body = &bodies[number % bodies.len()];
                match client.post(&url, body).await {
                    Ok(reply) if reply.status == 200 => Ok(()),
                    Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
                    Err(error) => Err(format!("after {:?}: {error:#}", began.elapsed())),
                }
            }
        })
    }

    async fn signs_in(&self) {
        let url = self.release.url("/auth/id-token/signin");
        let body = json!({"id_token": self.issuer.id_token("alice")});
        eventually("a sign-in succeeds", || async {
            let reply = Client::new().post(&url, &body).await;
            is(
                reply
                    .map(|reply| reply.code())
                    .map_err(|error| error.to_string()),
                Ok("ok".to_owned()),
            )
        })
        .await
        .expect("it is as wanted");
    }

    /// The name of the operator that leads.
    fn leader(&self) -> String {
        let lease = self.namespace().get("lease/vestibule-operator");
        let holder = lease["spec"]["holderIdentity"].as_str();
        holder.unwrap_or_default().to_owned()
    }

    async fn another_leads_than(&self, leader: &str) {
        within(DEADLINE, LOOK_EVERY, "another one leads", || async {
            let now = self.leader();
            if now.is_empty() || now == leader {
                Err(now)
            } else {
                Ok(())
            }
        })
        .await;
    }

    fn uid(&self, pod: &str) -> String {
        let pod = self.namespace().get(&format!("pod/{pod}"));
        let uid = pod["metadata"]["uid"].as_str();
        uid.expect("a pod has one").to_owned()
    }

    /// A change reaches every pod.
    pub(crate) async fn a_change_is_served(&self, display_name: &str) {
        let change = with(self.issuer.provider(), "/spec/displayName", display_name);
        self.namespace().apply(&[change]).ok();
        self.namespace()
            .programmed(&["oidcp/corp", "sip/default"])
            .await;
    }

    /// When conditions last changed their status, and what they say.
    fn conditions(&self) -> Value {
        let object = self.namespace().get("oidcp/corp");
        ["Accepted", "ResolvedRefs", "Programmed"]
            .into_iter()
            .map(|type_| {
                let condition = condition(&object, type_);
                json!([
                    type_,
                    condition["status"],
                    condition["reason"],
                    condition["lastTransitionTime"]
                ])
            })
            .collect()
    }
}

/// Every result of the load, which has none that failed.
async fn all_succeeded(load: Load<Result<(), String>>) {
    let results = load.finish().await;
    let failed: Vec<&String> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    eprintln!("{} sign-ins, {} failed", results.len(), failed.len());
    assert!(
        failed.is_empty(),
        "of {} sign-ins {} failed: {:?}",
        results.len(),
        failed.len(),
        &failed[..failed.len().min(5)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_and_the_other_takes_over_and_nothing_flaps() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let load = fleet.load().await;
    load.more(50).await;
    let (leader, before) = (fleet.leader(), fleet.conditions());
    // Deleted first, since a container that starts again in its pod leads again at once: it has the name of the one that did.
    let line = format!("delete pod {leader} --force --grace-period=0 --wait=false");
    let uid = fleet.uid(&leader);
    namespace.kubectl(&line).ok();
    signal(&uid, "KILL");
    fleet.another_leads_than(&leader).await;
    namespace.ready("vestibule-operator", 2).await;
    assert_eq!(
        fleet.conditions(),
        before,
        "nothing has changed, so nothing is said"
    );
    fleet.a_change_is_served("after a leader").await;
    all_succeeded(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hangs_is_succeeded_and_ends_when_it_comes_to() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let (leader, before) = (fleet.leader(), fleet.conditions());
    let uid = fleet.uid(&leader);
    signal(&uid, "STOP");
    fleet.another_leads_than(&leader).await;
    fleet.a_change_is_served("by the successor").await;
    signal(&uid, "CONT");
    within(
        DEADLINE,
        LOOK_EVERY,
        "it has ended and started again",
        || async {
            let pod = namespace.get(&format!("pod/{leader}"));
            let container = &pod["status"]["containerStatuses"][0];
            is(
                (
                    container["restartCount"].as_u64(),
                    container["ready"].as_bool(),
                ),
                (Some(1), Some(true)),
            )
        },
    )
    .await;
    assert_eq!(fleet.conditions(), before, "nobody has said anything else");
    fleet.a_change_is_served("after one that hung").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_revision_is_kept_over_a_restart_of_the_operator() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let bad = with(
        fleet.issuer.provider(),
        "/spec/claims/mapping/username",
        "claims.",
    );
    namespace.apply(&[bad]).ok();
    namespace
        .condition("oidcp/corp", "Programmed", "False", "ServingPrevious")
        .await;
    let before = fleet.conditions();
    namespace
        .kubectl("delete pod --selector app.kubernetes.io/component=operator")
        .ok();
    namespace.ready("vestibule-operator", 2).await;
    fleet.signs_in().await;
    // Another object shows that the new one has looked at all of them.
    let other = with(fleet.issuer.provider(), "/metadata/name", "other");
    let other = with(other, "/spec/audiences", json!(["other"]));
    namespace.apply(&[other]).ok();
    namespace.programmed(&["oidcp/other"]).await;
    assert_eq!(fleet.conditions(), before);
    fleet.signs_in().await;
    namespace.delete("oidcp/other");
    fleet.a_change_is_served("good again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_operator_sign_ins_go_on_and_a_new_pod_starts_and_serves() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let namespace = fleet.namespace();
    let load = fleet.load().await;
    namespace
        .kubectl("scale deployment/vestibule-operator --replicas=0")
        .ok();
    within(DEADLINE, LOOK_EVERY, "no operator is left", || async {
        is(namespace.pods("operator").len(), 0)
    })
    .await;
    load.more(50).await;
    namespace
        .kubectl("scale deployment/vestibule-dataplane --replicas=4")
        .ok();
    namespace.ready("vestibule-dataplane", 4).await;
    for pod in namespace.pods("dataplane") {
        serves_itself(&pod, &fleet.issuer).await;
    }

    a_forged_snapshot_is_refused(fleet).await;

    namespace
        .kubectl("scale deployment/vestibule-dataplane --replicas=3")
        .ok();
    namespace
        .kubectl("scale deployment/vestibule-operator --replicas=2")
        .ok();
    namespace.ready("vestibule-operator", 2).await;
    namespace.ready("vestibule-dataplane", 3).await;
    // It mends what was forged.
    within(
        DEADLINE,
        LOOK_EVERY,
        "every pod reads what is published again",
        || async {
            let errors = errors(namespace).await;
            if errors.iter().all(Option::is_none) {
                Ok(())
            } else {
                Err(errors)
            }
        },
    )
    .await;
    fleet.a_change_is_served("after no operator").await;
    all_succeeded(load).await;
}

/// A sign-in at this pod alone.
async fn serves_itself(pod: &Value, issuer: &LocalIssuer) {
    let url = format!("http://{}:8080/auth/id-token/signin", address(pod));
    let reply = Client::new()
        .post(&url, &json!({"id_token": issuer.id_token("alice")}))
        .await;
    let reply = reply.expect("the pod answers");
    assert_eq!(reply.code(), "ok", "{}: {}", name(pod), reply.body);
}

/// What each data-plane pod says of the last configuration that it could not load.
async fn errors(namespace: &Namespace) -> Vec<Option<String>> {
    let mut errors = Vec::new();
    for pod in namespace.pods("dataplane") {
        let reply = Client::new()
            .get(&format!("http://{}:8081/revision", address(&pod)))
            .await;
        let Ok(reply) = reply else { continue };
        let error = reply.json()["refused"]["error"].as_str().map(str::to_owned);
        errors.push(error);
    }
    errors
}

/// With nobody there to mend it: pods tell what is wrong, and serve what they had.
async fn a_forged_snapshot_is_refused(fleet: &Fleet) {
    let namespace = fleet.namespace();
    let forgeries = [
        (
            "a head that is none",
            json!({"stringData": {"head.json": "{}"}}),
        ),
        (
            "a part of something else",
            json!({"stringData": {"part-0": "half a snapshot"}}),
        ),
        ("no part at all", json!({"data": {"part-0": null}})),
    ];
    let before = namespace.get("secret/vestibule-snapshot");
    for (what, forgery) in forgeries {
        let patch = forgery.to_string();
        let own = format!("--namespace={}", namespace.name);
        let line = [
            own.as_str(),
            "patch",
            "secret/vestibule-snapshot",
            "--type=merge",
            "--patch",
            &patch,
        ];
        vestibule_tests::cluster::kubectl::kubectl_with(line, "").ok();
        within(
            DEADLINE,
            LOOK_EVERY,
            &format!("every pod refuses {what}"),
            || async {
                let errors = errors(namespace).await;
                if errors.iter().all(Option::is_some) {
                    Ok(())
                } else {
                    Err(errors)
                }
            },
        )
        .await;
        for pod in namespace.pods("dataplane") {
            serves_itself(&pod, &fleet.issuer).await;
        }
        // Whole again, so that the next one is refused for what it is.
        let whole = json!({"data": before["data"]}).to_string();
        let line = [
            own.as_str(),
            "patch",
            "secret/vestibule-snapshot",
            "--type=merge",
            "--patch",
            &whole,
        ];
        vestibule_tests::cluster::kubectl::kubectl_with(line, "").ok();
        within(DEADLINE, LOOK_EVERY, "every pod reads it again", || async {
            let errors = errors(namespace).await;
            if errors.iter().all(Option::is_none) {
                Ok(())
            } else {
                Err(errors)
            }
        })
        .await;
    }
    // And one that stays, for the operator to mend.
    let patch = json!({"stringData": {"part-0": "half a snapshot"}}).to_string();
    let own = format!("--namespace={}", namespace.name);
    let line = [
        own.as_str(),
        "patch",
        "secret/vestibule-snapshot",
        "--type=merge",
        "--patch",
        &patch,
    ];
    vestibule_tests::cluster::kubectl::kubectl_with(line, "").ok();
}

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
    let after = namespace.get(&format!("pod/{}", name(victim)));
    assert_eq!(restarts(&after), before.map(|count| count + 1));
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
