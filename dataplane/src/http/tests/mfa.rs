//! A second factor: when it is asked for, what answers it, and what never does.

use std::sync::atomic::{AtomicU64, Ordering};

use vestibule_crds::signin_policy::{MfaMethod, MfaMode};
use vestibule_crds::snapshot::{Mfa, Revision};

use super::*;
use crate::factors::totp::Secret;
use vestibule_store::mfa::ReadFactors;
use vestibule_store::{SetUserStatus, UserStatus};

mod enrolling;
mod keys;
mod limits;
mod risky;

/// Always asks for a factor.
async fn service() -> Service {
    service_with(|policy| policy).await
}

async fn service_with(change: impl FnOnce(Policy) -> Policy) -> Service {
    Service::start_with(
        |provider| provider,
        |policy| {
            change(Policy {
                mfa: always(policy.mfa),
                ..policy
            })
        },
    )
    .await
}

fn always(mfa: Mfa) -> Mfa {
    Mfa {
        mode: MfaMode::Always,
        methods: vec![
            MfaMethod::Webauthn,
            MfaMethod::Totp,
            MfaMethod::RecoveryCode,
        ],
        ..mfa
    }
}

/// An authenticator app of a user.
pub(super) struct Authenticator {
    secret: Secret,
    pub(super) recovery_codes: Vec<String>,
}

impl Authenticator {
    /// The code of the time step that is this many after the present one.
    pub(super) fn code(&self, service: &Service, steps: i64) -> String {
        self.secret.code_at(service.app.clock.now() + 30 * steps)
    }
}

fn secret_of(reply: &Reply) -> Secret {
    let secret = data_encoding::BASE32_NOPAD.decode(reply.text("secret").as_bytes());
    Secret::of_bytes(zeroize::Zeroizing::new(secret.expect("base32")))
}

impl Service {
    /// A fresh sign-in of this subject.
    pub(super) async fn challenged(&self, subject: &str) -> Reply {
        let now = self.app.clock.now();
        let claims = with(with(claims(), "exp", now + 600), "iat", now - 10);
        self.signin(&self.token(&with(claims, "sub", subject)))
            .await
    }

    /// A challenge of a fresh sign-in of this subject.
    pub(super) async fn challenge(&self, subject: &str) -> String {
        let reply = self.challenged(subject).await;
        assert_eq!(reply.body["requires_mfa"], true, "{}", reply.body);
        reply.text("challenge_token").to_owned()
    }

    pub(super) async fn verify(&self, challenge: &str, method: &str, code: &str) -> Reply {
        let body = json!({"challenge_token": challenge, "method": method, "code": code});
        self.post("/auth/mfa/verify", &body).await
    }

    /// Enrols an app with a challenge; the answer is that of a sign-in.
    pub(super) async fn enroll(&self, subject: &str) -> (Authenticator, Reply) {
        let challenge = self.challenge(subject).await;
        let begun = self
            .post(
                "/auth/mfa/enrollments/totp",
                &json!({"challenge_token": challenge}),
            )
            .await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        let mut app = Authenticator {
            secret: secret_of(&begun),
            recovery_codes: Vec::new(),
        };
        let code = app.code(self, 0);
        let confirm = json!({"challenge_token": challenge, "id": begun.text("id"), "code": code});
        let reply = self
            .post("/auth/mfa/enrollments/totp/confirm", &confirm)
            .await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        let codes = reply.body["recovery_codes"].as_array();
        app.recovery_codes = codes
            .expect("codes with the first factor")
            .iter()
            .map(|code| code.as_str().expect("a text").to_owned())
            .collect();
        self.clock.advance(60);
        (app, reply)
    }

    async fn post_as(&self, bearer: &str, path: &str, body: &Value) -> Reply {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {bearer}"))
            .body(Full::from(body.to_string()));
        self.send(request.expect("a request")).await
    }

    async fn delete_as(&self, bearer: &str, path: &str) -> Reply {
        let request = self
            .request(Method::DELETE, path)
            .header("authorization", format!("Bearer {bearer}"))
            .body(Full::default());
        self.send(request.expect("a request")).await
    }
}

/// A claim of the reply's access token.
fn claim(reply: &Reply, name: &str) -> Value {
    let token = vestibule_idtoken::token::UnverifiedToken::parse(reply.text("access_token"));
    token.expect("a token").claims[name].clone()
}

fn user_id(reply: &Reply) -> uuid::Uuid {
    reply.body["user"]["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("a user id")
}

/// Codes that are no code of anybody's, another one each time.
fn wrong() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("x{:05}", NEXT.fetch_add(1, Ordering::Relaxed) % 100_000)
}

#[tokio::test]
async fn a_sign_in_that_needs_a_factor_gives_a_challenge_and_nothing_else() {
    let service = service().await;
    let reply = service.challenged("alice").await;
    assert_eq!(reply.status, 200);
    let mut names: Vec<&String> = reply.body.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "challenge_token",
            "expires_in",
            "mfa_check_reason",
            "required_mfa_methods",
            "requires_mfa"
        ]
    );
    assert_eq!(reply.body["expires_in"], 300);
    assert_eq!(
        reply.body["required_mfa_methods"],
        json!([]),
        "none is enrolled"
    );
    let challenge = reply.text("challenge_token");
    let info = service
        .post(
            "/auth/mfa/challenge",
            &json!({"challenge_token": challenge}),
        )
        .await;
    assert_eq!(info.code(), "ok");
    assert_eq!(info.body["methods"], json!([]));
    assert_eq!(info.body["enrollable"], json!(["webauthn", "totp"]));
    let sessions = service.column("SELECT hex(id) FROM sessions").await;
    assert!(sessions.is_empty());
    assert_eq!(
        service.events().await,
        [("mfa_required".to_owned(), String::new())]
    );
}

#[tokio::test]
async fn the_reason_is_told_in_the_language_of_the_caller() {
    let service = service().await;
    for (language, word) in [("en-GB", "second factor"), ("zh-CN,en;q=0.5", "二次验证")] {
        let body = json!({"id_token": service.token_of("alice"), "provider": "corp"});
        let request = service
            .request(Method::POST, "/auth/id-token/signin")
            .header("content-type", "application/json")
            .header("accept-language", language)
            .body(Full::from(body.to_string()));
        let reply = service.send(request.expect("a request")).await;
        assert!(reply.text("mfa_check_reason").contains(word), "{language}");
    }
}

#[tokio::test]
async fn a_code_completes_the_sign_in() {
    let service = service().await;
    let (app, enrolled) = service.enroll("alice").await;
    let reply = service.challenged("alice").await;
    assert_eq!(
        reply.body["required_mfa_methods"],
        json!(["totp", "recovery_code"])
    );
    let challenge = reply.text("challenge_token");
    let reply = service
        .verify(challenge, "totp", &app.code(&service, 0))
        .await;
    assert_eq!(reply.code(), "ok", "{}", reply.body);
    assert_eq!(reply.body["requires_mfa"], false);
    assert_eq!(user_id(&reply), user_id(&enrolled));
    assert_eq!(reply.body["user"]["email"], "alice@corp.example");
    assert_eq!(claim(&reply, "amr"), json!(["otp", "mfa"]));
    assert_eq!(claim(&reply, "auth_time"), service.app.clock.now());
    assert_eq!(claim(&reply, "email"), "alice@corp.example");
    let access = reply.text("access_token");
    assert_eq!(
        service.get("/auth/userinfo", Some(access)).await.code(),
        "ok"
    );
    let refreshed = service.refresh(reply.text("refresh_token")).await;
    assert_eq!(claim(&refreshed, "amr"), json!(["otp", "mfa"]));
    let metrics = service.app.metrics.render(service.app.store.work());
    for line in [
        "vestibule_mfa_challenges_total 2",
        r#"vestibule_mfa_verifications_total{method="totp",outcome="ok"} 1"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_challenge_token_is_no_bearer_and_no_refresh_token() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let challenge = service.challenge("alice").await;
    for path in ["/auth/userinfo", "/auth/mfa/enrollments", "/auth/sessions"] {
        let reply = service.get(path, Some(&challenge)).await;
        assert_eq!(reply.code(), "access_token_invalid", "{path}");
    }
    for path in [
        "/auth/signout",
        "/auth/signout/everywhere",
        "/auth/mfa/enrollments/totp",
    ] {
        let reply = service.post_as(&challenge, path, &json!({})).await;
        assert_eq!(reply.code(), "access_token_invalid", "{path}");
    }
    assert_eq!(
        service.refresh(&challenge).await.code(),
        "refresh_token_invalid"
    );
    let revoked = service
        .post("/auth/token/revoke", &json!({"token": challenge}))
        .await;
    assert_eq!(revoked.status, 204);
    let reply = service
        .verify(&challenge, "totp", &app.code(&service, 0))
        .await;
    assert_eq!(reply.code(), "ok", "it is still good for what it is for");
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_in_time() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let challenge = service.challenge("alice").await;
    let code = app.code(&service, 0);
    assert_eq!(service.verify(&challenge, "totp", &code).await.code(), "ok");
    let reply = service
        .verify(&challenge, "totp", &app.code(&service, 1))
        .await;
    assert_eq!((reply.status, reply.code()), (401, "mfa_challenge_invalid"));
    let void = service.challenge("alice").await;
    let late = service.challenge("alice").await;
    service.clock.advance(300);
    let good = app.code(&service, 0);
    for dead in [&void, &late, "vct_junk", "", &"x".repeat(20_000)] {
        let reply = service.verify(dead, "totp", &good).await;
        assert_eq!(reply.code(), "mfa_challenge_invalid");
        let info = json!({"challenge_token": dead});
        let info = service.post("/auth/mfa/challenge", &info).await;
        assert_eq!(info.code(), "mfa_challenge_invalid");
    }
}

#[tokio::test]
async fn a_code_is_used_once_and_the_one_that_enrolled_was() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let code = app.code(&service, 0);
    let first = service.challenge("alice").await;
    assert_eq!(service.verify(&first, "totp", &code).await.code(), "ok");
    let second = service.challenge("alice").await;
    for used in [code, app.code(&service, -1)] {
        let reply = service.verify(&second, "totp", &used).await;
        assert_eq!((reply.status, reply.code()), (401, "mfa_code_invalid"));
    }
    let next = app.code(&service, 1);
    assert_eq!(service.verify(&second, "totp", &next).await.code(), "ok");
}

#[tokio::test]
async fn what_is_no_code_is_one_answer_whatever_it_is() {
    let service = service_with(|mut policy| {
        policy.mfa.attempts.per_challenge = 100;
        policy.mfa.attempts.per_15m = 100;
        policy.mfa.attempts.per_day = 100;
        policy
    })
    .await;
    let (app, _) = service.enroll("alice").await;
    let (other, _) = service.enroll("bob").await;
    let challenge = service.challenge("alice").await;
    for (method, code) in [
        ("totp", String::new()),
        ("totp", "123".to_owned()),
        ("totp", wrong()),
        ("totp", other.code(&service, 0)),
        ("totp", app.code(&service, 5)),
        ("totp", app.code(&service, -5)),
        ("recovery_code", other.recovery_codes[0].clone()),
        ("recovery_code", "aaaa-aaaa-aaaa-aaaa".to_owned()),
        ("recovery_code", wrong()),
        ("recovery_code", app.code(&service, 0)),
        ("totp", app.recovery_codes[0].clone()),
    ] {
        let reply = service.verify(&challenge, method, &code).await;
        assert_eq!((reply.status, reply.code()), (401, "mfa_code_invalid"));
        assert_eq!(
            reply.text("detail"),
            "That did not prove the second factor: try again."
        );
    }
    for method in ["webauthn", "email_otp", "sms_otp", "pwd", ""] {
        let reply = service.verify(&challenge, method, "1").await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "mfa_method_unavailable")
        );
    }
    for body in [
        json!({"challenge_token": challenge, "method": "totp", "code": "1".repeat(65)}),
        json!({"challenge_token": challenge, "method": "totp", "code": 123_456}),
        json!({"challenge_token": challenge, "method": "totp", "remember_device": "yes"}),
        json!({"challenge_token": challenge}),
        json!({"method": "totp", "code": "123456"}),
    ] {
        let reply = service.post("/auth/mfa/verify", &body).await;
        assert_eq!(reply.code(), "invalid_request", "{body}");
    }
}

#[tokio::test]
async fn a_recovery_code_signs_in_once_however_it_is_typed() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let code = app.recovery_codes[3].to_uppercase().replace('-', " ");
    let challenge = service.challenge("alice").await;
    let reply = service.verify(&challenge, "recovery_code", &code).await;
    assert_eq!(reply.code(), "ok");
    assert_eq!(claim(&reply, "amr"), json!(["otp", "mfa"]));
    let challenge = service.challenge("alice").await;
    let again = service.verify(&challenge, "recovery_code", &code).await;
    assert_eq!(again.code(), "mfa_code_invalid");
    let listed = service
        .get(
            "/auth/mfa/enrollments",
            Some(&service.account(&reply).await),
        )
        .await;
    assert_eq!(listed.body["recovery_codes_left"], 9);
}

#[tokio::test]
async fn whoever_may_not_sign_in_does_not_complete_a_sign_in() {
    // CVE-2026-1609, CVE-2026-88770: user and provider are looked at again.
    let service = service().await;
    let (app, enrolled) = service.enroll("alice").await;
    let user = user_id(&enrolled);
    for (status, code) in [
        (UserStatus::Disabled, "user_disabled"),
        (UserStatus::Locked, "user_locked"),
    ] {
        let challenge = service.challenge("alice").await;
        let set = async |status| {
            let set = service
                .app
                .store
                .run(SetUserStatus {
                    user,
                    status,
                    now: NOW,
                })
                .await;
            assert_eq!(set, Ok(true));
        };
        set(status).await;
        let answer = app.code(&service, 0);
        let reply = service.verify(&challenge, "totp", &answer).await;
        assert_eq!((reply.status, reply.code()), (403, code));
        set(UserStatus::Active).await;
    }
    let challenge = service.challenge("alice").await;
    let active = service.app.runtime_config.active();
    let policy = Policy::clone(&active.policy("default").expect("it is served").spec);
    let mut suspended = provider_of(&service.key);
    suspended.suspended = true;
    suspended.revision = Revision::of(b"suspended");
    service.apply(&snapshot([policy.clone()], [suspended]));
    let answer = app.code(&service, 0);
    let reply = service.verify(&challenge, "totp", &answer).await;
    assert_eq!((reply.status, reply.code()), (403, "provider_suspended"));
    service.apply(&snapshot([policy], []));
    let reply = service.verify(&challenge, "totp", &answer).await;
    assert_eq!(reply.code(), "provider_suspended");
}

#[tokio::test]
async fn a_method_that_the_policy_withdrew_answers_nothing() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let challenge = service.challenge("alice").await;
    let active = service.app.runtime_config.active();
    let mut policy = Policy::clone(&active.policy("default").expect("it is served").spec);
    // What is served keeps no text of its keys.
    policy.signing_keys = testing::policy().signing_keys;
    policy.mfa.methods = vec![MfaMethod::Webauthn];
    policy.revision = Revision::of(b"another");
    service.apply(&snapshot([policy], [provider_of(&service.key)]));
    let answer = app.code(&service, 0);
    let reply = service.verify(&challenge, "totp", &answer).await;
    assert_eq!(reply.code(), "mfa_method_unavailable");
}

#[tokio::test]
async fn a_token_that_may_be_used_once_is_used_by_the_challenge() {
    let service = Service::start_with(
        |mut provider| {
            provider.token.replay = vestibule_crds::snapshot::Replay::Reject;
            provider
        },
        |policy| Policy {
            mfa: always(policy.mfa),
            ..policy
        },
    )
    .await;
    let token = service.token(&claims());
    assert_eq!(service.signin(&token).await.code(), "ok");
    assert_eq!(service.signin(&token).await.code(), "token_replayed");
}

#[tokio::test]
async fn an_abandoned_first_sign_in_keeps_nothing_of_the_person() {
    let service = service().await;
    service.challenge("alice").await;
    service.challenge("alice").await;
    let known = service
        .column("SELECT coalesce(email, username, phone, 'nothing') FROM users")
        .await;
    assert_eq!(known, ["nothing"], "one user, and nothing else");
    let (_, enrolled) = service.enroll("alice").await;
    assert_eq!(enrolled.body["user"]["username"], "alice");
    let known = service.column("SELECT email FROM users").await;
    assert_eq!(known, ["alice@corp.example"]);
}

#[tokio::test]
async fn no_secret_is_stored_in_the_clear_or_shown() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let challenge = service.challenge("alice").await;
    let bytes = |bytes: &[u8]| crate::encoding::hex(bytes).to_uppercase();
    let secret = app.secret.base32();
    let plain = data_encoding::BASE32_NOPAD
        .decode(secret.as_bytes())
        .expect("base32");
    let everything = [
        "SELECT hex(secret) FROM mfa_factors",
        "SELECT hex(digest) FROM mfa_recovery_codes",
        "SELECT hex(digest) || content FROM challenges",
        "SELECT detail FROM events",
    ];
    let mut stored = String::new();
    for sql in everything {
        stored.push_str(&service.column(sql).await.join("\n"));
    }
    for hidden in [
        bytes(&plain),
        secret,
        app.recovery_codes[0].clone(),
        challenge,
    ] {
        assert!(!stored.contains(&hidden), "{hidden}");
    }
    let found = service
        .app
        .store
        .run(ReadFactors(user_id(&service.enroll("bob").await.1)))
        .await;
    let shown = format!("{found:?}");
    assert!(
        shown.contains("totp") && !shown.contains("secret"),
        "{shown}"
    );
}
