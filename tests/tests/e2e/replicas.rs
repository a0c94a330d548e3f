//! Three data planes on one PostgreSQL, behind a client that asks them in turn: for a caller they are one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_dataplane::clock::Clock;
use vestibule_store::{SetUserStatus, UserStatus};
use vestibule_tests::e2e::manifests::{file, policy, secret, with};
use vestibule_tests::e2e::{Client, Load, LocalIssuer, Postgres, Reply, Service, eventually, is};

#[path = "replicas/people.rs"]
mod people;

const REPLICAS: usize = 3;
const AT_ONCE: usize = 50;

struct Replicas {
    postgres: Arc<Postgres>,
    issuer: Arc<LocalIssuer>,
    services: Vec<Service>,
    turn: AtomicUsize,
}

impl Replicas {
    async fn start() -> Self {
        Self::with(|issuer| issuer.provider()).await
    }

    async fn with(provider: impl Fn(&LocalIssuer) -> Value) -> Self {
        Self::serving(provider, policy()).await
    }

    /// All with the same manifests, and so with the same keys.
    async fn serving(provider: impl Fn(&LocalIssuer) -> Value, policy: Value) -> Self {
        let postgres = Postgres::start();
        let issuer = Arc::new(LocalIssuer::new());
        let pem = SigningKey::generate(SigningAlgorithm::ES256).expect("a key can be made");
        let signing = json!({"secretRefs": [{"name": "signing", "key": "tls.key"}]});
        let sealing = json!([{"name": "sealing", "key": "key"}]);
        let policy = with(policy, "/spec/signing", signing);
        let manifests = [
            provider(&issuer),
            with(policy, "/spec/mfa/encryptionKeys", sealing),
            secret("signing", "tls.key", pem.expose()),
            secret("sealing", "key", &"0123456789abcdef".repeat(4)),
        ];
        // All at once, on an empty database.
        let starting = (0..REPLICAS).map(|_| {
            let builder = Service::builder()
                .manifests("all.yaml", &manifests)
                .argument("--database")
                .argument(postgres.url());
            tokio::spawn(builder.start())
        });
        let mut services = Vec::with_capacity(REPLICAS);
        for service in starting.collect::<Vec<_>>() {
            services.push(service.await.expect("it starts"));
        }
        Self {
            postgres,
            issuer,
            services,
            turn: AtomicUsize::new(0),
        }
    }

    /// Whose turn it is.
    fn next(&self) -> &Service {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.services[turn % REPLICAS]
    }

    async fn signin(&self, subject: &str) -> Reply {
        self.next().signin(&self.issuer.id_token(subject)).await
    }

    /// The same request to all of them in turn, `AT_ONCE` times together.
    async fn at_once(&self, path: &str, body: &Value) -> Vec<Reply> {
        let asking = (0..AT_ONCE).map(|_| {
            let (url, body) = (self.next().url(path), body.clone());
            tokio::spawn(async move { Client::new().post(&url, &body).await })
        });
        let mut replies = Vec::with_capacity(AT_ONCE);
        for asked in asking.collect::<Vec<_>>() {
            replies.push(asked.await.expect("no task panics").expect("an answer"));
        }
        replies
    }
}

#[tokio::test]
async fn a_session_of_one_replica_lives_at_all_of_them() {
    let replicas = Replicas::start().await;
    let [a, b, c] = &replicas.services[..] else {
        panic!("there are three");
    };
    let signed_in = a.signin(&replicas.issuer.id_token("alice")).await;
    assert_eq!(signed_in.code(), "ok", "{}", signed_in.body);
    let user = signed_in.json()["user"]["id"].clone();
    assert_eq!(
        b.userinfo(&signed_in.text("access_token")).await.json()["id"],
        user
    );
    let refreshed = c.refresh(&signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.json()["user"]["id"], user);
    let again = b.signin(&replicas.issuer.id_token("alice")).await;
    assert_eq!(again.json()["user"]["id"], user, "one person is one user");

    let revoke = json!({"token": refreshed.text("refresh_token")});
    assert_eq!(a.post("/auth/token/revoke", &revoke).await.code(), "ok");
    for service in &replicas.services {
        let over = service.refresh(&refreshed.text("refresh_token")).await;
        assert_eq!(over.code(), "refresh_token_invalid");
    }
}

#[tokio::test]
async fn fifty_refreshes_at_three_replicas_are_one_session_and_log_nobody_out() {
    let replicas = Replicas::start().await;
    let signed_in = replicas.signin("alice").await;
    let old = signed_in.text("refresh_token");
    let replies = replicas
        .at_once("/auth/token/refresh", &json!({"refresh_token": old}))
        .await;
    let tokens: HashSet<String> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.code(), "ok", "{}", reply.body);
            reply.text("refresh_token")
        })
        .collect();
    assert_eq!(tokens.len(), 1, "one live token");
    for token in &tokens {
        assert_eq!(replicas.next().refresh(token).await.code(), "ok");
    }

    // Past the grace the old one ends the session, at whichever replica it is presented.
    eventually("the grace is over", || async {
        let code = replicas.next().refresh(&old).await.code();
        is(code, "refresh_token_reused".to_owned())
    })
    .await;
    for token in &tokens {
        let over = replicas.next().refresh(token).await;
        assert_eq!(over.code(), "refresh_token_invalid");
    }
}

#[tokio::test]
async fn a_token_signs_in_once_whichever_replica_it_comes_to() {
    let replay = |issuer: &LocalIssuer| with(issuer.provider(), "/spec/token/replay", "Reject");
    let replicas = Replicas::with(replay).await;
    // Somebody new, and somebody known.
    for round in 0..2 {
        let id_token = replicas.issuer.sign(&with(
            replicas.issuer.claims("alice"),
            "/jti",
            format!("{round}"),
        ));
        let replies = replicas
            .at_once("/auth/id-token/signin", &json!({"id_token": id_token}))
            .await;
        let accepted = replies.iter().filter(|reply| reply.status == 200).count();
        let replayed = replies
            .iter()
            .filter(|reply| reply.status != 200 && reply.code() == "token_replayed");
        assert_eq!(
            (accepted, replayed.count()),
            (1, AT_ONCE - 1),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn an_assertion_proves_a_client_once_whichever_replica_it_comes_to() {
    const EVERYTHING: [&str; 4] = [
        "TokenExchange",
        "RefreshToken",
        "Introspection",
        "Revocation",
    ];
    let signer = LocalIssuer::new();
    let jwks = json!({"keys": [signer.key.jwk]});
    let clients =
        json!([{"clientId": "gateway", "allow": EVERYTHING, "privateKeyJwt": {"jwks": jwks}}]);
    let policy = with(policy(), "/spec/oauth/clients", clients);
    let replicas = Replicas::serving(LocalIssuer::provider, policy).await;
    let assertion = |jti: &str| {
        let now = Clock::System.now();
        signer.sign(&json!({
            "iss": "gateway",
            "sub": "gateway",
            "aud": "https://auth.example.com",
            "exp": now + 120,
            "jti": jti,
        }))
    };
    let proved = |token: &str, assertion: &str| {
        [
            ("token", token.to_owned()),
            ("client_assertion", assertion.to_owned()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
            ),
        ]
    };
    let signed_in = replicas.signin("alice").await;
    let access = signed_in.text("access_token");

    let once = proved(&access, &assertion("once"));
    let asking = (0..AT_ONCE).map(|_| {
        let (url, form) = (replicas.next().url("/oauth2/introspect"), once.clone());
        tokio::spawn(async move { Client::new().post_form(&url, &form).await })
    });
    let mut outcomes = HashMap::new();
    for asked in asking.collect::<Vec<_>>() {
        let reply = asked.await.expect("no task panics").expect("an answer");
        let answer = (reply.status, reply.json()["active"] == true);
        *outcomes.entry(answer).or_insert(0) += 1;
    }
    let expected = HashMap::from([((200, true), 1), ((401, false), AT_ONCE - 1)]);
    assert_eq!(outcomes, expected);

    // What one replica ended is over at all of them.
    let client = Client::new();
    let end = proved(&access, &assertion("end"));
    let url = replicas.next().url("/oauth2/revoke");
    let revoked = client.post_form(&url, &end).await.expect("an answer");
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    for (number, service) in replicas.services.iter().enumerate() {
        let look = proved(&access, &assertion(&format!("look-{number}")));
        let url = service.url("/oauth2/introspect");
        let said = client.post_form(&url, &look).await.expect("an answer");
        assert_eq!(said.json(), json!({"active": false}));
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_everywhere() {
    let replicas = Replicas::start().await;
    let store = replicas.postgres.store().await;
    let signed_in = replicas.signin("alice").await;
    let bob = replicas.signin("bob").await;
    let id = signed_in.json()["user"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let id = id.parse().expect("it is a UUID");
    let disabled = store
        .run(SetUserStatus {
            user: id,
            status: UserStatus::Disabled,
            now: 1,
        })
        .await;
    assert_eq!(disabled, Ok(true));
    for service in &replicas.services {
        let signin = service.signin(&replicas.issuer.id_token("alice")).await;
        assert_eq!(signin.code(), "user_disabled");
        let refresh = service.refresh(&signed_in.text("refresh_token")).await;
        assert_ne!(refresh.code(), "ok");
        let info = service.userinfo(&signed_in.text("access_token")).await;
        assert_eq!(info.code(), "user_disabled");
    }
    // Nobody else is.
    assert_eq!(
        replicas
            .next()
            .refresh(&bob.text("refresh_token"))
            .await
            .code(),
        "ok"
    );

    let active = store
        .run(SetUserStatus {
            user: id,
            status: UserStatus::Active,
            now: 2,
        })
        .await;
    assert_eq!(active, Ok(true));
    assert_eq!(replicas.signin("alice").await.code(), "ok");
}

#[tokio::test]
async fn a_suspended_provider_signs_nobody_in_and_refreshes_nobody() {
    let replicas = Replicas::start().await;
    let signed_in = replicas.signin("alice").await;
    let suspended = with(replicas.issuer.provider(), "/spec/suspended", true);
    for service in &replicas.services {
        let before = service.revision().await;
        let path = service.builder.directory().join("all.yaml");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let (_, others) = text.split_once("---\n").expect("there are several");
        let changed = format!("{}---\n{others}", file(std::slice::from_ref(&suspended)));
        std::fs::write(&path, changed).expect("it can be written");
        service.serves_another_than(&before).await;
        let signin = service.signin(&replicas.issuer.id_token("alice")).await;
        assert_eq!(signin.code(), "provider_suspended");
        let refresh = service.refresh(&signed_in.text("refresh_token")).await;
        assert_eq!(refresh.code(), "provider_suspended");
    }
}

const ROUNDS: usize = 10;
const CONNECTIONS: usize = 6;
/// Requests of a round before the kill.
const REQUESTS: usize = 24;

/// What a caller was told, and must find again.
struct Told {
    subject: String,
    user: String,
    refresh: String,
    /// Whether a rotation was under way that was not answered.
    unsure: bool,
}

/// Even rounds kill the database, odd ones a replica.
#[tokio::test]
async fn nothing_that_was_answered_is_lost_when_the_database_or_a_replica_is_killed_ten_times() {
    let mut replicas = Replicas::start().await;
    let mut users: HashMap<String, String> = HashMap::new();
    for round in 0..ROUNDS {
        let bases: Vec<String> = replicas.services.iter().map(|one| one.url("")).collect();
        let issuer = Arc::clone(&replicas.issuer);
        let load = Load::start(CONNECTIONS, move |client, number| {
            // Somebody known, or somebody new.
            let subject = match number % 2 {
                0 => format!("regular-{}", number / 2 % 5),
                _ => format!("new-{round}-{number}"),
            };
            let id_token = issuer.id_token(&subject);
            let (first, second) = (
                bases[number % REPLICAS].clone(),
                bases[(number + 1) % REPLICAS].clone(),
            );
            async move { sign_in_and_refresh(&client, [&first, &second], subject, &id_token).await }
        });
        load.more(REQUESTS).await;
        if round % 2 == 0 {
            replicas.postgres.tell("kill").await;
            load.more(CONNECTIONS).await;
            replicas.postgres.tell("start").await;
        } else {
            let killed = replicas.services.remove(round % REPLICAS).kill();
            load.more(CONNECTIONS).await;
            replicas.services.push(killed.start().await);
        }
        let told: Vec<Told> = load.finish().await.into_iter().flatten().collect();
        assert!(
            told.len() >= CONNECTIONS,
            "round {round}: the load was answered"
        );
        for service in &replicas.services {
            eventually("it is ready again", || async {
                is(service.admin_get("/readyz").await.status, 200)
            })
            .await;
        }
        for one in told {
            let known = users
                .entry(one.subject.clone())
                .or_insert_with(|| one.user.clone());
            assert_eq!(
                *known, one.user,
                "round {round}: {} is one user",
                one.subject
            );
            let refreshed = replicas.next().refresh(&one.refresh).await;
            assert_eq!(
                refreshed.code(),
                "ok",
                "round {round}: {}'s session is there (unsure: {})",
                one.subject,
                one.unsure
            );
            assert_eq!(refreshed.json()["user"]["id"], one.user.as_str());
        }
    }
}

/// `None` when the sign-in was not answered with 200. The refresh goes to another replica.
async fn sign_in_and_refresh(
    client: &Client,
    [first, second]: [&str; 2],
    subject: String,
    id_token: &str,
) -> Option<Told> {
    let url = format!("{first}/auth/id-token/signin");
    let reply = answered(client.post(&url, &json!({"id_token": id_token})).await)?;
    let mut told = Told {
        subject,
        user: reply.json()["user"]["id"].as_str()?.to_owned(),
        refresh: reply.text("refresh_token"),
        unsure: false,
    };
    let body = json!({"refresh_token": told.refresh});
    let url = format!("{second}/auth/token/refresh");
    match answered(client.post(&url, &body).await) {
        Some(reply) => told.refresh = reply.text("refresh_token"),
        // Inside the grace the old token works whether or not it was rotated.
        None => told.unsure = true,
    }
    Some(told)
}

/// A connection that broke off has promised nothing; an answer is a 200, or says that the store is away.
fn answered(reply: anyhow::Result<Reply>) -> Option<Reply> {
    let reply = reply.ok()?;
    if reply.status == 503 {
        assert_eq!(reply.code(), "store_unavailable");
        assert!(reply.retry_after() >= 1);
        return None;
    }
    // More sign-ins of one user in a minute than the policy allows.
    if reply.status == 429 {
        return None;
    }
    assert_eq!(reply.code(), "ok", "{}", reply.body);
    Some(reply)
}
