//! A database that goes, hangs, fills up, or becomes a standby: an error within 2 s, and service within 2 s of its return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::Server;
use super::{ANSWERED_WITHIN, Postgres, assert_says, opened, unavailable, until_ok};
use crate::conformance::Fixture as _;
use crate::conformance::rows::*;
use crate::postgres::PostgresOptions;
use crate::{
    EndSession, EventKind, Gather, Probe, Profile, ReadSession, RotationOutcome, Signin,
    SigninOutcome, Store, StoreError,
};

/// What a loaded machine may add to the store's own limits.
const TOLERANCE: Duration = Duration::from_millis(1500);

/// Every kind of question fails, each in time, and all of them at once.
async fn all_fail_in_time(store: &Arc<Store>) -> String {
    let began = Instant::now();
    let id = next_id();
    let question = Gather {
        identity: identity("ann"),
        linkable_email: None,
        history: false,
    };
    let signins = (0..40).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.run(create("ben")).await })
    });
    let signins: Vec<_> = signins.collect();
    let (gathered, read, rotated, ended, probed) = tokio::join!(
        store.run(question),
        store.run(ReadSession(id)),
        store.run(rotation(id, digest(id))),
        store.run(EndSession {
            id,
            now: NOW,
            event: event(EventKind::Signout)
        }),
        store.run(Probe),
    );
    for signin in signins {
        unavailable(signin.await.expect("no task panics"));
    }
    let took = began.elapsed();
    assert!(took < ANSWERED_WITHIN + TOLERANCE, "{took:?}");
    unavailable(gathered);
    unavailable(read);
    unavailable(rotated);
    unavailable(ended);
    unavailable(probed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_told_at_once_and_used_again_when_it_is_back() {
    let fixture = Postgres::on(Arc::new(Server::start()), PostgresOptions::default()).await;
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let session = signed_in(&store, user).await;
    for _ in 0..2 {
        fixture.server.tell("kill");
        let sentence = all_fail_in_time(&store).await;
        assert_says(&sentence, &["cannot be reached", "127.0.0.1"]);
        assert!(!sentence.contains(&fixture.server.password));
        // Told while nobody listens, and written when somebody does.
        assert!(store.record(event(EventKind::Refresh)));

        fixture.server.tell("start");
        let took = until_ok(|| store.run(Probe)).await;
        assert!(took < ANSWERED_WITHIN, "{took:?}");
        assert!(read(&store, session).await.is_some());
        committed(&store, existing(user)).await;
    }
    assert_eq!(store.flush().await, Ok(()));
    let recorded = "SELECT count(*) FROM events WHERE kind = 'refresh'";
    assert_eq!(fixture.number(recorded).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_in_time_and_used_again_when_it_goes_on() {
    let fixture = Postgres::on(Arc::new(Server::start()), PostgresOptions::default()).await;
    let store = fixture.store();
    committed(&store, create("ann")).await;
    fixture.server.tell("freeze");
    all_fail_in_time(&store).await;
    fixture.server.tell("thaw");
    let took = until_ok(|| store.run(Probe)).await;
    assert!(took < ANSWERED_WITHIN, "{took:?}");
    committed(&store, create("cid")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_locks_holds_up_only_those_who_need_it() {
    let fixture = Postgres::empty().await;
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let ben = created(&store, "ben", Profile::default()).await;
    let other = fixture.server.client(&fixture.user).await;
    other
        .batch_execute(&format!(
            "BEGIN; SELECT 1 FROM users WHERE id = '{ann}' FOR UPDATE"
        ))
        .await
        .expect("it locks");
    let began = Instant::now();
    let (blocked, free) = tokio::join!(store.run(existing(ann)), store.run(existing(ben)));
    assert_eq!(free, Ok(SigninOutcome::Committed));
    assert_says(&unavailable(blocked), &["longer than it may"]);
    assert!(began.elapsed() < ANSWERED_WITHIN + TOLERANCE);
    other.batch_execute("ROLLBACK").await.expect("it lets go");
    committed(&store, existing(ann)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_finds_the_queue_full_is_told_that_it_is_busy() {
    let options = PostgresOptions {
        connections: 1,
        waiting_max: 1,
        ..PostgresOptions::default()
    };
    let fixture = Postgres::on(Server::shared(), options).await;
    let store = fixture.store();
    let ann = created(&store, "ann", Profile::default()).await;
    let other = fixture.server.client(&fixture.user).await;
    other
        .batch_execute(&format!(
            "BEGIN; SELECT 1 FROM users WHERE id = '{ann}' FOR UPDATE"
        ))
        .await
        .expect("it locks");
    let (one, two, three) = tokio::join!(
        store.run(existing(ann)),
        store.run(existing(ann)),
        store.run(existing(ann)),
    );
    unavailable(one);
    unavailable(two);
    assert_eq!(three, Err(StoreError::Busy));
    other.batch_execute("ROLLBACK").await.expect("it lets go");
    committed(&store, existing(ann)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_find_their_queue_full_are_dropped_and_said_to_be() {
    let options = PostgresOptions {
        events_max: 2,
        ..PostgresOptions::default()
    };
    let fixture = Postgres::on(Arc::new(Server::start()), options).await;
    fixture.server.tell("kill");
    let store = fixture.store();
    let mut taken = 0;
    while store.record(refusal()) {
        taken += 1;
        assert!(taken < 10_000, "the queue is bounded");
    }
    // What is no refusal still has room.
    assert!(store.record(event(EventKind::UserChange)));
    taken += 1;
    fixture.server.tell("start");
    assert_eq!(store.flush().await, Ok(()));
    let written = fixture.number("SELECT count(*) FROM events").await;
    assert_eq!(written, i64::from(taken));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_any_more_is_left_for_one_that_does() {
    let (_servers, [on_old, on_new, on_both]) = two_servers().await;
    let store = opened(&on_both, PostgresOptions::default()).await;
    let store: Store = store.expect("it opens").into();
    committed(&store, create("ann")).await;
    assert_eq!(users(&on_old).await, 1);

    fence(&on_old, "on").await;
    let began = Instant::now();
    committed(&store, create("ben")).await;
    assert!(began.elapsed() < ANSWERED_WITHIN);
    assert_eq!((users(&on_old).await, users(&on_new).await), (1, 1));
    // Neither takes writes: an error that says so, and service as soon as one does.
    fence(&on_new, "on").await;
    let refused = unavailable(store.run(create("cid")).await);
    assert_says(&refused, &["read-only"]);
    fence(&on_old, "off").await;
    let took = until_ok(|| store.run(Probe)).await;
    assert!(took < ANSWERED_WITHIN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_left_for_the_next_and_not_waited_for_again() {
    let ([old, _new], [on_old, on_new, on_both]) = two_servers().await;
    let options = PostgresOptions {
        connections: 1,
        ..PostgresOptions::default()
    };
    let store: Store = opened(&on_both, options).await.expect("it opens").into();
    committed(&store, create("ann")).await;
    assert_eq!(users(&on_old).await, 1);
    old.tell("freeze");
    let took = until_ok(|| store.run(create("ben"))).await;
    assert!(took < 2 * ANSWERED_WITHIN + TOLERANCE, "{took:?}");
    assert_eq!(users(&on_new).await, 1);

    // Its connection goes, and the next is made where the last one was.
    let admin = client(&on_new).await;
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'postgres'";
    admin.batch_execute(others).await.expect("it can");
    let took = until_ok(|| store.run(create("cid"))).await;
    assert!(took < Duration::from_millis(700), "{took:?}");
    old.tell("thaw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_leaves_no_transaction_open() {
    let options = PostgresOptions {
        connections: 1,
        ..PostgresOptions::default()
    };
    let fixture = Postgres::on(Server::shared(), options).await;
    let store = fixture.store();
    let ann = created(&store, "ann", verified("ann@shop.example")).await;
    for wait in 0..60 {
        let subject = next_id().to_string();
        let going = store.run(link(ann, &subject, "ann@shop.example"));
        let _gone = tokio::time::timeout(Duration::from_micros(wait * 50), going).await;
        let replay = token(NOW + 60, u8::try_from(wait).expect("it is small"));
        let after = Signin {
            replay,
            ..existing(ann)
        };
        assert_eq!(store.run(after).await, Ok(SigninOutcome::Committed));
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND state LIKE 'idle in%'";
    assert_eq!(fixture.number(open).await, 0);
    // Each link is whole or not there.
    let halves = "SELECT count(*) FROM identities i WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = i.user_id)";
    assert_eq!(fixture.number(halves).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_met_a_restart_is_there_or_not_and_never_half() {
    let fixture = Postgres::on(Arc::new(Server::start()), PostgresOptions::default()).await;
    let store = fixture.store();
    let user = created(&store, "ann", Profile::default()).await;
    let session = signed_in(&store, user).await;
    let rotating = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut last = digest(session);
            loop {
                let next = rotation(session, last);
                let new = next.new_digest;
                match store.run(next).await {
                    Ok(RotationOutcome::Rotated) => last = new,
                    Ok(RotationOutcome::Changed) => panic!("nobody else rotates"),
                    Err(_) => return (last, new),
                }
            }
        })
    };
    fixture.server.tell("kill");
    let (answered, under_way) = rotating.await.expect("nobody else rotates");
    fixture.server.tell("start");
    until_ok(|| store.run(Probe)).await;
    let (session, _) = read(&store, session).await.expect("it is there");
    assert!([answered, under_way].contains(&session.refresh_digest));
}

/// Two, each with the schema and the same password, as replication would have it; and the URLs of each and of both.
async fn two_servers() -> ([Server; 2], [String; 3]) {
    let [one, other] = [Server::start(), Server::start()];
    let password = format!("ALTER ROLE postgres PASSWORD '{}'", one.password);
    other.run("postgres", &password).await;
    let places = [one.port, other.port].map(|port| format!("127.0.0.1:{port}"));
    let urls = [&places[0], &places[1], &places.join(",")]
        .map(|place| format!("postgres://postgres:{}@{place}/postgres", one.password));
    for url in &urls[..2] {
        let store = opened(url, PostgresOptions::default()).await;
        drop(store.expect("it opens"));
    }
    ([one, other], urls)
}

async fn users(url: &str) -> i64 {
    let row = client(url)
        .await
        .query_one("SELECT count(*) FROM users", &[])
        .await;
    row.expect("a row").get(0)
}

/// As an administrator keeps writes from a server that is being replaced. Once this returns, no session takes any.
async fn fence(url: &str, on: &str) {
    let admin = client(url).await;
    let set = format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
    for sql in [
        // The session itself may be fenced.
        "SET default_transaction_read_only = off",
        &set,
        "RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(sql).await.expect("it can");
    }
    // Each session reads its configuration before its next statement once the server has read it.
    loop {
        let row = client(url).await;
        let row = row
            .query_one("SHOW default_transaction_read_only", &[])
            .await;
        if row.expect("a row").get::<_, String>(0) == on {
            return;
        }
    }
}

async fn client(url: &str) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("the server is there");
    tokio::spawn(connection);
    client
}
