//! What a user sees of the own sessions, and ends of them.

use super::*;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0";

impl Service {
    pub(super) async fn as_bearer(&self, method: Method, path: &str, token: &str) -> Reply {
        let request = self
            .request(method, path)
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default());
        self.send(request.expect("a request")).await
    }

    async fn sessions(&self, token: &str) -> Vec<Value> {
        let reply = self.get("/auth/sessions", Some(token)).await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        let sessions = reply.body["sessions"].as_array();
        sessions.expect("a list").clone()
    }
}

fn ids(sessions: &[Value]) -> Vec<&str> {
    let ids = sessions.iter().map(|session| session["id"].as_str());
    ids.map(|id| id.expect("an id")).collect()
}

#[tokio::test]
async fn a_user_sees_the_own_live_sessions_and_which_one_asks() {
    let service = Service::start().await;
    let body = json!({"id_token": service.token(&claims()), "provider": "corp"});
    let request = service
        .request(Method::POST, "/auth/id-token/signin")
        .header("content-type", "application/json")
        .header("user-agent", FIREFOX)
        .body(Full::from(body.to_string()));
    let first = service.send(request.expect("a request")).await;
    service.signin(&service.token_of("somebody-else")).await;
    service.clock.advance(60);
    let second = service.signin(&service.token(&claims())).await;
    let token = &service.account(&second).await;

    let sessions = service.sessions(token).await;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let (newest, oldest) = (&sessions[0], &sessions[1]);
    assert_eq!(
        (&newest["current"], &oldest["current"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(oldest["device"], "Firefox, Linux");
    assert_eq!(newest.get("device"), None, "it said nothing");
    assert_eq!(newest["network"], "127.0.0.0/24");
    assert_eq!(newest["provider"], "corp");
    assert_eq!(oldest["last_used_at"], oldest["created_at"]);

    service.clock.advance(60);
    service.refresh(first.text("refresh_token")).await;
    let sessions = service.sessions(token).await;
    assert_eq!(
        ids(&sessions),
        [newest["id"].as_str(), oldest["id"].as_str()].map(Option::unwrap_or_default)
    );
    assert_ne!(sessions[1]["last_used_at"], oldest["last_used_at"]);
    assert_ne!(sessions[1]["expires_at"], oldest["expires_at"]);
}

#[tokio::test]
async fn a_session_of_ones_own_is_ended_once_and_somebody_elses_never() {
    let service = Service::start().await;
    let first = service.signin(&service.token(&claims())).await;
    let second = service.signin(&service.token(&claims())).await;
    let other = service.signin(&service.token_of("somebody-else")).await;
    let token = &service.account(&second).await;
    let others = service.sessions(&service.account(&other).await).await;
    let path =
        |session: &Value| format!("/auth/sessions/{}", session["id"].as_str().expect("an id"));

    let theirs = service
        .as_bearer(Method::DELETE, &path(&others[0]), token)
        .await;
    assert_eq!((theirs.status, theirs.code()), (404, "not_found"));
    let going = service.refresh(other.text("refresh_token")).await;
    assert_eq!(going.code(), "ok");

    let sessions = service.sessions(token).await;
    let old = sessions
        .iter()
        .find(|session| session["current"] == json!(false));
    let old = path(old.expect("the first one"));
    let ended = service.as_bearer(Method::DELETE, &old, token).await;
    assert_eq!(ended.status, 204);
    let again = service.as_bearer(Method::DELETE, &old, token).await;
    assert_eq!(again.code(), "not_found");
    let refused = service.refresh(first.text("refresh_token")).await;
    assert_eq!(refused.code(), "refresh_token_invalid");
    assert_eq!(service.sessions(token).await.len(), 1);
    for unknown in ["/auth/sessions/", "/auth/sessions/nonsense"] {
        let reply = service.as_bearer(Method::DELETE, unknown, token).await;
        assert_eq!(reply.code(), "not_found");
    }
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_sessions_of_this_user() {
    let service = Service::start().await;
    let first = service.signin(&service.token(&claims())).await;
    let second = service.signin(&service.token(&claims())).await;
    let other = service.signin(&service.token_of("somebody-else")).await;
    let token = &service.account(&second).await;
    let out = service
        .as_bearer(Method::POST, "/auth/signout/everywhere", token)
        .await;
    assert_eq!(out.status, 204);
    for reply in [&first, &second] {
        let refused = service.refresh(reply.text("refresh_token")).await;
        assert_eq!(refused.code(), "refresh_token_invalid");
    }
    let over = service.get("/auth/sessions", Some(token)).await;
    assert_eq!(over.code(), "access_token_invalid");
    let going = service.refresh(other.text("refresh_token")).await;
    assert_eq!(going.code(), "ok");
    let again = service.signin(&service.token(&claims())).await;
    assert_eq!(again.code(), "ok");
    let told = service
        .column("SELECT detail FROM events WHERE kind = 'signout'")
        .await;
    assert_eq!(told, ["all sessions of the user"]);
}

#[tokio::test]
async fn sessions_are_shown_to_nobody_without_a_token_and_paged() {
    let service = Service::start().await;
    let token = service.signin(&service.token(&claims())).await;
    let token = &service.account(&token).await;
    for (method, path) in [
        (Method::GET, "/auth/sessions"),
        (Method::GET, "/auth/sessions?after=1"),
        (
            Method::DELETE,
            "/auth/sessions/0190a1b2-c3d4-7e5f-a071-8293a4b5c6d7",
        ),
        (Method::POST, "/auth/signout/everywhere"),
    ] {
        let request = service.request(method, path).body(Full::default());
        let reply = service.send(request.expect("a request")).await;
        assert_eq!(reply.code(), "access_token_invalid", "{path}");
    }
    let bad = service.get("/auth/sessions?after=1", Some(token)).await;
    assert_eq!((bad.status, bad.code()), (400, "invalid_request"));
    let current = service.sessions(token).await;
    let after = format!("/auth/sessions?x=1&after={}", ids(&current)[0]);
    let rest = service.get(&after, Some(token)).await;
    assert_eq!(rest.body, json!({"sessions": []}));
    let put = service
        .as_bearer(Method::PUT, "/auth/sessions", token)
        .await;
    assert_eq!(
        (put.status, &put.headers["allow"]),
        (405, &HeaderValue::from_static("GET, HEAD"))
    );
}
