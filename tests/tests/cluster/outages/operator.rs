//! The operator: killed, hung, started again, and gone.

use serde_json::json;
use vestibule_tests::cluster::node::signal;
use vestibule_tests::e2e::manifests::with;
use vestibule_tests::e2e::{is, within};

use super::forgery::{a_forged_snapshot_is_refused, nothing_is_refused};
use crate::fleet::{DEADLINE, LOOK_EVERY, all_succeeded, fleet, serves_itself};

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
    // Whether its container has restarted and is ready; an outage before this one may have ended it too.
    let container = || {
        let pod = namespace.get(&format!("pod/{leader}"));
        let container = &pod["status"]["containerStatuses"][0];
        (
            container["restartCount"].as_u64(),
            container["ready"].as_bool(),
        )
    };
    let (restarts, _) = container();
    signal(&uid, "STOP");
    fleet.another_leads_than(&leader).await;
    fleet.a_change_is_served("by the successor").await;
    signal(&uid, "CONT");
    within(
        DEADLINE,
        LOOK_EVERY,
        "it has ended and started again",
        || async {
            let once_more = restarts.map(|restarts| restarts + 1);
            is(container(), (once_more, Some(true)))
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
    nothing_is_refused(namespace).await;
    fleet.a_change_is_served("after no operator").await;
    all_succeeded(load).await;
}
