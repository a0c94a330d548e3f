//! PostgreSQL has no character 0: a key with one is refused and never becomes another key, and a
//! text that is only read has U+FFFD in its place.

use super::Postgres;
use crate::conformance::Fixture as _;
use crate::conformance::rows::*;
use crate::{Event, EventKind};

#[tokio::test]
async fn an_identity_with_the_character_0_never_becomes_another_identity() {
    let fixture = Postgres::empty().await;
    let store = fixture.store();
    let refused = store.run(create("a\0b")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(found(&store, identity("a\u{FFFD}b")).await, None);
    assert_eq!(fixture.ask("SELECT count(*) FROM users").await, 0);
    committed(&store, create("a\u{FFFD}b")).await;
    assert!(found(&store, identity("a\u{FFFD}b")).await.is_some());
}

#[tokio::test]
async fn a_detail_with_the_character_0_is_kept() {
    let fixture = Postgres::empty().await;
    let store = fixture.store();
    assert!(store.record(Event {
        detail: "a\0b".to_owned(),
        ..event(EventKind::Signin)
    }));
    assert_eq!(store.flush().await, Ok(()));
    let kept = "SELECT count(*) FROM events WHERE detail = 'a' || chr(65533) || 'b'";
    assert_eq!(fixture.ask(kept).await, 1);
}
