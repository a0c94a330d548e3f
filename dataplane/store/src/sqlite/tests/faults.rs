//! Faults while serving: each is told in a sentence, hurts no more than it must, and service returns when it is gone.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::conformance::rows::*;
use crate::{NewSession, Probe, Profile, ReadSession, Signin, SigninOutcome};

#[tokio::test]
async fn full_disk_refuses_the_batch_and_service_returns_with_the_space() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    // The bound cannot be less than the file is long: no page can be added any more.
    store
        .submit(Run("PRAGMA max_page_count = 1".to_owned()))
        .await
        .expect("it runs");
    let large = || {
        let signin = existing(user);
        let session = NewSession {
            carried: "x".repeat(64 * 1024),
            ..signin.session
        };
        Signin { session, ..signin }
    };
    let (release, held) = hold(&store);
    let (small, large_one) = (existing(user), large());
    let ids = [small.session.id, large_one.session.id];
    let waiting = [small, large_one].map(|signin| store.run(signin));
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    for commit in waiting {
        let sentence = unavailable(commit.await);
        assert!(
            sentence.contains("no space is left") && sentence.contains("vestibule.db"),
            "{sentence}"
        );
    }
    for id in ids {
        assert_eq!(read(&store.clone().into(), id).await, None);
    }
    store
        .submit(Run("PRAGMA max_page_count = 1000000".to_owned()))
        .await
        .expect("it runs");
    committed(&store.clone().into(), large()).await;
}

#[tokio::test]
async fn file_that_became_read_only_is_told_and_service_returns() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    store
        .submit(Run("PRAGMA query_only = ON".to_owned()))
        .await
        .expect("it runs");
    let sentence = unavailable(store.run(existing(user)).await);
    assert!(sentence.contains("cannot be written to"), "{sentence}");
    assert!(
        found(&store.clone().into(), identity("ann"))
            .await
            .is_some(),
        "it can be read all the while"
    );
    // The writer has opened the file anew.
    committed(&store.clone().into(), existing(user)).await;
}

#[tokio::test]
async fn file_that_was_moved_away_fails_the_probe_until_it_is_back() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    assert_eq!(store.run(Probe).await, Ok(()));
    let elsewhere = fixture.directory.path().join("elsewhere.db");
    fs::rename(fixture.path(), &elsewhere).expect("it moves");
    assert!(unavailable(store.run(Probe).await).contains("moved or replaced"));
    // A writer that has to open the file anew does not take another for it.
    fs::write(fixture.path(), "").expect("it is written");
    store
        .submit(Run("PRAGMA query_only = ON".to_owned()))
        .await
        .expect("it runs");
    unavailable(store.run(existing(user)).await);
    assert!(unavailable(store.run(existing(user)).await).contains("moved or replaced"));
    fs::rename(&elsewhere, fixture.path()).expect("it moves back");
    assert_eq!(store.run(Probe).await, Ok(()));
    committed(&store.clone().into(), existing(user)).await;
}

#[tokio::test]
async fn damaged_page_fails_what_needs_it_and_nothing_else() {
    let mut fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let session = signed_in(&store.clone().into(), user).await;
    drop(store);
    let root = fixture.number("SELECT rootpage FROM sqlite_schema WHERE name = 'identities'");
    fixture.close();
    let whole = fs::read(fixture.path()).expect("it is there");
    let start = (usize::try_from(root).expect("a page") - 1) * 4096;
    let mut damaged = whole.clone();
    damaged[start..start + 4096].fill(0xA5);
    fs::write(fixture.path(), &damaged).expect("it is written");

    fixture.open();
    let store = fixture.sqlite();
    let question = crate::Gather {
        identity: identity("ann"),
        linkable_email: None,
        history: false,
    };
    let sentence = unavailable(store.run(question).await);
    assert!(
        sentence.contains("is damaged: restore it from a backup"),
        "{sentence}"
    );
    assert!(read(&store.clone().into(), session).await.is_some());
    let (release, held) = hold(&store);
    let waiting =
        [existing(user), create("ben"), existing(user)].map(|signin| store.submit(signin));
    release.send(()).expect("the writer waits");
    held.await.expect("the hold ends");
    let [first, needs_the_page, last] = waiting;
    assert_eq!(
        (first.await, last.await),
        (Ok(SigninOutcome::Committed), Ok(SigninOutcome::Committed))
    );
    assert!(unavailable(needs_the_page.await).contains("is damaged"));

    let file = fs::File::options()
        .write(true)
        .open(fixture.path())
        .expect("it opens");
    file.write_all_at(&whole[start..start + 4096], start as u64)
        .expect("it is written");
    assert!(
        found(&store.clone().into(), identity("ann"))
            .await
            .is_some()
    );
    committed(&store.clone().into(), create("ben")).await;
}

#[tokio::test]
async fn page_that_was_repaired_is_read_without_a_restart() {
    let mut fixture = Sqlite::empty();
    created(&fixture.sqlite().into(), "ann", Profile::default()).await;
    let root = fixture.number("SELECT rootpage FROM sqlite_schema WHERE name = 'identities'");
    fixture.close();
    fixture.open();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(fixture.path())
        .expect("it opens");
    let start = (u64::try_from(root).expect("a page") - 1) * 4096;
    let mut whole = [0; 4096];
    file.read_exact_at(&mut whole, start).expect("it is read");
    file.write_all_at(&[0xA5; 4096], start)
        .expect("it is written");
    let store = fixture.sqlite();
    let question = crate::Gather {
        identity: identity("ann"),
        linkable_email: None,
        history: false,
    };
    assert!(unavailable(store.run(question).await).contains("is damaged"));
    file.write_all_at(&whole, start).expect("it is written");
    assert!(
        found(&store.clone().into(), identity("ann"))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn row_that_nobody_could_have_written_is_damage() {
    let fixture = Sqlite::empty();
    let store = fixture.sqlite();
    let user = created(&store.clone().into(), "ann", Profile::default()).await;
    let session = signed_in(&store.clone().into(), user).await;
    store
        .submit(Run("UPDATE sessions SET rotated = x'0102'".to_owned()))
        .await
        .expect("it runs");
    assert!(unavailable(store.run(ReadSession(session)).await).contains("is damaged"));
    store
        .submit(Run("UPDATE sessions SET rotated = NULL".to_owned()))
        .await
        .expect("it runs");
    assert!(read(&store.clone().into(), session).await.is_some());
}
