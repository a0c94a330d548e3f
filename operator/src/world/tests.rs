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

fn apply(world: &World, version: u64, spec: Value, status: Value) -> Changes {
    world.apply(Kind::OidcProvider, object(version, spec, status));
    world.take_changes()
}

#[test]
fn a_new_or_changed_spec_changes_the_configuration() {
    let world = World::default();
    assert!(apply(&world, 1, json!({"issuer": "a"}), Value::Null).configuration);
    assert!(apply(&world, 2, json!({"issuer": "b"}), Value::Null).configuration);
    assert!(!apply(&world, 3, json!({"issuer": "b"}), Value::Null).configuration);
}

#[test]
fn a_status_alone_changes_no_configuration_and_is_named() {
    let world = World::default();
    apply(&world, 1, json!({}), Value::Null);
    let changes = apply(&world, 2, json!({}), json!({"revision": "r"}));
    assert!(!changes.configuration);
    assert_eq!(changes.statuses, BTreeSet::from([key()]));
    let changes = apply(&world, 3, json!({}), json!({"revision": "r"}));
    assert!(changes.statuses.is_empty());
}

#[test]
fn an_unchanged_object_keeps_its_body() {
    let world = World::default();
    apply(&world, 1, json!({"issuer": "a"}), Value::Null);
    let before = world.entry(&key()).expect("it is there").object.body;
    apply(&world, 2, json!({"issuer": "a"}), json!({"revision": "r"}));
    let after = world.entry(&key()).expect("it is there").object.body;
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn a_body_that_is_no_provider_is_kept_for_compile_to_judge() {
    let world = World::default();
    apply(&world, 1, json!({"audiences": 7}), json!({"conditions": 7}));
    let entry = world.entry(&key()).expect("it is there");
    assert_eq!(entry.object.body["spec"]["audiences"], 7);
    assert_eq!(entry.status, None);
}

#[test]
fn an_older_version_changes_nothing() {
    let world = World::default();
    apply(&world, 5, json!({"issuer": "new"}), Value::Null);
    assert!(!apply(&world, 4, json!({"issuer": "old"}), Value::Null).configuration);
    let entry = world.entry(&key()).expect("it is there");
    assert_eq!(entry.object.body["spec"]["issuer"], "new");
}

#[test]
fn what_was_written_is_known_before_the_watch_brings_it() {
    let world = World::default();
    apply(&world, 1, json!({}), Value::Null);
    world.status_written(&key(), object(2, json!({}), json!({"revision": "r"})));
    let status = world.entry(&key()).and_then(|entry| entry.status);
    assert_eq!(
        status.and_then(|status| status.revision).as_deref(),
        Some("r")
    );
    assert!(
        apply(&world, 2, json!({}), json!({"revision": "r"}))
            .statuses
            .is_empty()
    );
}

#[test]
fn what_a_list_leaves_out_is_gone_within_its_reach() {
    let world = World::default();
    apply(&world, 1, json!({}), Value::Null);
    world.keep_only(Kind::OidcProvider, &BTreeSet::new(), |id| {
        id.namespace == "other"
    });
    world.keep_only(Kind::SigninPolicy, &BTreeSet::new(), |_| true);
    assert!(world.entry(&key()).is_some());
    world.keep_only(Kind::OidcProvider, &BTreeSet::new(), |_| true);
    assert!(world.entry(&key()).is_none());
    assert!(world.take_changes().configuration);
}

#[test]
fn an_annotation_that_asks_for_a_rotation_is_a_change() {
    let world = World::default();
    apply(&world, 1, json!({}), Value::Null);
    let mut asking = object(2, json!({}), Value::Null);
    asking.metadata.annotations = Some(BTreeMap::from([(
        ROTATE_ANNOTATION.to_owned(),
        "1".to_owned(),
    )]));
    world.apply(Kind::OidcProvider, asking);
    assert!(world.take_changes().configuration);
    assert_eq!(
        world
            .entry(&key())
            .and_then(|entry| entry.rotate)
            .as_deref(),
        Some("1")
    );
}

#[test]
fn an_object_being_deleted_is_gone() {
    let world = World::default();
    apply(&world, 1, json!({}), Value::Null);
    let mut going = object(2, json!({}), Value::Null);
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    world.apply(Kind::OidcProvider, going);
    assert!(world.entry(&key()).is_none());
}

#[test]
fn a_secret_of_ours_that_somebody_changed_or_deleted_is_seen() {
    let world = World::default();
    world.owned_written("s", "5");
    assert!(
        !world.is_disturbed("s"),
        "what was just written has not come back yet"
    );
    world.owned_applied("s".to_owned(), "5".to_owned());
    assert!(!world.is_disturbed("s") && !world.take_changes().configuration);
    world.owned_written("s", "6");
    assert!(!world.is_disturbed("s"), "an event from before the write");
    world.owned_applied("s".to_owned(), "7".to_owned());
    assert!(world.is_disturbed("s") && world.take_changes().configuration);
    world.owned_written("s", "8");
    world.owned_keep_only(&BTreeSet::new());
    assert!(world.is_disturbed("s") && world.take_changes().configuration);
    world.forget_loss("s");
    assert!(!world.is_disturbed("s"));
}

#[test]
fn a_long_request_for_a_rotation_is_told_by_its_digest() {
    assert_eq!(bounded(&"2026-01-01".to_owned()), "2026-01-01");
    let long = bounded(&"x".repeat(200_000));
    assert!(long.len() < 100 && long != bounded(&"y".repeat(200_000)));
}
