use serde_json::json;
use vestibule_crds::report::{KeysState, ProviderKeysReport, Refusals};

use super::*;

fn pod(name: &str, ready: bool, restarts: i32) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": "c", "ready": ready, "restartCount": restarts, "image": "i", "imageID": "i"}],
        },
    }))
    .expect("a pod")
}

fn pods(names: &[&str]) -> Pods {
    let pods = Pods::new(8081);
    for name in names {
        pods.apply(&pod(name, true, 0));
    }
    pods
}

fn identity(name: &str) -> PodIdentity {
    identity_if_ready(&pod(name, true, 0)).expect("it is ready")
}

fn answer(revision: &str, error: Option<&str>) -> Result<RevisionReport, AskError> {
    Ok(RevisionReport {
        revision: Some(Revision::of(revision.as_bytes())),
        since: String::new(),
        digest: None,
        policies: 0,
        providers: 0,
        refused: Refusals {
            error: error.map(str::to_owned),
            ..Refusals::default()
        },
    })
}

fn served(pods: &Pods, name: &str) -> Option<Revision> {
    pods.lock().ready.get(name)?.serves.clone()
}

fn report(process: &str, sequence: u64, more: bool, kids: &[&str]) -> DiscoveryReport {
    let providers = kids.iter().map(|kid| ProviderKeysReport {
        namespace: "auth".to_owned(),
        name: format!("provider-{kid}"),
        source: Revision::of(b"source"),
        state: KeysState::Fresh,
        error: None,
        fetched_at: Some(i64::try_from(sequence).expect("small")),
        jwks: Some(json!({"keys": [{"kid": kid}]})),
    });
    DiscoveryReport {
        process: process.to_owned(),
        sequence,
        more,
        providers: providers.collect(),
    }
}

#[test]
fn only_ready_pods_count_and_those_on_their_way_out_do_not() {
    let pods = pods(&["a"]);
    pods.apply(&pod("b", false, 0));
    assert_eq!(pods.identities().len(), 1);
    let mut leaving = pod("a", true, 0);
    leaving.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ));
    pods.apply(&leaving);
    assert!(pods.identities().is_empty());
    pods.apply(&pod("c", true, 0));
    pods.keep_only(&BTreeSet::new());
    assert!(pods.identities().is_empty());
}

#[test]
fn a_question_without_an_answer_takes_nothing_back() {
    let pods = pods(&["a"]);
    pods.revision_answered("a", &identity("a"), answer("r1", None));
    pods.revision_answered("a", &identity("a"), Err(AskError::TimedOut));
    assert_eq!(served(&pods, "a"), Some(Revision::of(b"r1")));
    let (proofs, _) = pods.proofs(&History::default());
    assert_eq!(
        proofs[0].error.as_deref(),
        Some("it does not answer in time")
    );
    assert!(
        proofs[0].serves.is_none(),
        "a revision that is none of ours"
    );
}

#[test]
fn a_container_that_starts_again_has_said_nothing() {
    let pods = pods(&["a"]);
    pods.revision_answered("a", &identity("a"), answer("r1", None));
    pods.apply(&pod("a", true, 0));
    assert!(served(&pods, "a").is_some(), "the same pod");
    pods.apply(&pod("a", true, 1));
    assert_eq!(served(&pods, "a"), None);
    pods.revision_answered("a", &identity("a"), answer("r1", None));
    assert_eq!(served(&pods, "a"), None, "an answer of the one before");
}

#[test]
fn what_a_pod_refuses_is_told() {
    let pods = pods(&["a"]);
    pods.revision_answered("a", &identity("a"), answer("r1", Some("part 0 is torn")));
    let (proofs, _) = pods.proofs(&History::default());
    assert_eq!(proofs[0].error.as_deref(), Some("part 0 is torn"));
}

#[test]
fn pages_are_read_to_the_end() {
    let pods = pods(&["a"]);
    let read = |since, report| pods.discovery_answered("a", &identity("a"), since, report);
    assert!(read(0, report("p", 1, true, &["k1"])));
    assert_eq!(pods.discovery_cursor("a"), 1);
    assert!(!read(1, report("p", 2, false, &["k2"])));
    assert_eq!(pods.findings("auth/provider-k1").len(), 1);
    assert_eq!(pods.findings("auth/provider-k2").len(), 1);
    assert!(
        !read(2, report("p", 2, true, &[])),
        "an empty page is the last"
    );
}

#[test]
fn another_process_is_read_from_the_beginning() {
    let pods = pods(&["a"]);
    let read = |since, report| pods.discovery_answered("a", &identity("a"), since, report);
    read(0, report("p", 7, false, &["k1"]));
    assert!(
        read(7, report("q", 9, false, &["k2"])),
        "what came before is missing"
    );
    assert_eq!(pods.discovery_cursor("a"), 0);
    assert!(!read(0, report("q", 9, false, &["k1", "k2"])));
    assert_eq!(pods.findings("auth/provider-k2").len(), 1);
}

#[test]
fn statuses_can_be_said_once_every_pod_was_read() {
    let pods = pods(&["a"]);
    let all_read = || pods.proofs(&History::default()).1;
    assert!(!all_read());
    pods.revision_answered("a", &identity("a"), Err(AskError::Unreachable));
    assert!(!all_read());
    pods.discovery_answered("a", &identity("a"), 0, report("p", 0, false, &[]));
    assert!(all_read());
}

#[test]
fn keys_are_seeded_for_the_source_that_they_were_fetched_for() {
    let pods = pods(&["a"]);
    pods.discovery_answered("a", &identity("a"), 0, report("p", 5, false, &["k1"]));
    let fitting = BTreeMap::from([("auth/provider-k1".to_owned(), Revision::of(b"source"))]);
    let other = BTreeMap::from([("auth/provider-k1".to_owned(), Revision::of(b"other"))]);
    assert_eq!(pods.seeds(&fitting)["auth/provider-k1"].fetched_at, 5);
    assert!(pods.seeds(&other).is_empty());
    let before = pods.seeds_digest(&fitting);
    pods.discovery_answered("a", &identity("a"), 5, report("p", 9, false, &["k1"]));
    assert_eq!(pods.seeds(&fitting)["auth/provider-k1"].fetched_at, 9);
    assert_eq!(
        pods.seeds_digest(&fitting),
        before,
        "the same keys, fetched again"
    );
    assert_ne!(pods.seeds_digest(&other), before);
}

#[tokio::test(start_paused = true)]
async fn while_the_pods_cannot_be_watched_nothing_is_proved() {
    let pods = pods(&["a"]);
    let proofs = || pods.proofs(&History::default()).0;
    assert_eq!(proofs().len(), 1);
    pods.watch_failed("connection refused");
    let unseen = PodProof::unseen("connection refused".to_owned());
    assert_eq!(proofs().last(), Some(&unseen));
    pods.watch_works();
    assert_eq!(proofs().len(), 1);

    // A watch that goes on where it broke off has nothing to say.
    pods.watch_failed("reset");
    let since = pods.stale().expect("it is stale").since;
    tokio::time::advance(STALE_TIME / 2).await;
    pods.watch_failed("reset again");
    let stale = pods.stale().expect("it is stale still");
    assert_eq!(stale.since, since);
    tokio::time::advance(STALE_TIME).await;
    assert!(pods.stale().is_none());
    assert_eq!(proofs().len(), 1);
}

#[test]
fn one_namespace_s_keys_of_providers_are_published_up_to_its_share() {
    let pods = pods(&["a"]);
    let jwks = |bytes: usize| json!({"keys": [{"kty": "RSA", "n": "a".repeat(bytes)}]});
    let source = Revision::of(b"source");
    let seed = |bytes: usize| Seed {
        source: source.clone(),
        jwks: jwks(bytes),
        fetched_at: 1,
    };
    let flood = (0..200).map(|number| (format!("flood/p{number:03}"), seed(60_000)));
    let others = [
        ("shop/corp".to_owned(), seed(60_000)),
        ("shop/large".to_owned(), seed(SEED_BYTES_MAX)),
    ];
    let all: Seeds = flood.chain(others).collect();
    let sources: BTreeMap<String, Revision> = all
        .keys()
        .map(|name| (name.clone(), source.clone()))
        .collect();
    pods.recover(all);
    let seeds = pods.seeds(&sources);
    assert!(seeds.contains_key("shop/corp"));
    assert!(!seeds.contains_key("shop/large"));
    let flood = seeds.keys().filter(|name| name.starts_with("flood/"));
    assert_eq!(flood.count(), NAMESPACE_SEED_BYTES_MAX / 60_000);
}
