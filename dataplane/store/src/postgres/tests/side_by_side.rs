//! A rolling upgrade: a data plane of the version before goes on writing while this version brings the schema up to date, and
//! after that. The statements of that version stand here as it has them; a schema that breaks one of them breaks an upgrade.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Client;
use uuid::Uuid;

use super::server::Server;
use super::{created, opened};
use crate::conformance::rows::{
    DAY, NOW, POLICY, committed, digest, event, existing, identity, next_id, read, rotation,
    session,
};
use crate::postgres::{PostgresOptions, schema};
use crate::sessions::{LoggedOut, LogoutOutcome, Origin, ProviderLogout, SessionPage};
use crate::{EventKind, NewSession, Profile, ReplayKey, RotationOutcome, Signin, Store};

/// The schema of the version before.
const BEFORE: i64 = 5;

const SIGN_IN: &str = "\
    WITH owner AS MATERIALIZED (SELECT id, status, sessions_valid_from FROM users WHERE id = $18 FOR SHARE), \
    may AS MATERIALIZED (SELECT id, sessions_valid_from FROM owner WHERE status = 'active'), \
    made AS (INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, \
    carried) SELECT $1::uuid, id, $2::text, greatest($7::bigint, sessions_valid_from), $3::bytea, $4::bigint, \
    $5::bigint, $6::text FROM may), \
    told AS (INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, \
    detail) SELECT $8::bigint, $9::text, $10::text, $11::text, $12::text, $13::uuid, $14::uuid, $15::text, \
    $16::text, $17::text FROM may) \
    SELECT (SELECT status FROM owner), EXISTS (SELECT 1 FROM may)";
const READ: &str = "\
    SELECT s.id, s.provider, s.created_at, s.refresh_digest, s.refresh_expires_at, s.ends_at, s.ended_at, \
    s.rotated, s.carried, u.id, u.policy, u.username, u.email, u.email_verified, u.phone, u.status, u.created_at, \
    u.sessions_valid_from, u.password_changed_at, u.password_must_change \
    FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1";
const ROTATE: &str = "\
    WITH owner AS MATERIALIZED (\
        SELECT u.id, u.status, u.sessions_valid_from FROM users u \
        WHERE u.id = (SELECT user_id FROM sessions WHERE id = $1) FOR SHARE), \
    changed AS (\
        UPDATE sessions s SET refresh_digest = $3, refresh_expires_at = $4, rotated = $5 FROM owner \
        WHERE s.id = $1 AND s.refresh_digest = $2 AND s.ended_at IS NULL AND s.refresh_expires_at > $6 AND s.ends_at > $6 \
        AND owner.id = s.user_id AND owner.status = 'active' AND owner.sessions_valid_from <= s.created_at RETURNING 1) \
    INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
    SELECT $7::bigint, $8::text, $9::text, $10::text, $11::text, $12::uuid, $13::uuid, $14::text, $15::text, $16::text FROM changed";
const PERSON: &str = "\
    INSERT INTO users (id, policy, username, email, email_verified, phone, status, created_at, sessions_valid_from) \
    VALUES ($1, $2, 'ann', NULL, FALSE, NULL, 'active', $3, 0)";
const IDENTITY: &str =
    "INSERT INTO identities (policy, issuer, subject, user_id) VALUES ($1, $2, $3, $4)";

/// A data plane of the version before, with its statements prepared once, as it keeps them.
struct Previous {
    client: Client,
    sign_in: tokio_postgres::Statement,
    read: tokio_postgres::Statement,
    rotate: tokio_postgres::Statement,
}

impl Previous {
    async fn start(server: &Server, user: &str) -> Self {
        let client = server.client(user).await;
        let prepared = async |text| client.prepare(text).await.expect("it is of this schema");
        Self {
            sign_in: prepared(SIGN_IN).await,
            read: prepared(READ).await,
            rotate: prepared(ROTATE).await,
            client,
        }
    }

    async fn created(&self, subject: &str) -> Uuid {
        let (id, of) = (next_id(), identity(subject));
        let made = self.client.execute(PERSON, &[&id, &POLICY, &NOW]).await;
        made.expect("a user");
        let identity = &[&of.policy as _, &of.issuer as _, &of.subject as _, &id as _];
        let named = self.client.execute(IDENTITY, identity).await;
        named.expect("an identity");
        id
    }

    async fn signed_in(&self, user: Uuid) -> Result<Uuid, tokio_postgres::Error> {
        let made = session();
        let none = None::<Uuid>;
        let row = self
            .client
            .query_one(
                &self.sign_in,
                &[
                    &made.id,
                    &made.provider,
                    &made.refresh_digest.as_slice(),
                    &made.refresh_expires_at,
                    &made.ends_at,
                    &made.carried,
                    &NOW,
                    &NOW,
                    &"signin",
                    &"ok",
                    &POLICY,
                    &made.provider,
                    &none,
                    &none,
                    &"r-1",
                    &"192.0.2.0/24",
                    &"",
                    &user,
                ],
            )
            .await?;
        assert!(row.get::<_, bool>(1), "it is written");
        Ok(made.id)
    }

    async fn rotated(&self, session: Uuid, from: [u8; 32], to: [u8; 32]) -> u64 {
        let none = None::<Uuid>;
        self.client
            .execute(
                &self.rotate,
                &[
                    &session,
                    &from.as_slice(),
                    &to.as_slice(),
                    &(NOW + 2 * DAY),
                    &Vec::<u8>::new(),
                    &(NOW + 60),
                    &NOW,
                    &"refresh",
                    &"ok",
                    &POLICY,
                    &"shop/example",
                    &none,
                    &none,
                    &"r-2",
                    &"192.0.2.0/24",
                    &"",
                ],
            )
            .await
            .expect("it is asked")
    }
}

fn page(user: Uuid) -> SessionPage {
    SessionPage {
        user,
        after: None,
        limit: 100,
        now: NOW,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_before_goes_on_writing_while_the_schema_grows_and_after() {
    let server = Server::shared();
    let name = created(&server).await;
    let mut owner = server.client(&name).await;
    schema::bring_to(&mut owner, BEFORE).await;
    let previous = Arc::new(Previous::start(&server, &name).await);
    let ann = previous.created("ann").await;
    let before = previous.signed_in(ann).await.expect("a session");

    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (Arc::clone(&previous), Arc::clone(&stop));
    let writing = tokio::spawn(async move {
        let mut sessions = Vec::new();
        while !stopped.load(Ordering::SeqCst) {
            sessions.push(writer.signed_in(ann).await.expect("no write fails"));
        }
        sessions
    });
    let store = opened(&server.url(&name), PostgresOptions::default()).await;
    let store = Store::from(store.expect("it brings the schema up to date beside a writer"));
    let after = previous.signed_in(ann).await.expect("it still writes");
    stop.store(true, Ordering::SeqCst);
    let meanwhile = writing.await.expect("no write fails");
    assert!(!meanwhile.is_empty());

    // What the version before wrote, this one reads, lists, refreshes and ends.
    for id in [before, after, meanwhile[0]] {
        let (session, user) = read(&store, id).await.expect("it is there");
        assert_eq!((user.id, session.origin), (ann, Origin::default()));
        assert_eq!((session.last_used_at, session.network), (None, None));
    }
    let listed = store.run(page(ann)).await.expect("they are read");
    assert!(
        listed.len() == 100.min(meanwhile.len() + 2),
        "{}",
        listed.len()
    );
    let rotation = rotation(after, digest(after));
    let new_digest = rotation.new_digest;
    assert_eq!(store.run(rotation).await, Ok(RotationOutcome::Rotated));

    // And the other way: the version before reads and refreshes what this one wrote.
    assert_eq!(previous.rotated(after, new_digest, [9; 32]).await, 1);
    let ben = created_user(&store, "ben").await;
    let signin = existing(ben);
    let made = NewSession {
        device: Some("Firefox, Linux".to_owned()),
        origin: Origin::of(&identity("ben").issuer, "ben", Some("s-1")),
        ..signin.session.clone()
    };
    let (id, origin) = (made.id, made.origin);
    committed(
        &store,
        Signin {
            session: made,
            ..signin
        },
    )
    .await;
    let row = previous.client.query_one(&previous.read, &[&id]).await;
    assert_eq!(row.expect("it is read").get::<_, Uuid>(9), ben);
    assert_eq!(previous.rotated(id, digest(id), [8; 32]).await, 1);
    let (session, _) = read(&store, id).await.expect("it is there");
    assert_eq!((session.refresh_digest, session.origin), ([8; 32], origin));

    // A session that does not say where it comes from ends with its subject.
    let logout = ProviderLogout {
        meant: vec![LoggedOut {
            provider: "shop/example".to_owned(),
            tokens_live: 3630,
            identity: identity("ann"),
        }],
        subject: Some("ann".to_owned()),
        sid: Some("any".to_owned()),
        issued_at: NOW,
        replay: ReplayKey {
            expires_at: NOW + 60,
            digest: [1; 32],
        },
        event: event(EventKind::ProviderLogout),
        now: NOW,
    };
    let ended = store.run(logout).await;
    assert_eq!(ended, Ok(LogoutOutcome::Ended(meanwhile.len() + 2)));
    assert_eq!(store.run(page(ann)).await, Ok(Vec::new()));
    assert_eq!(previous.rotated(before, digest(before), [7; 32]).await, 0);
}

async fn created_user(store: &Store, subject: &str) -> Uuid {
    crate::conformance::rows::created(store, subject, Profile::default()).await
}
