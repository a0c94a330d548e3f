use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use vestibule_crds::compile::{Inputs, compile};
use vestibule_crds::object::Object;

use super::*;
use crate::testing::Shelf;

const NOW: i64 = 1_900_000_000;

fn policy() -> NamespacedName {
    NamespacedName::new("auth", "default")
}

fn body() -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth", "uid": "u1", "resourceVersion": "1"},
        "spec": {
            "token": {"issuer": "https://auth.example.com", "audiences": ["internal"]},
            "signing": {"managed": {"algorithm": "ES256"}},
            "risk": {"mode": "Off"},
            "mfa": {"mode": "Never"},
        },
    })
}

fn snapshot(keyring: &Keyring) -> Snapshot {
    let inputs = Inputs {
        objects: vec![Object::from_value(body(), None).expect("an object")],
        managed_keys: keyring.managed_keys(),
        managed_encryption_keys: keyring.managed_encryption_keys(),
        ..Inputs::default()
    };
    compile(&inputs).snapshot
}

fn cache() -> Cache {
    let cache = Cache::default();
    let object = serde_json::from_value(body()).expect("an object");
    cache.apply(Kind::SigninPolicy, object);
    cache
}

async fn load(shelf: &Shelf, published: Option<&Snapshot>) -> Keyring {
    let fence = Fence::default();
    fence.set(Some(Instant::now() + Duration::from_secs(60)));
    let loading = Keyring::load(shelf.client(), "own", Arc::new(fence), published, NOW);
    loading.await.expect("the shelf answers")
}

async fn rotate(keyring: &mut Keyring, cache: &Cache) -> Rotated {
    let snapshot = snapshot(keyring);
    keyring.rotate(&snapshot, cache, &[], NOW).await
}

fn kids(keyring: &Keyring) -> Vec<String> {
    let keys = keyring.policies.get(&policy());
    let keys = keys.iter().flat_map(|kept| &kept.keys.keys);
    keys.map(|key| key.kid.clone()).collect()
}

fn path() -> String {
    format!("/api/v1/namespaces/own/secrets/{}", secret_name(&policy()))
}

#[tokio::test]
async fn keys_are_stored_before_they_are_used_and_found_again() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    assert!(rotate(&mut keyring, &cache()).await.changed);
    assert!(shelf.get(&path()).is_some());
    assert!(
        !rotate(&mut keyring, &cache()).await.changed,
        "nothing more to do"
    );
    let again = load(&shelf, None).await;
    assert_eq!(kids(&again), kids(&keyring));
    assert_eq!(kids(&again).len(), 1);
}

#[tokio::test]
async fn a_key_that_cannot_be_stored_is_not_used() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    shelf.fail.store(503, Ordering::SeqCst);
    let rotated = rotate(&mut keyring, &cache()).await;
    assert_eq!(rotated.next_due, Some(NOW + RETRY_SECONDS));
    assert!(!rotated.changed && kids(&keyring).is_empty());
    shelf.fail.store(0, Ordering::SeqCst);
    assert!(rotate(&mut keyring, &cache()).await.changed);
    assert_eq!(kids(&keyring).len(), 1);
}

#[tokio::test]
async fn a_secret_that_somebody_deleted_is_written_again_with_the_same_keys() {
    let shelf = Shelf::default();
    let cache = cache();
    let mut keyring = load(&shelf, None).await;
    rotate(&mut keyring, &cache).await;
    let before = kids(&keyring);
    let name = secret_name(&policy());
    cache.owned_applied(name.clone(), "1".to_owned());
    shelf.remove(&path());
    cache.owned_deleted(&name);
    rotate(&mut keyring, &cache).await;
    assert!(shelf.get(&path()).is_some());
    assert_eq!(kids(&keyring), before);
}

#[tokio::test]
async fn lost_keys_are_recovered_from_what_is_published() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    rotate(&mut keyring, &cache()).await;
    let published = snapshot(&keyring);
    for lost in [None, Some(json!({"keys.json": "Z2FyYmFnZQ=="}))] {
        match lost {
            None => shelf.remove(&path()),
            Some(garbage) => {
                let mut secret = shelf.get(&path()).expect("it was written again");
                secret["data"] = garbage;
                shelf.put(&path(), secret);
            }
        }
        let mut again = load(&shelf, Some(&published)).await;
        assert_eq!(kids(&again), kids(&keyring));
        assert!(
            rotate(&mut again, &cache()).await.changed,
            "and stored again"
        );
        let states: Vec<KeyState> = snapshot(&again).policies["auth/default"]
            .signing_keys
            .iter()
            .map(|key| key.state)
            .collect();
        assert_eq!(states, [KeyState::Current]);
    }
}

fn encryption_key(keyring: &Keyring) -> Option<VestibuleSecret> {
    keyring.managed_encryption_keys().remove(&policy())
}

#[tokio::test]
async fn an_encryption_key_is_made_once_also_where_no_signing_key_is_managed() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    let mut published = snapshot(&keyring);
    let policy = Arc::make_mut(
        published
            .policies
            .get_mut("auth/default")
            .expect("it compiles"),
    );
    policy.managed = None;
    assert!(keyring.rotate(&published, &cache(), &[], NOW).await.changed);
    assert!(kids(&keyring).is_empty());
    let made = encryption_key(&keyring);
    assert!(made.is_some());
    assert!(!keyring.rotate(&published, &cache(), &[], NOW).await.changed);
    assert_eq!(encryption_key(&load(&shelf, None).await), made);
}

#[tokio::test]
async fn no_encryption_key_is_made_for_a_policy_that_names_its_own() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    let mut published = snapshot(&keyring);
    let policy = Arc::make_mut(
        published
            .policies
            .get_mut("auth/default")
            .expect("it compiles"),
    );
    policy.mfa.key_source = EncryptionKeySource::Secrets;
    keyring.rotate(&published, &cache(), &[], NOW).await;
    assert_eq!(encryption_key(&keyring), None);
}

#[tokio::test]
async fn a_lost_encryption_key_is_recovered_and_never_made_anew() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    rotate(&mut keyring, &cache()).await;
    let made = encryption_key(&keyring);
    let published = snapshot(&keyring);
    assert_eq!(
        published.policies["auth/default"]
            .mfa
            .keys
            .first()
            .map(|key| key.key.clone()),
        made,
    );
    let stored = shelf.get(&path()).expect("it was stored");
    let mut without = stored.clone();
    without["data"]
        .as_object_mut()
        .expect("data")
        .remove("encryption-key");
    for lost in [None, Some(without)] {
        match lost {
            None => shelf.remove(&path()),
            Some(secret) => {
                shelf.put(&path(), secret);
            }
        }
        let mut again = load(&shelf, Some(&published)).await;
        assert_eq!(encryption_key(&again), made);
        rotate(&mut again, &cache()).await;
        let stored_again = shelf.get(&path()).expect("and stored again");
        assert_eq!(
            stored_again["data"]["encryption-key"],
            stored["data"]["encryption-key"]
        );
    }
}

#[tokio::test]
async fn keys_go_with_their_policy_and_only_within_sight() {
    let shelf = Shelf::default();
    let mut keyring = load(&shelf, None).await;
    let with_policy = cache();
    rotate(&mut keyring, &with_policy).await;
    let (here, elsewhere) = (
        Scope::Named(vec!["auth".to_owned()]),
        Scope::Named(vec!["other".to_owned()]),
    );
    keyring.drop_others(&here, &with_policy).await;
    keyring.drop_others(&elsewhere, &Cache::default()).await;
    assert!(shelf.get(&path()).is_some());
    keyring.drop_others(&here, &Cache::default()).await;
    assert!(shelf.get(&path()).is_none() && kids(&keyring).is_empty());
}
