//! Who may enrol a factor, and who may remove one.

use super::*;

async fn begin_as(service: &Service, bearer: &str) -> Reply {
    let path = "/auth/mfa/enrollments/totp";
    service.post_as(bearer, path, &json!({"name": "new"})).await
}

async fn confirm_as(service: &Service, bearer: &str, begun: &Reply) -> Reply {
    let app = Authenticator {
        secret: secret_of(begun),
        recovery_codes: Vec::new(),
    };
    let body = json!({"id": begun.text("id"), "code": app.code(service, 0)});
    let path = "/auth/mfa/enrollments/totp/confirm";
    service.post_as(bearer, path, &body).await
}

/// A session of a policy that asks for nothing.
async fn plain() -> (Service, String) {
    let service = Service::start().await;
    let reply = service.signin(&service.token(&claims())).await;
    let access = service.account(&reply).await;
    (service, access)
}

#[tokio::test]
async fn a_first_factor_is_enrolled_with_an_account_token() {
    let (service, access) = plain().await;
    let begun = begin_as(&service, &access).await;
    assert_eq!((begun.status, begun.text("method")), (201, "totp"));
    let uri = begun.text("otpauth_uri");
    assert!(uri.starts_with("otpauth://totp/auth.example.com:alice%40corp.example?secret="));
    assert!(begun.text("qr_svg").contains("<svg"));
    let wrong = json!({"id": begun.text("id"), "code": "x"});
    let path = "/auth/mfa/enrollments/totp/confirm";
    let reply = service.post_as(&access, path, &wrong).await;
    assert_eq!(reply.code(), "mfa_code_invalid");
    let listed = service.get("/auth/mfa/enrollments", Some(&access)).await;
    assert_eq!(listed.body["enrollments"], json!([]), "not yet");
    let confirmed = confirm_as(&service, &access, &begun).await;
    assert_eq!(confirmed.code(), "ok");
    assert_eq!(confirmed.body["id"], begun.body["id"]);
    let codes = confirmed.body["recovery_codes"].as_array();
    assert_eq!(codes.map(Vec::len), Some(10));
    let listed = service.get("/auth/mfa/enrollments", Some(&access)).await;
    let factor = &listed.body["enrollments"][0];
    assert_eq!(
        (&factor["name"], &factor["method"]),
        (&json!("new"), &json!("totp"))
    );
    assert_eq!(listed.body["recovery_codes_left"], 10);
    assert!(!listed.body.to_string().contains(begun.text("secret")));
}

#[tokio::test]
async fn whoever_has_a_factor_changes_factors_only_with_it() {
    let (service, access) = plain().await;
    let begun = begin_as(&service, &access).await;
    let second = begin_as(&service, &access).await;
    assert_eq!(
        confirm_as(&service, &access, &begun).await.code(),
        "mfa_code_invalid",
        "the second took its place"
    );
    assert_eq!(confirm_as(&service, &access, &second).await.code(), "ok");
    let factor = format!("/auth/mfa/enrollments/{}", second.text("id"));
    for reply in [
        begin_as(&service, &access).await,
        service.delete_as(&access, &factor).await,
    ] {
        assert_eq!((reply.status, reply.code()), (403, "mfa_required"));
    }
    let listed = service.get("/auth/mfa/enrollments", Some(&access)).await;
    assert_eq!(listed.code(), "ok");
}

#[tokio::test]
async fn a_session_with_a_factor_adds_and_removes_others() {
    let service = service().await;
    let (_, enrolled) = service.enroll("alice").await;
    let access = &service.account(&enrolled).await;
    let begun = begin_as(&service, access).await;
    let confirmed = confirm_as(&service, access, &begun).await;
    assert_eq!(confirmed.code(), "ok");
    assert_eq!(
        confirmed.body.get("recovery_codes"),
        None,
        "only with the first"
    );
    let factor = format!("/auth/mfa/enrollments/{}", begun.text("id"));
    let (_, others) = service.enroll("bob").await;
    let other = service
        .delete_as(&service.account(&others).await, &factor)
        .await;
    assert_eq!((other.status, other.code()), (404, "not_found"));
    assert_eq!(service.delete_as(access, &factor).await.status, 204);
    assert_eq!(service.delete_as(access, &factor).await.code(), "not_found");
    let strange = service
        .delete_as(access, "/auth/mfa/enrollments/sms_otp")
        .await;
    assert_eq!(strange.code(), "not_found");
    let events = service
        .column("SELECT kind || ' ' || outcome FROM events WHERE kind LIKE 'mfa_%'")
        .await;
    for expected in ["mfa_enroll ok", "mfa_remove ok", "mfa_remove not_found"] {
        assert!(events.iter().any(|event| event == expected), "{events:?}");
    }
}

#[tokio::test]
async fn an_enrolled_factor_leaves_no_way_to_enrol_around_it() {
    // CVE-2025-64103.
    let service = service().await;
    let before = service.challenge("alice").await;
    let begin = json!({"challenge_token": before});
    let begun = service.post("/auth/mfa/enrollments/totp", &begin).await;
    assert_eq!(begun.status, 201);
    // Another window of the same person is faster.
    service.enroll("alice").await;
    let challenge = service.challenge("alice").await;
    for token in [&before, &challenge] {
        let begin = json!({"challenge_token": token});
        let reply = service.post("/auth/mfa/enrollments/totp", &begin).await;
        assert!(
            ["mfa_unavailable", "mfa_challenge_invalid"].contains(&reply.code()),
            "{}",
            reply.body
        );
        let confirm = json!({"challenge_token": token, "id": begun.text("id"), "code": "000000"});
        let path = "/auth/mfa/enrollments/totp/confirm";
        assert_ne!(service.post(path, &confirm).await.code(), "ok");
    }
    let info = json!({"challenge_token": challenge});
    let info = service.post("/auth/mfa/challenge", &info).await;
    assert_eq!(info.body["enrollable"], json!([]));
}

#[tokio::test]
async fn a_remembered_device_is_given_after_a_factor_and_forgotten_with_a_change() {
    let service = service().await;
    let (app, _) = service.enroll("alice").await;
    let answer = async |method: &str, code: String| {
        let challenge = service.challenge("alice").await;
        let body = json!({"challenge_token": challenge, "method": method, "code": code, "remember_device": true});
        service.post("/auth/mfa/verify", &body).await
    };
    let weak = answer("recovery_code", app.recovery_codes[0].clone()).await;
    assert_eq!((weak.code(), weak.body.get("device_token")), ("ok", None));
    let reply = answer("totp", app.code(&service, 0)).await;
    assert!(reply.text("device_token").starts_with("vdt_"));
    let devices = async || {
        service
            .column("SELECT hex(id) FROM mfa_devices")
            .await
            .len()
    };
    assert_eq!(devices().await, 1);
    let access = &service.account(&reply).await;
    let begun = begin_as(&service, access).await;
    assert_eq!(confirm_as(&service, access, &begun).await.code(), "ok");
    assert_eq!(devices().await, 0);
}
