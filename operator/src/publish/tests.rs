use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use vestibule_crds::compile::{Inputs, compile};
use vestibule_crds::object::Object;

use super::*;
use crate::testing::Shelf;

const HEAD: &str = "/api/v1/namespaces/auth/secrets/vestibule-snapshot";

fn snapshot(audience: &str) -> Arc<Snapshot> {
    let policy = json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth"},
        "spec": {
            "token": {"issuer": "https://auth.example.com", "audiences": [audience]},
            "signing": {"managed": {"algorithm": "ES256"}},
            "risk": {"mode": "Off"},
            "mfa": {"mode": "Never"},
        },
    });
    let inputs = Inputs {
        objects: vec![Object::from_value(policy, None).expect("an object")],
        ..Inputs::default()
    };
    Arc::new(compile(&inputs).snapshot)
}

fn leading() -> Arc<Fence> {
    let fence = Fence::default();
    fence.set(Some(Instant::now() + Duration::from_secs(60)));
    Arc::new(fence)
}

async fn recover(shelf: &Shelf) -> (Publisher, Recovered) {
    let recovering = Publisher::recover(shelf.client(), "auth", leading());
    recovering.await.expect("the shelf answers")
}

async fn publish(
    publisher: &mut Publisher,
    snapshot: &Arc<Snapshot>,
) -> Result<bool, PublishError> {
    let offer = Offer {
        digest: seeds_digest(&Seeds::new()),
        collect: &Seeds::new,
    };
    let cache = Cache::default();
    publisher
        .publish(snapshot, offer, false, &cache, 1_900_000_000)
        .await
}

fn writes(shelf: &Shelf) -> usize {
    shelf.requests("POST").len() + shelf.requests("PUT").len()
}

#[tokio::test]
async fn what_is_published_is_found_again_after_a_restart() {
    let shelf = Shelf::default();
    let (mut publisher, recovered) = recover(&shelf).await;
    assert!(recovered.snapshot.is_none());
    let published = snapshot("a");
    assert!(
        publish(&mut publisher, &published)
            .await
            .expect("published")
    );
    let (mut again, recovered) = recover(&shelf).await;
    assert_eq!(recovered.snapshot, Some(Arc::clone(&published)));
    assert_eq!(again.proof_key, publisher.proof_key);
    let before = writes(&shelf);
    assert!(
        !publish(&mut again, &published)
            .await
            .expect("nothing to do")
    );
    assert_eq!(writes(&shelf), before, "equal content is not written again");
    assert!(
        publish(&mut again, &snapshot("b"))
            .await
            .expect("published")
    );
}

#[tokio::test]
async fn of_two_that_believe_to_lead_one_fails() {
    let shelf = Shelf::default();
    let (mut first, _) = recover(&shelf).await;
    publish(&mut first, &snapshot("a"))
        .await
        .expect("published");
    let (mut second, _) = recover(&shelf).await;
    publish(&mut second, &snapshot("b"))
        .await
        .expect("published");
    let late = publish(&mut first, &snapshot("c")).await;
    assert!(matches!(late, Err(PublishError::Write { .. })), "{late:?}");
    let (_, recovered) = recover(&shelf).await;
    assert_eq!(recovered.snapshot, Some(snapshot("b")));
}

#[tokio::test]
async fn who_does_not_lead_publishes_nothing() {
    let shelf = Shelf::default();
    let (mut publisher, _) = recover(&shelf).await;
    publisher.fence.set(None);
    let refused = publish(&mut publisher, &snapshot("a")).await;
    assert!(matches!(refused, Err(PublishError::NotLeading(_))));
    assert_eq!(writes(&shelf), 0);
}

#[tokio::test]
async fn what_is_no_snapshot_is_replaced() {
    let shelf = Shelf::default();
    let garbage = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET_NAME}, "data": {"head.json": "e30="}});
    shelf.put(HEAD, garbage);
    let (mut publisher, recovered) = recover(&shelf).await;
    assert!(recovered.snapshot.is_none());
    publish(&mut publisher, &snapshot("a"))
        .await
        .expect("published");
    let (_, recovered) = recover(&shelf).await;
    assert_eq!(recovered.snapshot, Some(snapshot("a")));
}

#[tokio::test]
async fn what_was_deleted_or_changed_is_written_again() {
    let shelf = Shelf::default();
    let cache = Cache::default();
    let (mut publisher, _) = recover(&shelf).await;
    publish(&mut publisher, &snapshot("a"))
        .await
        .expect("published");
    cache.owned_applied(SECRET_NAME.to_owned(), "1".to_owned());
    assert!(!publisher.is_disturbed(&cache));
    shelf.remove(HEAD);
    cache.owned_deleted(SECRET_NAME);
    assert!(publisher.is_disturbed(&cache));
    publisher.forget(&cache).await.expect("the shelf answers");
    assert!(
        publish(&mut publisher, &snapshot("a"))
            .await
            .expect("published")
    );
    assert!(!publisher.is_disturbed(&cache));
    assert!(shelf.get(HEAD).is_some());
}

#[tokio::test]
async fn a_write_that_failed_is_made_up_for() {
    let shelf = Shelf::default();
    let cache = Cache::default();
    let (mut publisher, _) = recover(&shelf).await;
    shelf.fail.store(503, Ordering::SeqCst);
    let failed = publish(&mut publisher, &snapshot("a")).await;
    assert!(matches!(failed, Err(PublishError::Write { .. })));
    shelf.fail.store(0, Ordering::SeqCst);
    publisher.forget(&cache).await.expect("the shelf answers");
    assert!(
        publish(&mut publisher, &snapshot("a"))
            .await
            .expect("published")
    );
}
