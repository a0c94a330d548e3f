//! How often one may be wrong, over all challenges.

use super::*;

#[tokio::test]
async fn a_challenge_has_five_tries_and_a_method_of_a_user_ten() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    for _ in 0..2 {
        let challenge = service.challenge("alice").await;
        for _ in 0..5 {
            let reply = service.verify(&challenge, "totp", &wrong()).await;
            assert_eq!(reply.code(), "mfa_code_invalid");
        }
        let right = app.code(&service, 0);
        let reply = service.verify(&challenge, "totp", &right).await;
        assert!(
            ["mfa_challenge_invalid", "mfa_locked"].contains(&reply.code()),
            "{}",
            reply.body
        );
    }
    // Keycloak 46164, CVE-2024-32868: a new challenge counts on.
    let challenge = service.challenge("alice").await;
    let right = app.code(&service, 0);
    let reply = service.verify(&challenge, "totp", &right).await;
    assert_eq!((reply.status, reply.code()), (429, "mfa_locked"));
    let seconds = reply.headers["retry-after"].to_str().expect("a number");
    let seconds: i64 = seconds.parse().expect("a number");
    assert!((1..=900).contains(&seconds), "{seconds}");
    service.clock.advance(900);
    let challenge = service.challenge("alice").await;
    let right = app.code(&service, 0);
    assert_eq!(
        service.verify(&challenge, "totp", &right).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn who_knows_the_first_factor_cannot_lock_the_second() {
    // An attacker with the password guesses codes until they are locked, and opens challenge after challenge.
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let own = service.challenge("alice").await;
    for _ in 0..3 {
        let challenge = service.challenge("alice").await;
        for _ in 0..5 {
            service.verify(&challenge, "totp", &wrong()).await;
        }
    }
    let locked = service.verify(&own, "totp", &wrong()).await;
    assert_eq!(locked.code(), "mfa_locked");
    let told = "SELECT detail FROM events WHERE outcome = 'mfa_locked'";
    let told = service.column(told).await;
    assert!(
        told.iter()
            .all(|detail| detail == "totp: too many wrong codes")
    );
    let code = &app.recovery_codes[0];
    let reply = service.verify(&own, "recovery_code", code).await;
    assert_eq!(
        reply.code(),
        "ok",
        "another method, by the challenge of before"
    );
}

#[tokio::test]
async fn five_challenges_live_side_by_side_and_the_sixth_voids_the_oldest() {
    let service = service().await;
    service.enroll("alice").await;
    let mut challenges = Vec::new();
    for _ in 0..6 {
        challenges.push(service.challenge("alice").await);
        service.clock.advance(1);
    }
    for (index, challenge) in challenges.iter().enumerate() {
        let body = json!({"challenge_token": challenge});
        let described = service.post("/auth/mfa/challenge", &body).await;
        let expected = if index == 0 {
            "mfa_challenge_invalid"
        } else {
            "ok"
        };
        assert_eq!(described.code(), expected, "{index}");
    }
}

#[tokio::test]
async fn challenges_from_elsewhere_void_their_own_first() {
    let service = service_with(|mut policy| {
        policy.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        policy
    })
    .await;
    service.enroll("alice").await;
    let from = async |client: &str| {
        let now = service.app.clock.now();
        let claims = with(with(claims(), "exp", now + 600), "iat", now - 10);
        let body = json!({"id_token": service.token(&claims), "provider": "corp"});
        let request = service
            .request(Method::POST, "/auth/id-token/signin")
            .header("content-type", "application/json")
            .header("x-forwarded-for", client)
            .body(Full::from(body.to_string()));
        let reply = service.send(request.expect("a request")).await;
        reply.text("challenge_token").to_owned()
    };
    let own = from("192.0.2.1").await;
    for _ in 0..20 {
        from("198.51.100.1").await;
    }
    let body = json!({"challenge_token": own});
    let described = service.post("/auth/mfa/challenge", &body).await;
    assert_eq!(described.code(), "ok");
}

#[tokio::test]
async fn one_users_failures_are_nobody_elses() {
    let service = service().await;
    let (_, _) = service.enroll("alice").await;
    let (bobs, _) = service.enroll("bob").await;
    for _ in 0..2 {
        let challenge = service.challenge("alice").await;
        for _ in 0..5 {
            service.verify(&challenge, "totp", &wrong()).await;
        }
    }
    let challenge = service.challenge("bob").await;
    let right = bobs.code(&service, 0);
    assert_eq!(
        service.verify(&challenge, "totp", &right).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn a_thousand_guesses_at_once_are_ten() {
    let service = Arc::new(
        service_with(|mut policy| {
            policy.limits.failures_per_ip_per_minute = 100_000;
            policy.limits.per_user_per_minute = 100_000;
            policy
        })
        .await,
    );
    service.enroll("alice").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let service = Arc::clone(&service);
        tasks.spawn(async move {
            let challenge = service.challenge("alice").await;
            let mut looked_at = 0;
            for _ in 0..10 {
                let reply = service.verify(&challenge, "totp", &wrong()).await;
                looked_at += usize::from(reply.code() == "mfa_code_invalid");
            }
            looked_at
        });
    }
    let looked_at: usize = tasks.join_all().await.into_iter().sum();
    assert!((1..=10).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn one_code_at_fifty_places_at_once_signs_in_once() {
    let service = Arc::new(
        service_with(|mut policy| {
            policy.mfa.attempts.per_challenge = 100;
            policy.mfa.attempts.per_15m = 100;
            policy.mfa.attempts.per_day = 100;
            policy
        })
        .await,
    );
    let (app, _) = service.enroll("alice").await;
    let challenge = service.challenge("alice").await;
    let code = app.code(&service, 0);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (service, challenge) = (Arc::clone(&service), challenge.clone());
        let code = code.clone();
        tasks.spawn(async move {
            let reply = service.verify(&challenge, "totp", &code).await;
            reply.code().to_owned()
        });
    }
    let codes = tasks.join_all().await;
    assert_eq!(
        codes.iter().filter(|code| *code == "ok").count(),
        1,
        "{codes:?}"
    );
}
