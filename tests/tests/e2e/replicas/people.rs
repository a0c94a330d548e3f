//! What happens to a person at one replica counts at all of them.

use vestibule_dataplane::clock::Clock;
use vestibule_store::passwords::RequirePasswordChange;
use vestibule_store::{Event, EventKind, SetUserStatus};
use vestibule_tests::e2e::totp;

use super::*;

impl Replicas {
    async fn post_as(&self, token: &str, path: &str) -> Reply {
        self.send("POST", path, token, &json!({})).await
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Reply {
        let service = self.next();
        let request = hyper::Request::builder()
            .method(method)
            .uri(service.url(path))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(body.to_string().into());
        let reply = service.client.send(request.expect("a request")).await;
        reply.expect("an answer")
    }

    /// Whether a session is over at every replica, and nowhere half.
    async fn is_over(&self, signed_in: &Reply) -> bool {
        let mut over = Vec::new();
        for service in &self.services {
            let info = service.userinfo(&signed_in.text("access_token")).await;
            over.push(info.status == 401);
        }
        let refresh = self.next().refresh(&signed_in.text("refresh_token")).await;
        over.push(refresh.code() == "refresh_token_invalid");
        assert!(over.iter().all(|one| *one == over[0]), "{over:?}");
        over[0]
    }

    async fn log_out_at(&self, turn: usize, token: &str) -> Reply {
        let service = &self.services[turn % REPLICAS];
        let request = hyper::Request::post(service.url("/auth/logout/backchannel"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("logout_token={token}").into());
        let reply = service.client.send(request.expect("a request")).await;
        reply.expect("an answer")
    }

    fn logout_token(&self, subject: &str, id: &str) -> String {
        let mut claims = self.issuer.claims(subject);
        // From before any sign-in of this second.
        claims["iat"] = json!(Clock::System.now() - 5);
        claims["jti"] = json!(id);
        claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        self.issuer.sign(&claims)
    }

    fn administrator(&self, signed_in: &Reply) -> (uuid::Uuid, Event) {
        let user = signed_in.json()["user"]["id"].clone();
        let user = user.as_str().and_then(|id| id.parse().ok());
        let event = Event {
            at: Clock::System.now(),
            kind: EventKind::UserChange,
            outcome: "ok",
            class: vestibule_store::EventClass::Accepted,
            policy: "auth/default".to_owned(),
            provider: String::new(),
            user_id: user,
            session_id: None,
            request_id: String::new(),
            network: String::new(),
            detail: String::new(),
            count: 1,
        };
        (user.expect("an id"), event)
    }
}

/// Everybody is asked for a second factor, once there is one.
fn asking() -> Value {
    let mfa = json!({"mode": "Never", "methods": ["totp"], "attempts": {"perChallenge": 5, "per15m": 10, "perDay": 50}});
    with(policy(), "/spec/mfa", mfa)
}

#[tokio::test]
async fn whoever_signs_out_here_is_out_there() {
    let replicas = Replicas::start().await;
    let [one, two, three] = [
        replicas.signin("alice").await,
        replicas.signin("alice").await,
        replicas.signin("alice").await,
    ];
    let bob = replicas.signin("bob").await;
    let token = replicas.next().account(&three).await;
    let out = replicas
        .post_as(&one.text("access_token"), "/auth/signout")
        .await;
    assert_eq!(out.status, 204);
    assert!(replicas.is_over(&one).await && !replicas.is_over(&two).await);

    let request = hyper::Request::get(replicas.next().url("/auth/sessions"))
        .header("authorization", format!("Bearer {token}"))
        .body(Default::default());
    let listed = replicas
        .next()
        .client
        .send(request.expect("a request"))
        .await;
    let listed = listed.expect("an answer").json();
    let sessions = listed["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2, "{listed}");
    let other = sessions.iter().find(|one| one["current"] == false);
    let id = other.expect("the second one")["id"]
        .as_str()
        .expect("an id");
    let end = format!("/auth/sessions/{id}");
    assert_eq!(
        replicas
            .send("DELETE", &end, &token, &json!({}))
            .await
            .status,
        204
    );
    // A refresh may have gone on from its first token: the session is what ended.
    let info = replicas.next().userinfo(&two.text("access_token")).await;
    assert_eq!(info.code(), "access_token_invalid");
    assert!(!replicas.is_over(&bob).await);

    let out = replicas.post_as(&token, "/auth/signout/everywhere").await;
    assert_eq!(out.status, 204);
    assert!(replicas.is_over(&three).await);
    assert_eq!(replicas.signin("alice").await.code(), "ok");
}

#[tokio::test]
async fn a_providers_logout_counts_once_and_everywhere() {
    let replicas = Replicas::start().await;
    let signed_in = replicas.signin("alice").await;
    let token = replicas.logout_token("alice", "1");
    let asking = (0..AT_ONCE).map(|turn| replicas.log_out_at(turn, &token));
    let mut taken = 0;
    for reply in futures_util::future::join_all(asking).await {
        match reply.status {
            200 => taken += 1,
            status => assert_eq!(
                (status, reply.text("code").as_str()),
                (400, "token_replayed")
            ),
        }
    }
    assert_eq!(taken, 1);
    assert!(replicas.is_over(&signed_in).await);
    let again = replicas.signin("alice").await;
    assert_eq!(replicas.log_out_at(1, &token).await.status, 400);
    assert!(!replicas.is_over(&again).await);
    let next = replicas.logout_token("alice", "2");
    assert_eq!(replicas.log_out_at(2, &next).await.status, 200);
    assert!(replicas.is_over(&again).await);
}

#[tokio::test]
async fn a_locked_or_disabled_user_completes_nothing_that_was_begun() {
    let replicas = Replicas::serving(|issuer| issuer.provider(), asking()).await;
    let store = replicas.postgres.store().await;
    let (secret, signed_in) = enrolled(&replicas, "alice").await;
    ask_everybody(&replicas).await;
    let (user, _) = replicas.administrator(&signed_in);
    for (status, code) in [
        (UserStatus::Locked, "user_locked"),
        (UserStatus::Disabled, "user_disabled"),
    ] {
        let challenged = replicas.signin("alice").await;
        let challenge = challenged.text("challenge_token");
        let now = Clock::System.now();
        assert_eq!(
            store.run(SetUserStatus { user, status, now }).await,
            Ok(true)
        );
        for service in &replicas.services {
            let signin = service.signin(&replicas.issuer.id_token("alice")).await;
            assert_eq!(signin.code(), code);
            let code = totp(&secret, Clock::System.now());
            let body = json!({"challenge_token": challenge, "method": "totp", "code": code});
            let verified = service.post("/auth/mfa/verify", &body).await;
            assert_ne!(verified.status, 200, "{}", verified.body);
            let refresh = service.refresh(&signed_in.text("refresh_token")).await;
            assert_ne!(refresh.status, 200);
        }
        let active = store
            .run(SetUserStatus {
                user,
                status: UserStatus::Active,
                now,
            })
            .await;
        assert_eq!(active, Ok(true));
    }
    assert!(replicas.is_over(&signed_in).await, "it does not come back");
}

#[tokio::test]
async fn wrong_codes_are_counted_over_all_replicas_and_challenges() {
    let replicas = Replicas::serving(|issuer| issuer.provider(), asking()).await;
    let (secret, _) = enrolled(&replicas, "alice").await;
    ask_everybody(&replicas).await;
    let mut looked_at = 0;
    for _ in 0..4 {
        let challenged = replicas.signin("alice").await;
        let challenge = challenged.text("challenge_token");
        // Neither is refused as a bearer anywhere.
        for service in &replicas.services {
            assert_eq!(service.userinfo(&challenge).await.status, 401);
        }
        let wrong = if totp(&secret, Clock::System.now()) == "000000" {
            "000001"
        } else {
            "000000"
        };
        let body = json!({"challenge_token": challenge, "method": "totp", "code": wrong});
        for reply in replicas.at_once("/auth/mfa/verify", &body).await {
            looked_at += usize::from(reply.code() == "mfa_code_invalid");
        }
    }
    assert_eq!(
        looked_at, 10,
        "so many in 15 minutes, however many ask at once"
    );
}

#[tokio::test]
async fn a_password_that_must_be_changed_is_so_at_every_replica() {
    let replicas = Replicas::start().await;
    let store = replicas.postgres.store().await;
    let signed_in = replicas.signin("alice").await;
    let set = json!({"new_password": "correct horse battery"});
    let token = replicas.next().account(&signed_in).await;
    let set = replicas.send("POST", "/auth/password", &token, &set).await;
    assert_eq!(set.code(), "ok", "{}", set.body);
    assert!(
        replicas.is_over(&signed_in).await,
        "another session takes its place"
    );
    let (user, event) = replicas.administrator(&signed_in);
    let demanded = store.run(RequirePasswordChange { user, event }).await;
    assert_eq!(demanded, Ok(true));
    for service in &replicas.services {
        let refresh = service.refresh(&set.text("refresh_token")).await;
        assert_eq!(refresh.code(), "password_change_required");
        let signin = service.signin(&replicas.issuer.id_token("alice")).await;
        assert_eq!(signin.json()["must_change_password"], true);
        assert_eq!(signin.json().get("refresh_token"), None);
        let info = replicas.next().userinfo(&signin.text("access_token")).await;
        assert_eq!(info.code(), "password_change_required");
    }
}

#[tokio::test]
async fn a_provider_that_is_gone_refreshes_nobody() {
    let replicas = Replicas::start().await;
    let signed_in = replicas.signin("alice").await;
    for service in &replicas.services {
        let before = service.revision().await;
        let path = service.builder.directory().join("all.yaml");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let (_, others) = text.split_once("---\n").expect("there are several");
        std::fs::write(&path, others).expect("it can be written");
        service.serves_another_than(&before).await;
        let signin = service.signin(&replicas.issuer.id_token("alice")).await;
        assert_eq!(signin.code(), "provider_required");
        let refresh = service.refresh(&signed_in.text("refresh_token")).await;
        assert_eq!(refresh.code(), "provider_suspended");
    }
}

/// Each replica counts failures by itself, in memory: what all of them let through is bounded by their number.
#[tokio::test]
async fn an_address_fails_at_most_its_limit_at_each_replica() {
    const LIMIT: usize = 7;
    let limits = json!({"failuresPerIpPerMinute": LIMIT, "perUserPerMinute": 60});
    let policy = with(policy(), "/spec/limits", limits);
    let replicas = Replicas::serving(|issuer| issuer.provider(), policy).await;
    // All of them within one minute of the clock.
    eventually("a minute has most of its time before it", || async {
        is(Clock::System.now().rem_euclid(60) < 45, true)
    })
    .await;
    let body = json!({"id_token": "no.token.at-all", "provider": "corp"});
    let replies = replicas.at_once("/auth/id-token/signin", &body).await;
    let looked_at = replies.iter().filter(|reply| reply.status == 401).count();
    assert!(
        (LIMIT..=REPLICAS * LIMIT).contains(&looked_at),
        "{looked_at}"
    );
    for service in &replicas.services {
        let limited = service.post("/auth/id-token/signin", &body).await;
        assert_eq!(limited.code(), "rate_limited", "{}", limited.body);
        assert!(limited.retry_after() >= 1);
        let good = service.signin(&replicas.issuer.id_token("alice")).await;
        assert_eq!(good.code(), "ok", "junk shuts out nobody");
    }
}

/// The secret of a person's second factor, and the session that it was set up in.
async fn enrolled(replicas: &Replicas, subject: &str) -> (String, Reply) {
    let signed_in = replicas.signin(subject).await;
    let token = replicas.next().account(&signed_in).await;
    let path = "/auth/mfa/enrollments/totp";
    let begun = replicas.send("POST", path, &token, &json!({})).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let (id, secret) = (begun.text("id"), begun.text("secret"));
    let confirm = json!({"id": id, "code": totp(&secret, Clock::System.now() - 30)});
    let path = "/auth/mfa/enrollments/totp/confirm";
    let confirmed = replicas.send("POST", path, &token, &confirm).await;
    assert_eq!(confirmed.code(), "ok", "{}", confirmed.body);
    (secret, signed_in)
}

async fn ask_everybody(replicas: &Replicas) {
    for service in &replicas.services {
        let before = service.revision().await;
        let path = service.builder.directory().join("all.yaml");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let changed = text.replace("\"mode\": \"Never\"", "\"mode\": \"Always\"");
        assert_ne!(changed, text);
        std::fs::write(&path, changed).expect("it can be written");
        service.serves_another_than(&before).await;
    }
}
