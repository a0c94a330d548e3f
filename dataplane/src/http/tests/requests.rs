//! What stands around a sign-in: methods, media types, sizes, ids, documents.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vestibule_crds::issuer::Issuer;

use super::*;

#[tokio::test]
async fn a_sign_in_answers_local_tokens() {
    let service = Service::start().await;
    let reply = service.signin(&service.token(&claims())).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.text("token_type"), "Bearer");
    assert_eq!(reply.body["expires_in"], 600);
    assert_eq!(reply.body["user"]["email"], "alice@corp.example");
    assert_eq!(reply.body["user"]["status"], "active");
    assert_eq!(reply.body["user"]["created_at"], "2030-03-17T17:46:40Z");
    assert_eq!(reply.body["requires_mfa"], false);
    let nulls = reply
        .body
        .as_object()
        .map(|members| members.values().filter(|value| value.is_null()).count());
    assert_eq!(nulls, Some(0), "an absent value is left out");
}

#[tokio::test]
async fn the_request_id_comes_back_when_it_is_safe() {
    let service = Service::start().await;
    for (sent, kept) in [
        ("abc-123", true),
        ("a b", false),
        ("<script>", false),
        (&"x".repeat(129), false),
    ] {
        let request = service
            .request(Method::GET, "/nowhere")
            .header("x-request-id", sent)
            .body(Full::default());
        let reply = service.send(request.expect("a request")).await;
        let returned = reply.headers["x-request-id"].to_str().expect("text");
        assert_eq!(returned == sent, kept, "{sent}");
        assert_eq!(reply.text("request_id"), returned);
        assert!(!returned.is_empty());
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let service = Service::start().await;
    assert_eq!(service.get("/nowhere", None).await.code(), "not_found");
    let reply = service.get("/auth/id-token/signin", None).await;
    assert_eq!((reply.status, reply.code()), (405, "method_not_allowed"));
    assert_eq!(reply.headers["allow"], "POST");
    let reply = service.post("/auth/userinfo", &json!({})).await;
    assert_eq!(reply.headers["allow"], "GET, HEAD");
    let reply = service.post("/jwks.json", &json!({})).await;
    assert_eq!(reply.code(), "method_not_allowed");
}

#[tokio::test]
async fn only_plain_json_is_read() {
    let service = Service::start().await;
    for (content_type, encoding, status) in [
        (Some("application/json"), None, 400),
        (Some("application/json; charset=UTF-8"), None, 400),
        (Some("APPLICATION/JSON"), Some("identity"), 400),
        (None, None, 415),
        (Some("text/plain"), None, 415),
        (Some("application/x-www-form-urlencoded"), None, 415),
        (Some("application/json; charset=utf-16"), None, 415),
        (Some("application/json"), Some("gzip"), 415),
    ] {
        let mut request = service.request(Method::POST, "/auth/id-token/signin");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let reply = service
            .send(request.body(Full::from("{}")).expect("a request"))
            .await;
        assert_eq!(reply.status, status, "{content_type:?} {encoding:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_plain_object_is_an_invalid_request() {
    let service = Service::start().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        r#"{"id_token":1}"#,
        r#"{"id_token":["x"]}"#,
        r#"{"id_token":"a","id_token":"b"}"#,
        r#"{"id_token":"x","provider":{}}"#,
        r#"{"id_token":"x","nonce":0}"#,
        "{\"id_token\":\"\u{0}\"}",
    ] {
        let request = service
            .request(Method::POST, "/auth/id-token/signin")
            .header("content-type", "application/json")
            .body(Full::from(body));
        let reply = service.send(request.expect("a request")).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "invalid_request"),
            "{body}"
        );
    }
    for body in [
        "{}",
        r#"{"id_token":null}"#,
        r#"{"id_token":""}"#,
        r#"{"unknown":1}"#,
    ] {
        let request = service
            .request(Method::POST, "/auth/id-token/signin")
            .header("content-type", "application/json")
            .body(Full::from(body));
        let reply = service.send(request.expect("a request")).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "id_token_required"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_member_is_as_long_as_the_document_says_at_most() {
    let service = Service::start().await;
    let signin = "/auth/id-token/signin";
    // Characters, not bytes.
    for (path, member, character, length, fits) in [
        (signin, "nonce", "ü", 512, "token_malformed"),
        (signin, "device_token", "ü", 512, "token_malformed"),
        (signin, "provider", "ü", 253, "token_malformed"),
        ("/auth/token/revoke", "token", "x", 16_384, "ok"),
    ] {
        let body = |length| json!({"id_token": "x", member: character.repeat(length)});
        let longest = service.post(path, &body(length)).await;
        assert_eq!(longest.code(), fits, "{member}");
        let longer = service.post(path, &body(length + 1)).await;
        assert_eq!(longer.code(), "invalid_request", "{member}");
    }
}

#[tokio::test]
async fn a_body_is_bounded() {
    let service = Service::start().await;
    let fits = json!({"id_token": "x".repeat(30_000)});
    assert_eq!(
        service.post("/auth/id-token/signin", &fits).await.code(),
        "token_malformed"
    );
    let large = json!({"id_token": "x".repeat(33_000)});
    let reply = service.post("/auth/id-token/signin", &large).await;
    assert_eq!((reply.status, reply.code()), (413, "request_too_large"));
}

#[tokio::test]
async fn a_problem_never_echoes_the_token() {
    let service = Service::start().await;
    let text = "eyJhbGciOiJub25lIn0.ZWNoby1tZQ.c2lnbmF0dXJl-echo-me";
    let reply = service.signin(text).await;
    assert_eq!(reply.code(), "token_malformed");
    assert!(!reply.body.to_string().contains("echo-me"));
    assert_eq!(reply.body["type"], "urn:vestibule:problem:token_malformed");
    assert_eq!(reply.body["status"], 401);
}

#[tokio::test]
async fn the_issuers_documents_are_published() {
    let service = Service::start().await;
    let discovery = service.get("/.well-known/openid-configuration", None).await;
    assert_eq!(discovery.text("issuer"), "https://auth.example.com");
    assert_eq!(
        discovery.text("jwks_uri"),
        "https://auth.example.com/jwks.json"
    );
    let same = service
        .get("/.well-known/oauth-authorization-server", None)
        .await;
    assert_eq!(same.body, discovery.body);
    let jwks = service.get("/jwks.json", None).await;
    let keys = jwks.body["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 1);
    assert!(keys[0].get("d").is_none(), "no private member");
    assert_eq!(keys[0]["use"], "sig");
}

#[tokio::test]
async fn issuers_with_one_path_are_told_apart_by_host_and_others_by_path() {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut policies = Vec::new();
    for (name, issuer) in [
        ("a", "https://a.example"),
        ("b", "https://b.example"),
        ("c", "https://a.example/tenants/c"),
    ] {
        let mut policy = testing::policy();
        policy.name = name.to_owned();
        policy.token.issuer = Issuer::parse(issuer, HttpIssuers::Refuse).expect("an issuer");
        policies.push(policy);
    }
    let service = Service::serve(key, &snapshot(policies, [])).await;
    for (path, host, issuer) in [
        (
            "/.well-known/openid-configuration",
            "a.example",
            Some("https://a.example"),
        ),
        (
            "/.well-known/openid-configuration",
            "B.example",
            Some("https://b.example"),
        ),
        ("/.well-known/openid-configuration", "c.example", None),
        (
            "/tenants/c/.well-known/openid-configuration",
            "anything",
            Some("https://a.example/tenants/c"),
        ),
        (
            "/.well-known/oauth-authorization-server/tenants/c",
            "anything",
            Some("https://a.example/tenants/c"),
        ),
    ] {
        let request = service
            .request(Method::GET, path)
            .header("host", host)
            .body(Full::default());
        let reply = service.send(request.expect("a request")).await;
        assert_eq!(reply.body["issuer"].as_str(), issuer, "{path} {host}");
    }
}

#[tokio::test]
async fn a_second_policy_takes_no_document_from_callers_in_the_cluster() {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut policies = vec![testing::policy()];
    // One that takes the very host that callers in the cluster use, in a namespace of its own.
    for (namespace, issuer) in [
        ("shop", "https://shop.example"),
        ("tenant", "https://vestibule.auth.svc"),
    ] {
        let mut policy = testing::policy();
        policy.namespace = namespace.to_owned();
        policy.token.issuer = Issuer::parse_own(issuer, HttpIssuers::Refuse).expect("an issuer");
        policies.push(policy);
    }
    let kid = |policy: &Policy| policy.signing_keys[0].kid.clone();
    let wanted = [
        ("auth", "https://auth.example.com", kid(&policies[0])),
        ("shop", "https://shop.example", kid(&policies[1])),
        ("tenant", "https://vestibule.auth.svc", kid(&policies[2])),
    ];
    let service = Service::serve(key, &snapshot(policies, [])).await;
    let get = async |path: &str| {
        let request = service
            .request(Method::GET, path)
            .header("host", "vestibule.auth.svc")
            .body(Full::default());
        service.send(request.expect("a request")).await
    };
    for (namespace, issuer, kid) in wanted {
        let base = format!("/policies/{namespace}/default");
        let keys = get(&format!("{base}/jwks.json")).await;
        assert_eq!(keys.body["keys"][0]["kid"], kid.as_str(), "{namespace}");
        for name in ["openid-configuration", "oauth-authorization-server"] {
            let discovery = get(&format!("{base}/.well-known/{name}")).await;
            assert_eq!(discovery.body["issuer"], issuer);
            let jwks_uri = format!("{issuer}{base}/jwks.json");
            assert_eq!(discovery.body["jwks_uri"], jwks_uri.as_str());
        }
    }
    let unknown = get("/policies/auth/other/jwks.json").await;
    assert_eq!((unknown.status, unknown.code()), (404, "not_found"));
}

#[tokio::test]
async fn a_claim_whose_name_means_something_to_a_library_is_carried_as_it_is() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.extra_claims = [("odd".to_owned(), "claims.odd".to_owned())].into();
            policy
        },
    )
    .await;
    for odd in [
        json!({"$serde_json::private::RawValue": 5}),
        json!({"$serde_json::private::RawValue": "{\"a\":1}"}),
        json!({"$serde_json::private::Number": "7"}),
    ] {
        let token = service.token(&with(claims(), "odd", odd.clone()));
        let mut reply = service.signin(&token).await;
        for step in ["signed in", "refreshed"] {
            assert_eq!(reply.status, 200, "{step}: {}", reply.body);
            let access = reply.text("access_token");
            let payload = access.split('.').nth(1).expect("a payload");
            let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
            let payload: Value = serde_json::from_slice(&payload).expect("JSON");
            assert_eq!(payload["odd"], odd, "{step}");
            reply = service.refresh(reply.text("refresh_token")).await;
        }
    }
}

#[tokio::test]
async fn what_is_served_keeps_no_text_of_its_signing_keys() {
    let service = Service::start().await;
    let active = service.app.runtime_config.active();
    let policy = active.policy("auth/default").expect("it is served");
    assert_eq!(policy.spec.signing_keys.len(), policy.keys.len());
    for key in &policy.spec.signing_keys {
        assert_eq!(key.pem.expose(), "");
    }
    let reply = service.signin(&service.token(&claims())).await;
    assert_eq!(reply.status, 200, "and it signs");
}

#[tokio::test]
async fn a_bare_name_is_the_own_namespace_s_provider_or_the_only_one() {
    let key = testing::key(SigningAlgorithm::ES256);
    let provider = |namespace: &str, name: &str| {
        let mut provider = provider_of(&key);
        provider.namespace = namespace.to_owned();
        provider.name = name.to_owned();
        provider
    };
    let providers = [
        provider("auth", "corp"),
        provider("shop", "corp"),
        provider("shop", "only"),
        provider("shop", "twice"),
        provider("tenant", "twice"),
    ];
    let mut snapshot = snapshot([testing::policy()], providers);
    snapshot.own_namespace = Some("auth".to_owned());
    let service = Service::serve(testing::key(SigningAlgorithm::ES256), &snapshot).await;
    let active = service.app.runtime_config.active();
    let found = |name: &str| active.provider(name).map(|provider| provider.key.clone());
    assert_eq!(found("corp").as_deref(), Some("auth/corp"));
    assert_eq!(found("shop/corp").as_deref(), Some("shop/corp"));
    assert_eq!(found("only").as_deref(), Some("shop/only"));
    assert_eq!(found("twice"), None);
    assert_eq!(found("tenant/twice").as_deref(), Some("tenant/twice"));
    assert_eq!(found("tenant/only"), None);
}

#[tokio::test]
async fn the_openapi_document_names_every_code() {
    let service = Service::start().await;
    let document = service.get("/openapi.json", None).await.body;
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let text = document["paths"].to_string();
    let elsewhere = [Code::NotFound, Code::MethodNotAllowed, Code::Internal];
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(text.contains(code.as_str()), "{}", code.as_str());
    }
    for reason in crate::failure::TryAgainReason::ALL {
        assert!(text.contains(reason.as_str()), "{}", reason.as_str());
    }
}

#[tokio::test]
async fn a_connection_in_use_is_told_to_end_when_the_service_stops() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let service = Service::start().await;
    let address = service.base.trim_start_matches("http://").to_owned();
    let mut connection = tokio::net::TcpStream::connect(address)
        .await
        .expect("a place");
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: v\r\n\r\n";
    connection.write_all(request).await.expect("it is sent");
    let mut first = [0; 512];
    let read = connection.read(&mut first).await.expect("an answer");
    let head = String::from_utf8_lossy(&first[..read]).to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && !head.contains("connection: close"),
        "{head}"
    );
    service.stop.cancel();
    connection.write_all(request).await.expect("it is sent");
    let mut rest = Vec::new();
    connection
        .read_to_end(&mut rest)
        .await
        .expect("it ends in good order");
    let rest = String::from_utf8_lossy(&rest).to_ascii_lowercase();
    assert!(
        rest.contains("connection: close"),
        "the second answer says so"
    );
}

#[tokio::test]
async fn requests_are_timed_by_route_and_outcome_and_never_by_what_a_caller_chose() {
    let service = Service::start().await;
    service.signin(&service.token(&claims())).await;
    service.signin("no token").await;
    service.get("/auth/id-token/signin", None).await;
    service.get("/eyJhbGciOiJSUzI1NiJ9", None).await;
    let id = "/auth/mfa/enrollments/0197a2c0-0000-7000-8000-000000000000";
    let request = service.request(Method::DELETE, id).body(Full::default());
    service.send(request.expect("a request")).await;
    let metrics = service.app.metrics.render(service.app.store.work());
    for (route, outcome) in [
        ("/auth/id-token/signin", "ok"),
        ("/auth/id-token/signin", "token_malformed"),
        ("/auth/id-token/signin", "method_not_allowed"),
        ("other", "not_found"),
        ("/auth/mfa/enrollments/{id}", "access_token_invalid"),
    ] {
        let line =
            format!(r#"vestibule_request_seconds_count{{route="{route}",outcome="{outcome}"}} 1"#);
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("eyJ") && !metrics.contains("0197a2c0"));
}
