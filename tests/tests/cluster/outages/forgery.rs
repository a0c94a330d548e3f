//! A snapshot that is forged or half written.

use serde_json::{Value, json};
use vestibule_tests::cluster::Namespace;
use vestibule_tests::cluster::kubectl::kubectl_with;
use vestibule_tests::cluster::objects::address;
use vestibule_tests::e2e::{Client, within};

use crate::fleet::{DEADLINE, Fleet, LOOK_EVERY, serves_itself};

/// With nobody there to mend it: pods tell what is wrong, and serve what they had.
pub(super) async fn a_forged_snapshot_is_refused(fleet: &Fleet) {
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
    let whole = json!({"data": namespace.get("secret/vestibule-snapshot")["data"]});
    for (what, forgery) in &forgeries {
        patch(namespace, forgery);
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
        patch(namespace, &whole);
        nothing_is_refused(namespace).await;
    }
    // And one that stays, for the operator to mend.
    patch(namespace, &forgeries[1].1);
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

/// Waits until every pod reads what is published.
pub(super) async fn nothing_is_refused(namespace: &Namespace) {
    let what = "every pod reads what is published";
    within(DEADLINE, LOOK_EVERY, what, || async {
        let errors = errors(namespace).await;
        if errors.iter().all(Option::is_none) {
            Ok(())
        } else {
            Err(errors)
        }
    })
    .await;
}

fn patch(namespace: &Namespace, change: &Value) {
    let own = format!("--namespace={}", namespace.name);
    let change = change.to_string();
    let line = [
        own.as_str(),
        "patch",
        "secret/vestibule-snapshot",
        "--type=merge",
        "--patch",
        &change,
    ];
    kubectl_with(line, "").ok();
}
