//! Local passwords: how they stand in each answer, how they are changed, and what a token that only changes one opens.

use vestibule_crds::duration::Duration;
use vestibule_crds::snapshot::PasswordLife;

use super::*;
use vestibule_store::UserStatus;
use vestibule_store::passwords::{CountPasswordTry, PasswordTry, ReadPasswordHash};

const DAY: i64 = 24 * 3600;
const PASSWORD: &str = "correct horse";

/// Passwords are good for ten days, warned of for two and in grace for one.
async fn service() -> Service {
    Service::start_with(
        |provider| provider,
        |policy| Policy {
            password: Some(PasswordLife {
                max_age: Some(Duration::from_secs(10 * 86_400)),
                warning_window: Duration::from_secs(2 * 86_400),
                grace_period: Duration::from_secs(86_400),
            }),
            ..policy
        },
    )
    .await
}

impl Service {
    async fn password(&self, bearer: &str, body: &Value) -> Reply {
        let request = self
            .request(Method::POST, "/auth/password")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {bearer}"))
            .body(Full::from(body.to_string()));
        self.send(request.expect("a request")).await
    }

    /// A sign-in of today, whatever the clock says.
    async fn signin_now(&self) -> Reply {
        let mut claims = claims();
        for (name, seconds) in [("iat", 0), ("nbf", 0), ("auth_time", 0), ("exp", 600)] {
            claims = with(claims, name, self.clock.now() + seconds);
        }
        self.signin(&self.token(&claims)).await
    }

    /// Signed in, with [`PASSWORD`] set at this moment.
    async fn with_password(&self) -> Reply {
        let reply = self.signin_now().await;
        let body = json!({"new_password": PASSWORD});
        let set = self.password(&self.account(&reply).await, &body).await;
        assert_eq!(set.code(), "ok", "{}", set.body);
        set
    }

    async fn demand_change(&self) {
        self.execute("UPDATE users SET password_must_change = 1")
            .await;
    }
}

fn fields(body: &Value) -> (Option<bool>, Option<i64>, Option<&str>) {
    (
        body["must_change_password"].as_bool(),
        body["password_expires_in"].as_i64(),
        body["password_warning"].as_str(),
    )
}

#[tokio::test]
async fn who_has_no_password_is_told_of_none() {
    let service = service().await;
    let reply = service.signin_now().await;
    let expected = (Some(false), None, None);
    assert_eq!(fields(&reply.body), expected);
    assert_eq!(fields(&reply.body["user"]), expected);
    let info = service
        .get("/auth/userinfo", Some(reply.text("access_token")))
        .await;
    assert_eq!(fields(&info.body), expected);
}

#[tokio::test]
async fn each_answer_says_how_the_password_stands() {
    let service = service().await;
    let set = service.with_password().await;
    assert_eq!(fields(&set.body), (Some(false), Some(10), None));
    for (day, expected) in [
        (0, (Some(false), Some(10), None)),
        (8, (Some(false), Some(2), Some("expiring"))),
        (10, (Some(false), Some(0), Some("expired_grace"))),
    ] {
        service.clock.advance(NOW + day * DAY - service.clock.now());
        let reply = service.signin_now().await;
        let refreshed = service.refresh(reply.text("refresh_token")).await;
        let info = service
            .get("/auth/userinfo", Some(refreshed.text("access_token")))
            .await;
        for body in [
            &reply.body,
            &reply.body["user"],
            &refreshed.body,
            &refreshed.body["user"],
            &info.body,
        ] {
            assert_eq!(fields(body), expected, "day {day}");
        }
    }
    service.clock.advance(DAY);
    let expired = service.signin_now().await;
    let expected = (Some(true), Some(-1), Some("expired"));
    assert_eq!(fields(&expired.body), expected);
    assert_eq!(fields(&expired.body["user"]), expected);
}

#[tokio::test]
async fn a_password_that_must_be_changed_opens_its_change_and_nothing_else() {
    // CVE-2026-79652.
    let service = service().await;
    service.with_password().await;
    service.demand_change().await;
    let reply = service.signin_now().await;
    assert_eq!(reply.code(), "ok");
    assert_eq!(fields(&reply.body).0, Some(true));
    assert_eq!(reply.body["expires_in"], 600);
    assert_eq!(reply.body.get("refresh_token"), None);
    let token = reply.text("access_token");
    let parsed = vestibule_idtoken::token::UnverifiedToken::parse(token).expect("a token");
    assert_eq!(parsed.text("scope"), Some("password:change"));
    assert_eq!(parsed.claims["aud"], parsed.claims["iss"], "for us alone");
    for refused in [
        service.get("/auth/userinfo", Some(token)).await,
        service.get("/auth/sessions", Some(token)).await,
        service
            .as_bearer(Method::POST, "/auth/signout/everywhere", token)
            .await,
        service
            .send(
                service
                    .request(Method::POST, "/auth/signout")
                    .header("authorization", format!("Bearer {token}"))
                    .body(Full::default())
                    .expect("a request"),
            )
            .await,
    ] {
        assert_eq!(
            (refused.status, refused.code()),
            (403, "password_change_required")
        );
    }
    let refreshed = service.refresh(token).await;
    assert_eq!(refreshed.code(), "refresh_token_invalid");
    let again = service.signin_now().await;
    assert_eq!(
        again.body.get("refresh_token"),
        None,
        "nor does a second one"
    );

    let body = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    let changed = service.password(token, &body).await;
    assert_eq!(changed.code(), "ok");
    assert_eq!(fields(&changed.body), (Some(false), Some(10), None));
    let full = changed.text("access_token");
    assert_eq!(service.get("/auth/userinfo", Some(full)).await.code(), "ok");
    let refreshed = service.refresh(changed.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "ok");
    let scope = vestibule_idtoken::token::UnverifiedToken::parse(full).expect("a token");
    assert_eq!(scope.text("scope"), Some("openid"));
    let used = service.password(token, &body).await;
    assert_eq!(used.code(), "access_token_invalid", "it has done its work");
    assert!(
        service
            .signin_now()
            .await
            .body
            .get("refresh_token")
            .is_some()
    );
}

#[tokio::test]
async fn a_token_that_only_changes_the_password_lives_ten_minutes() {
    let service = service().await;
    service.with_password().await;
    service.demand_change().await;
    let body = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    let late = service.signin_now().await;
    service.clock.advance(600);
    let reply = service.password(late.text("access_token"), &body).await;
    assert_eq!(reply.code(), "access_token_invalid");
    let early = service.signin_now().await;
    service.clock.advance(599);
    let reply = service.password(early.text("access_token"), &body).await;
    assert_eq!(reply.code(), "ok");
}

#[tokio::test]
async fn a_demanded_or_overdue_change_is_not_passed_by_with_a_refresh() {
    let service = service().await;
    let set = service.with_password().await;
    let refreshed = service.refresh(set.text("refresh_token")).await;
    let refresh_token = refreshed.text("refresh_token");
    service.demand_change().await;
    let reply = service.refresh(refresh_token).await;
    assert_eq!(
        (reply.status, reply.code()),
        (403, "password_change_required")
    );
    service
        .execute("UPDATE users SET password_must_change = 0")
        .await;
    let reply = service.refresh(refresh_token).await;
    assert_eq!(reply.code(), "ok", "it was not used up");
    service.clock.advance(11 * DAY);
    let reply = service.refresh(reply.text("refresh_token")).await;
    assert_eq!(reply.code(), "password_change_required");
}

#[tokio::test]
async fn a_change_wants_the_current_password_once_there_is_one() {
    let service = service().await;
    let set = service.with_password().await;
    let token = &service.account(&set).await;
    for (body, status, code) in [
        (
            json!({"new_password": "battery staple"}),
            400,
            "current_password_required",
        ),
        (
            json!({"current_password": "wrong", "new_password": "battery staple"}),
            401,
            "password_invalid",
        ),
        (
            json!({"current_password": "x".repeat(257), "new_password": "battery staple"}),
            400,
            "invalid_request",
        ),
    ] {
        let reply = service.password(token, &body).await;
        assert_eq!((reply.status, reply.code()), (status, code));
    }
    let body = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    assert_eq!(service.password(token, &body).await.code(), "ok");
}

#[tokio::test]
async fn a_new_password_is_neither_short_nor_a_book_nor_what_everybody_knows_of_its_user() {
    let service = service().await;
    let reply = service.signin_now().await;
    let token = &service.account(&reply).await;
    let email = reply.body["user"]["email"].as_str().expect("an address");
    for refused in [
        "",
        "1234567",
        "十十十十十十十",
        &"x".repeat(257),
        email,
        &email.to_uppercase(),
    ] {
        let reply = service
            .password(token, &json!({"new_password": refused}))
            .await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "password_not_acceptable"),
            "{refused}"
        );
    }
    let missing = service.password(token, &json!({})).await;
    assert_eq!((missing.status, missing.code()), (400, "invalid_request"));
    let longest = "x".repeat(256);
    let set = service
        .password(token, &json!({"new_password": longest}))
        .await;
    assert_eq!(set.code(), "ok");
    let same = json!({"current_password": longest, "new_password": longest});
    let reply = service.password(&service.account(&set).await, &same).await;
    assert_eq!(reply.code(), "password_not_acceptable");
    let eight = json!({"current_password": longest, "new_password": "十十十十十十十十"});
    let reply = service.password(&service.account(&set).await, &eight).await;
    assert_eq!(reply.code(), "ok");
}

#[tokio::test]
async fn wrong_passwords_are_counted_for_the_user_over_all_sessions() {
    let service = service().await;
    service.with_password().await;
    let wrong = json!({"current_password": "wrong", "new_password": "battery staple"});
    for _ in 0..10 {
        let session = service.signin_now().await;
        let token = service.account(&session).await;
        let reply = service.password(&token, &wrong).await;
        assert_eq!(reply.code(), "password_invalid");
    }
    let session = service.signin_now().await;
    let token = &service.account(&session).await;
    let right = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    for body in [&wrong, &right] {
        let reply = service.password(token, body).await;
        assert_eq!((reply.status, reply.code()), (429, "password_locked"));
        assert!(reply.headers.contains_key("retry-after"));
    }
    service.clock.advance(15 * 60);
    let session = service.signin_now().await;
    let token = service.account(&session).await;
    let reply = service.password(&token, &right).await;
    assert_eq!(reply.code(), "ok");
    let user = session.text_of_user("id").parse().expect("an id");
    let tried = service
        .app
        .store
        .run(CountPasswordTry { user, now: NOW })
        .await;
    assert_eq!(tried, Ok(PasswordTry::Counted), "the change forgets them");
}

#[tokio::test]
async fn a_change_ends_the_other_sessions_and_this_one_goes_on_in_a_new_one() {
    let service = service().await;
    let other = service.signin_now().await;
    let set = service.with_password().await;
    let reply = service.refresh(other.text("refresh_token")).await;
    assert_eq!(reply.code(), "refresh_token_invalid");
    let reply = service
        .get("/auth/userinfo", Some(other.text("access_token")))
        .await;
    assert_eq!(reply.code(), "access_token_invalid");
    assert_eq!(
        service.refresh(set.text("refresh_token")).await.code(),
        "ok"
    );
}

#[tokio::test]
async fn nobody_without_a_live_session_of_an_active_user_changes_a_password() {
    let service = service().await;
    let body = json!({"new_password": PASSWORD});
    let anonymous = service.post("/auth/password", &body).await;
    assert_eq!(
        (anonymous.status, anonymous.code()),
        (401, "access_token_invalid")
    );
    let reply = service.signin_now().await;
    let user = reply.text_of_user("id").parse().expect("an id");
    for (status, code) in [
        (UserStatus::Locked, "user_locked"),
        (UserStatus::Disabled, "user_disabled"),
    ] {
        // The sessions of somebody who is no longer active are over; what was read before that must not count either.
        let name = if status == UserStatus::Locked {
            "locked"
        } else {
            "disabled"
        };
        service
            .execute(&format!("UPDATE users SET status = '{name}'"))
            .await;
        let refused = service.password(reply.text("access_token"), &body).await;
        assert_eq!((refused.status, refused.code()), (403, code));
        assert_eq!(service.signin_now().await.code(), code);
        let refreshed = service.refresh(reply.text("refresh_token")).await;
        assert_eq!(refreshed.code(), code);
    }
    let hash = service.app.store.run(ReadPasswordHash(user)).await;
    assert_eq!(hash, Ok(None));
}

#[tokio::test]
async fn no_event_log_or_answer_holds_a_password_or_its_hash() {
    let service = service().await;
    let set = service.with_password().await;
    let wrong = json!({"current_password": "wrong horse", "new_password": "battery staple"});
    let refused = service.password(&service.account(&set).await, &wrong).await;
    let events = service
        .column("SELECT kind || outcome || detail FROM events")
        .await
        .join(" ");
    assert!(events.contains("password_changeok"));
    assert!(events.contains("password_changepassword_invalid"));
    for text in [events, set.body.to_string(), refused.body.to_string()] {
        for secret in [PASSWORD, "wrong horse", "battery staple", "argon2"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
