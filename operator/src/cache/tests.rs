use super::*;

fn object(version: u64, spec: Value, status: Value) -> Watched {
    let mut body = json!({
        "apiVersion": API_VERSION,
        "kind": "OidcProvider",
        "metadata": {
            "name": "corp",
            "namespace": "auth",
            "uid": "u1",
            "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    });
    if !status.is_null() {
        body["status"] = status;
    }
    serde_json::from_value(body).expect("an object")
}

fn key() -> Key {
    (Kind::OidcProvider, NamespacedName::new("auth", "corp"))
}

fn apply(cache: &Cache, version: u64, spec: Value, status: Value) -> Changes {
    cache.apply(Kind::OidcProvider, object(version, spec, status));
    cache.take_changes()
}

#[test]
fn a_new_or_changed_spec_changes_the_configuration() {
    let cache = Cache::default();
    assert!(apply(&cache, 1, json!({"issuer": "a"}), Value::Null).configuration);
    assert!(apply(&cache, 2, json!({"issuer": "b"}), Value::Null).configuration);
    assert!(!apply(&cache, 3, json!({"issuer": "b"}), Value::Null).configuration);
}

#[test]
fn a_status_alone_changes_no_configuration_and_is_named() {
    let cache = Cache::default();
    apply(&cache, 1, json!({}), Value::Null);
    let changes = apply(&cache, 2, json!({}), json!({"revision": "r"}));
    assert!(!changes.configuration);
    assert_eq!(changes.statuses, BTreeSet::from([key()]));
    let changes = apply(&cache, 3, json!({}), json!({"revision": "r"}));
    assert!(changes.statuses.is_empty());
}

#[test]
fn an_unchanged_object_keeps_its_body() {
    let cache = Cache::default();
    apply(&cache, 1, json!({"issuer": "a"}), Value::Null);
    let before = cache.entry(&key()).expect("it is there").object.body;
    apply(&cache, 2, json!({"issuer": "a"}), json!({"revision": "r"}));
    let after = cache.entry(&key()).expect("it is there").object.body;
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn a_body_that_is_no_provider_is_kept_for_compile_to_judge() {
    let cache = Cache::default();
    apply(&cache, 1, json!({"audiences": 7}), json!({"conditions": 7}));
    let entry = cache.entry(&key()).expect("it is there");
    assert_eq!(entry.object.body["spec"]["audiences"], 7);
    assert_eq!(entry.status, None);
}

#[test]
fn an_older_version_changes_nothing() {
    let cache = Cache::default();
    apply(&cache, 5, json!({"issuer": "new"}), Value::Null);
    assert!(!apply(&cache, 4, json!({"issuer": "old"}), Value::Null).configuration);
    let entry = cache.entry(&key()).expect("it is there");
    assert_eq!(entry.object.body["spec"]["issuer"], "new");
}

#[test]
fn what_was_written_is_known_before_the_watch_brings_it() {
    let cache = Cache::default();
    apply(&cache, 1, json!({}), Value::Null);
    cache.status_written(&key(), object(2, json!({}), json!({"revision": "r"})));
    let status = cache.entry(&key()).and_then(|entry| entry.status);
    assert_eq!(
        status.and_then(|status| status.revision).as_deref(),
        Some("r")
    );
    assert!(
        apply(&cache, 2, json!({}), json!({"revision": "r"}))
            .statuses
            .is_empty()
    );
}

#[test]
fn what_a_list_leaves_out_is_gone_within_its_reach() {
    let cache = Cache::default();
    apply(&cache, 1, json!({}), Value::Null);
    cache.keep_only(Kind::OidcProvider, &BTreeSet::new(), |id| {
        id.namespace == "other"
    });
    cache.keep_only(Kind::SigninPolicy, &BTreeSet::new(), |_| true);
    assert!(cache.entry(&key()).is_some());
    cache.keep_only(Kind::OidcProvider, &BTreeSet::new(), |_| true);
    assert!(cache.entry(&key()).is_none());
    assert!(cache.take_changes().configuration);
}

#[test]
fn an_annotation_that_asks_for_a_rotation_is_a_change() {
    let cache = Cache::default();
    apply(&cache, 1, json!({}), Value::Null);
    let mut asking = object(2, json!({}), Value::Null);
    asking.metadata.annotations = Some(BTreeMap::from([(
        ROTATE_ANNOTATION.to_owned(),
        "1".to_owned(),
    )]));
    cache.apply(Kind::OidcProvider, asking);
    assert!(cache.take_changes().configuration);
    assert_eq!(
        cache
            .entry(&key())
            .and_then(|entry| entry.rotate)
            .as_deref(),
        Some("1")
    );
}

#[test]
fn an_object_being_deleted_is_gone() {
    let cache = Cache::default();
    apply(&cache, 1, json!({}), Value::Null);
    let mut going = object(2, json!({}), Value::Null);
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    cache.apply(Kind::OidcProvider, going);
    assert!(cache.entry(&key()).is_none());
}

#[test]
fn a_secret_of_ours_that_somebody_changed_or_deleted_is_seen() {
    let cache = Cache::default();
    cache.owned_written("s", "5");
    assert!(
        !cache.is_disturbed("s"),
        "what was just written has not come back yet"
    );
    cache.owned_applied("s".to_owned(), "5".to_owned());
    assert!(!cache.is_disturbed("s") && !cache.take_changes().configuration);
    cache.owned_written("s", "6");
    assert!(!cache.is_disturbed("s"), "an event from before the write");
    cache.owned_applied("s".to_owned(), "7".to_owned());
    assert!(cache.is_disturbed("s") && cache.take_changes().configuration);
    cache.owned_written("s", "8");
    cache.owned_keep_only(&BTreeSet::new());
    assert!(cache.is_disturbed("s") && cache.take_changes().configuration);
    cache.forget_loss("s");
    assert!(!cache.is_disturbed("s"));
}

#[test]
fn a_long_request_for_a_rotation_is_told_by_its_digest() {
    assert_eq!(bounded(&"2026-01-01".to_owned()), "2026-01-01");
    let long = bounded(&"x".repeat(200_000));
    assert!(long.len() < 100 && long != bounded(&"y".repeat(200_000)));
}
