use std::sync::atomic::Ordering;

use serde_json::Value;
use vestibule_crds::object::{Kind, NamespacedName};

use super::*;
use crate::status::{ACCEPTED, DISCOVERED, DesiredCondition, PROGRAMMED};
use crate::testing::Shelf;

const PATH: &str = "/apis/vestibule.dev/v1alpha1/namespaces/auth/oidcproviders/corp";

fn key(name: &str) -> Key {
    (Kind::OidcProvider, NamespacedName::new("auth", name))
}

fn desired(reason: &'static str) -> Desired {
    let condition = DesiredCondition::new(PROGRAMMED, ConditionStatus::False, reason, "why");
    Desired {
        generation: Some(1),
        revision: None,
        keys: Vec::new(),
        next_rotation_time: None,
        conditions: vec![condition],
    }
}

/// One provider on the shelf and in the cache, and what writes to it.
fn status_writer() -> (StatusWriter, Shelf) {
    let shelf = Shelf::default();
    let body: Value = json!({
        "apiVersion": API_VERSION,
        "kind": "OidcProvider",
        "metadata": {"name": "corp", "namespace": "auth", "uid": "u1", "generation": 1},
        "spec": {},
    });
    let stored = shelf.put(PATH, body);
    let cache = Arc::new(Cache::default());
    let object = serde_json::from_value(stored).expect("an object");
    cache.apply(Kind::OidcProvider, object);
    let fence = Arc::new(Fence::default());
    fence.set(Some(Instant::now() + Duration::from_secs(60)));
    let status_writer = StatusWriter::new(
        shelf.client(),
        "me".to_owned(),
        Arc::default(),
        cache,
        fence,
        Arc::default(),
    );
    (status_writer, shelf)
}

#[tokio::test]
async fn a_status_is_written_once() {
    let (status_writer, shelf) = status_writer();
    assert_eq!(
        status_writer
            .write(&key("corp"), desired("NoReplicas"))
            .await,
        None
    );
    let stored = shelf.get(PATH).expect("the provider");
    assert_eq!(stored["status"]["conditions"][0]["reason"], "NoReplicas");
    let writes = shelf.requests("PATCH").len();
    assert_eq!(
        status_writer
            .write(&key("corp"), desired("NoReplicas"))
            .await,
        None
    );
    assert_eq!(
        shelf.requests("PATCH").len(),
        writes,
        "what stands there is not written again"
    );
    assert_eq!(shelf.requests("POST").len(), 1, "one Event");
}

#[tokio::test]
async fn a_status_of_another_generation_is_not_written() {
    let (status_writer, shelf) = status_writer();
    let mut old = desired("NoReplicas");
    old.generation = Some(7);
    assert_eq!(status_writer.write(&key("corp"), old).await, None);
    assert!(shelf.requests("PATCH").is_empty());
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let (status_writer, shelf) = status_writer();
    status_writer.fence.set(None);
    assert_eq!(
        status_writer
            .write(&key("corp"), desired("NoReplicas"))
            .await,
        None
    );
    assert!(shelf.requests("PATCH").is_empty());
}

#[tokio::test]
async fn what_fails_for_now_is_tried_again_and_what_is_refused_is_not() {
    let (status_writer, shelf) = status_writer();
    for (status, again) in [
        (500, true),
        (503, true),
        (429, true),
        (404, false),
        (409, false),
        (422, false),
    ] {
        shelf.fail.store(status, Ordering::SeqCst);
        let left = status_writer
            .write(&key("corp"), desired("NoReplicas"))
            .await;
        assert_eq!(left.is_some(), again, "{status}");
    }
    shelf.fail.store(0, Ordering::SeqCst);
    assert_eq!(
        status_writer
            .write(&key("corp"), desired("NoReplicas"))
            .await,
        None
    );
    assert!(
        shelf
            .get(PATH)
            .expect("the provider")
            .get("status")
            .is_some()
    );
}

#[test]
fn the_newest_status_of_an_object_is_the_one_and_nobody_writes_to_it_twice_at_once() {
    let queue = Queue::default();
    queue.push(key("a"), desired("Propagating"));
    queue.push(key("a"), desired("NoReplicas"));
    assert_eq!(queue.take(), Some((key("a"), desired("NoReplicas"))));
    queue.push(key("a"), desired("Serving"));
    assert_eq!(queue.take(), None, "it is in flight");
    assert_eq!(queue.len(), 2);
    queue.done(&key("a"), Some(desired("NoReplicas")));
    assert_eq!(
        queue.take(),
        Some((key("a"), desired("Serving"))),
        "the newer one stands"
    );
    queue.done(&key("a"), None);
    queue.push(key("a"), desired("Serving"));
    queue.withdraw(&key("a"));
    assert_eq!((queue.take(), queue.len()), (None, 0));
}

#[test]
fn ten_thousand_changes_make_few_events() {
    let start = Instant::now();
    let mut tokens = Tokens {
        left: EVENTS_BURST,
        at: start,
    };
    let sent = (0..10_000).filter(|_| tokens.take(start)).count();
    assert_eq!(sent, 100);
    assert!(tokens.take(start + Duration::from_secs(1)));
}

fn transition(type_: &'static str, status: ConditionStatus, known: bool) -> Transition {
    Transition {
        condition: DesiredCondition::new(type_, status, "Reason", "why"),
        known,
    }
}

#[test]
fn what_stops_and_what_was_mended_is_worth_an_event() {
    use ConditionStatus::{False, True, Unknown};
    let type_of = |transition: Transition| event(&transition).map(|event| event.type_);
    assert_eq!(
        type_of(transition(ACCEPTED, False, false)),
        Some(EventType::Warning)
    );
    assert_eq!(
        type_of(transition(ACCEPTED, True, true)),
        Some(EventType::Normal)
    );
    assert_eq!(
        type_of(transition(PROGRAMMED, True, false)),
        Some(EventType::Normal)
    );
    assert_eq!(type_of(transition(ACCEPTED, True, false)), None);
    assert_eq!(type_of(transition(DISCOVERED, Unknown, true)), None);
}

#[test]
fn a_note_is_as_long_as_an_event_takes() {
    assert_eq!(note("short"), "short");
    let long = note(&"ü".repeat(2000));
    assert!(long.len() <= NOTE_BYTES_MAX && long.ends_with('…'));
}
