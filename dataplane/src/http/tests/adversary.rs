//! What an adversary tried, each attack beside the honest request that differs in one thing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vestibule_crds::duration::Duration;
use vestibule_crds::issuer::Issuer;
use vestibule_crds::snapshot::{Client as OauthClient, ClientProof, UpstreamMfa};

use super::*;
use crate::flows::frame::Frame;
use crate::testing::{sign, without};
use vestibule_idtoken::token::UnverifiedToken;
use vestibule_store::EventKind;
use vestibule_store::passwords::ReadUser;

const PROXY: &str = "127.0.0.0/8";

fn claims_of(token: &str) -> Value {
    UnverifiedToken::parse(token).expect("a token").claims
}

/// A second policy and a provider of it, with a key of its own.
fn tenant(name: &str) -> (Policy, Provider, SigningKey) {
    let key = testing::key(SigningAlgorithm::ES256);
    let mut policy = testing::policy();
    policy.name = format!("{name}-policy");
    policy.namespace = "auth".to_owned();
    let issuer = Issuer::parse(&format!("https://{name}.example"), HttpIssuers::Refuse);
    policy.token.issuer = issuer.expect("an issuer");
    let mut provider = provider_of(&key);
    provider.name = name.to_owned();
    provider.policy = policy.name.clone();
    let issuer = Issuer::parse(&format!("https://idp.{name}.example"), HttpIssuers::Refuse);
    provider.issuer = issuer.expect("an issuer");
    (policy, provider, key)
}

struct Call<'a> {
    method: Method,
    path: &'a str,
    bearer: Option<&'a str>,
    forwarded: Option<&'a str>,
    agent: Option<&'a str>,
    body: Option<(&'static str, String)>,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            bearer: None,
            forwarded: None,
            agent: None,
            body: None,
        }
    }

    fn json(path: &'a str, body: &Value) -> Self {
        Self {
            body: Some(("application/json", body.to_string())),
            ..Self::new(Method::POST, path)
        }
    }

    fn form(path: &'a str, body: &str) -> Self {
        let kind = "application/x-www-form-urlencoded";
        Self {
            body: Some((kind, body.to_owned())),
            ..Self::new(Method::POST, path)
        }
    }
}

impl Service {
    async fn call(&self, call: Call<'_>) -> Reply {
        let mut request = self.request(call.method, call.path);
        let (kind, body) = call.body.unwrap_or(("application/json", String::new()));
        for (name, value) in [
            (
                "content-type",
                (!body.is_empty()).then_some(kind.to_owned()),
            ),
            (
                "authorization",
                call.bearer.map(|token| format!("Bearer {token}")),
            ),
            ("x-forwarded-for", call.forwarded.map(str::to_owned)),
            ("user-agent", call.agent.map(str::to_owned)),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        self.send(request.body(Full::from(body)).expect("a request"))
            .await
    }

    async fn signin_of(&self, id_token: &str, more: &Value) -> Reply {
        let mut body = json!({"id_token": id_token});
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        self.post("/auth/id-token/signin", &body).await
    }
}

fn code_of(reply: &Reply) -> &str {
    reply.body["code"].as_str().unwrap_or("ok")
}

#[tokio::test]
async fn one_policys_key_opens_no_session_of_another() {
    let (theirs, provider, key) = tenant("theirs");
    let own = testing::key(SigningAlgorithm::ES256);
    let policies = [testing::policy(), theirs.clone()];
    let service = {
        let served = snapshot(policies, [provider_of(&own), provider]);
        Service::serve(own, &served).await
    };
    let victim = service.signin(&service.token(&claims())).await;
    let real = claims_of(victim.text("access_token"));

    // The tenant holds its own signing key (`secretRefs`), and signs with it for another's session.
    let pem = &theirs.signing_keys[0].pem;
    let stolen = SigningKey::parse(pem, None).expect("the tenant's key");
    let head = json!({"alg": stolen.algorithm.name(), "kid": stolen.kid, "typ": "at+jwt"});
    let base = with(real.clone(), "iss", theirs.token.issuer.as_str());
    let account = with(
        with(base.clone(), "scope", "account"),
        "aud",
        theirs.token.issuer.as_str(),
    );
    let change = with(base.clone(), "scope", "password:change");
    let forged: Vec<String> = [base, account, change]
        .iter()
        .map(|claims| sign(&stolen, &head, claims))
        .collect();
    let id = real["sid"].as_str().expect("a session");
    let end = format!("/auth/sessions/{id}");
    let remove = format!("/auth/mfa/enrollments/{id}");
    let password = json!({"new_password": "correct horse"});
    for token in &forged {
        for call in [
            Call::new(Method::GET, "/auth/userinfo"),
            Call::new(Method::GET, "/auth/sessions"),
            Call::new(Method::DELETE, &end),
            Call::new(Method::POST, "/auth/signout"),
            Call::new(Method::POST, "/auth/signout/everywhere"),
            Call::new(Method::GET, "/auth/mfa/enrollments"),
            Call::json("/auth/mfa/enrollments/totp", &json!({})),
            Call::json(
                "/auth/mfa/enrollments/totp/confirm",
                &json!({"id": id, "code": "1"}),
            ),
            Call::new(Method::DELETE, &remove),
            Call::json("/auth/password", &password),
        ] {
            let path = call.path.to_owned();
            let reply = service
                .call(Call {
                    bearer: Some(token),
                    ..call
                })
                .await;
            let refused = ["access_token_invalid", "password_change_required"];
            assert!(refused.contains(&code_of(&reply)), "{path}: {}", reply.body);
        }
        for path in ["/auth/token/revoke", "/oauth2/revoke"] {
            let call = match path {
                "/oauth2/revoke" => Call::form(path, &format!("token={token}")),
                _ => Call::json(path, &json!({"token": token})),
            };
            let reply = service.call(call).await;
            assert!(reply.status < 300, "no session of it is no error");
        }
    }
    // A token of the right policy that names another user opens nothing either.
    let other = service.signin(&service.token_of("bob")).await;
    let mixed = with(
        real.clone(),
        "sub",
        claims_of(other.text("access_token"))["sub"].clone(),
    );
    let active = service.app.runtime_config.active();
    let policy = active.policy("default").expect("served");
    let key_of_ours = &policy.current_key().expect("a key").signing;
    let head =
        json!({"alg": key_of_ours.algorithm.name(), "kid": key_of_ours.kid, "typ": "at+jwt"});
    let mixed = sign(key_of_ours, &head, &mixed);
    let reply = service.get("/auth/userinfo", Some(&mixed)).await;
    assert_eq!(reply.code(), "access_token_invalid");
    // The session is untouched, and the tenant's own work as ever.
    let reply = service
        .get("/auth/userinfo", Some(victim.text("access_token")))
        .await;
    assert_eq!(reply.code(), "ok");
    let mine = with(claims(), "iss", "https://idp.theirs.example");
    let mine = service
        .signin_of(&token(&key, &mine), &json!({"provider": "theirs"}))
        .await;
    let reply = service
        .get("/auth/userinfo", Some(mine.text("access_token")))
        .await;
    assert_eq!(reply.code(), "ok");
}

#[tokio::test]
async fn a_services_token_manages_no_account() {
    let service = Service::start().await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let shown = signed_in.text("access_token");
    let session = claims_of(shown)["sid"]
        .as_str()
        .expect("a session")
        .to_owned();
    let end = format!("/auth/sessions/{session}");
    let remove = format!("/auth/mfa/enrollments/{session}");
    let calls = || {
        [
            (Call::new(Method::GET, "/auth/sessions"), 200),
            (Call::new(Method::GET, "/auth/mfa/enrollments"), 200),
            (Call::json("/auth/mfa/enrollments/totp", &json!({})), 201),
            (
                Call::json(
                    "/auth/mfa/enrollments/totp/confirm",
                    &json!({"id": "x", "code": "1"}),
                ),
                401,
            ),
            (Call::new(Method::DELETE, &remove), 404),
            (
                Call::json("/auth/password", &json!({"new_password": "x"})),
                400,
            ),
            (Call::new(Method::DELETE, &end), 204),
        ]
    };
    for (call, _) in calls() {
        let path = call.path.to_owned();
        let reply = service
            .call(Call {
                bearer: Some(shown),
                ..call
            })
            .await;
        let expected = (401, "insufficient_user_authentication");
        assert_eq!((reply.status, reply.code()), expected, "{path}");
        let challenge = reply.headers["www-authenticate"].to_str().expect("text");
        assert!(challenge.starts_with("Bearer error=\"insufficient_user_authentication\""));
        assert!(challenge.contains("scope=\"account\""), "{challenge}");
    }
    let account = service.account(&signed_in).await;
    for (call, status) in calls() {
        let path = call.path.to_owned();
        let reply = service
            .call(Call {
                bearer: Some(&account),
                ..call
            })
            .await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn an_account_token_is_for_us_alone_for_five_minutes_and_given_when_asked_for() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.extra_claims = [("tenant".to_owned(), "'acme'".to_owned())].into();
            policy
        },
    )
    .await;
    let id_token = service.token(&claims());
    let ordinary = service.signin_of(&id_token, &json!({})).await;
    let ordinary_claims = claims_of(ordinary.text("access_token"));
    assert_eq!(ordinary_claims["scope"], "openid");
    assert_eq!(ordinary_claims["tenant"], "acme");
    let asked = service
        .signin_of(&id_token, &json!({"scope": "openid account"}))
        .await;
    let said = claims_of(asked.text("access_token"));
    assert_eq!(said["aud"], "https://auth.example.com");
    assert_eq!(said["scope"], "account");
    assert_eq!(
        said["exp"].as_i64().zip(said["iat"].as_i64()),
        Some((NOW + 300, NOW))
    );
    for absent in ["groups", "tenant"] {
        assert_eq!(said.get(absent), None, "{absent}");
    }
    assert_eq!(asked.body["expires_in"], 300);
    for path in ["/auth/userinfo"] {
        let reply = service.get(path, Some(asked.text("access_token"))).await;
        assert_eq!(reply.code(), "ok");
    }
    // The session beside it is an ordinary one.
    let next = service.refresh(asked.text("refresh_token")).await;
    assert_eq!(claims_of(next.text("access_token"))["aud"], "internal");
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={id_token}\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token&scope=account"
    );
    let exchanged = service.call(Call::form("/oauth2/token", &form)).await;
    assert_eq!(exchanged.body["scope"], "account", "{}", exchanged.body);
    assert_eq!(
        claims_of(exchanged.text("access_token"))["scope"],
        "account"
    );
    let unknown = service
        .signin_of(&id_token, &json!({"scope": "everything"}))
        .await;
    assert_eq!((unknown.status, unknown.code()), (400, "invalid_scope"));
}

#[tokio::test]
async fn changes_of_the_account_want_a_recent_authentication() {
    let service = Service::start().await;
    for (auth_time, recent) in [
        (Some(NOW - 900), true),
        (Some(NOW - 901), false),
        // A time that has not come yet would be recent for ever.
        (Some(NOW + 3600), false),
        (None, false),
    ] {
        let claims = match auth_time {
            Some(at) => with(claims(), "auth_time", at),
            None => without(claims(), "auth_time"),
        };
        let signed_in = service.signin(&service.token(&claims)).await;
        let account = service.account(&signed_in).await;
        let looked = service.get("/auth/sessions", Some(&account)).await;
        assert_eq!(looked.code(), "ok", "to look wants no recent one");
        for call in [
            Call::json("/auth/mfa/enrollments/totp", &json!({})),
            Call::json("/auth/password", &json!({"new_password": "x"})),
            Call::new(Method::POST, "/auth/signout/everywhere"),
        ] {
            let path = call.path.to_owned();
            let reply = service
                .call(Call {
                    bearer: Some(&account),
                    ..call
                })
                .await;
            let refused =
                reply.status == 401 && code_of(&reply) == "insufficient_user_authentication";
            assert_eq!(refused, !recent, "{path} {auth_time:?}: {}", reply.body);
            if refused {
                let challenge = reply.headers["www-authenticate"].to_str().expect("text");
                assert!(challenge.contains("max_age=\"900\""), "{challenge}");
            }
        }
        // The own session ends at any time.
        let signed_in = service.signin(&service.token(&claims)).await;
        let account = service.account(&signed_in).await;
        let own = claims_of(&account)["sid"]
            .as_str()
            .expect("a session")
            .to_owned();
        let path = format!("/auth/sessions/{own}");
        let ended = service.as_bearer(Method::DELETE, &path, &account).await;
        assert_eq!(ended.status, 204);
    }
}

#[tokio::test]
async fn a_new_password_makes_no_session_that_ends_later() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.token.session_max_ttl = Duration::from_secs(2000);
            policy.token.refresh_ttl = Duration::from_secs(1000);
            policy
        },
    )
    .await;
    let mut reply = service.signin(&service.token(&claims())).await;
    let mut password = "first password".to_owned();
    for round in 0..2 {
        service.clock.advance(300);
        let account = service.account(&reply).await;
        let next = format!("password {round}");
        let body = json!({"current_password": password, "new_password": next});
        let changed = Call::json("/auth/password", &body);
        reply = service
            .call(Call {
                bearer: Some(&account),
                ..changed
            })
            .await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        password = next;
    }
    let ends = service
        .column("SELECT CAST(max(ends_at) AS TEXT) FROM sessions")
        .await;
    assert_eq!(ends, [(NOW + 2000).to_string()]);
    service.clock.advance(900);
    let reply = service.refresh(reply.text("refresh_token")).await;
    assert_eq!(reply.code(), "ok");
    service.clock.advance(500);
    let over = service.refresh(reply.text("refresh_token")).await;
    assert_eq!(over.code(), "refresh_token_invalid");
}

#[tokio::test]
async fn where_a_policy_has_no_passwords_none_is_set() {
    let service = Service::start_with(
        |provider| provider,
        |policy| Policy {
            password: None,
            ..policy
        },
    )
    .await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let account = service.account(&signed_in).await;
    let call = Call::json("/auth/password", &json!({"new_password": "correct horse"}));
    let reply = service
        .call(Call {
            bearer: Some(&account),
            ..call
        })
        .await;
    assert_eq!((reply.status, reply.code()), (403, "password_unavailable"));
}

#[tokio::test]
async fn a_factor_of_the_provider_is_as_old_as_it_is() {
    let service = Service::start_with(
        |provider| Provider {
            upstream_mfa: Some(UpstreamMfa {
                amr: vec!["mfa".to_owned()],
                acr: vec!["gold".to_owned()],
                max_auth_age: Duration::from_secs(600),
            }),
            ..provider
        },
        |policy| policy,
    )
    .await;
    let at = |auth_time: i64| {
        let claims = with(with(claims(), "amr", json!(["mfa", "pwd"])), "acr", "gold");
        service.token(&with(claims, "auth_time", auth_time))
    };
    let factor = |reply: &Reply| {
        let said = claims_of(reply.text("access_token"));
        (said["amr"].clone(), said["acr"].clone())
    };
    let fresh = service.signin(&at(NOW - 500)).await;
    assert_eq!(factor(&fresh), (json!(["mfa"]), json!("gold")));
    for stale in [NOW - 601, NOW + 3600] {
        let reply = service.signin(&at(stale)).await;
        assert_eq!(factor(&reply), (Value::Null, Value::Null), "{stale}");
    }
    service.clock.advance(100);
    let kept = service.refresh(fresh.text("refresh_token")).await;
    assert_eq!(factor(&kept), (json!(["mfa"]), json!("gold")));
    service.clock.advance(1);
    let grown_old = service.refresh(kept.text("refresh_token")).await;
    assert_eq!(factor(&grown_old), (Value::Null, Value::Null));
}

#[tokio::test]
async fn a_thief_inside_the_grace_ends_the_session_and_is_seen() {
    const USER: (&str, &str) = (
        "203.0.113.7",
        "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
    );
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.trusted_proxies = vec![PROXY.parse().expect("a network")];
            policy
        },
    )
    .await;
    let refresh = async |token: &str, (client, agent): (&str, &str)| {
        let call = Call::json("/auth/token/refresh", &json!({"refresh_token": token}));
        service
            .call(Call {
                forwarded: Some(client),
                agent: Some(agent),
                ..call
            })
            .await
    };
    for thief in [("198.51.100.9", USER.1), (USER.0, "curl/8.0.1")] {
        let first = service.signin(&service.token(&claims())).await;
        let stolen = first.text("refresh_token");
        let second = refresh(stolen, USER).await;
        // The user's second tab, and a lost answer: the same successor.
        let again = refresh(stolen, ("203.0.113.99", USER.1)).await;
        assert_eq!(again.text("refresh_token"), second.text("refresh_token"));
        let theft = refresh(stolen, thief).await;
        assert_eq!((theft.status, theft.code()), (401, "refresh_token_reused"));
        let ended = refresh(second.text("refresh_token"), USER).await;
        assert_eq!(ended.code(), "refresh_token_invalid");
    }
    let graces = "SELECT outcome FROM events WHERE kind = 'refresh' AND outcome = 'grace_used'";
    assert_eq!(service.column(graces).await.len(), 2);
    let reuse =
        "SELECT network FROM events WHERE outcome = 'refresh_token_reused' AND kind = 'signout'";
    let reuse = service.column(reuse).await;
    assert_eq!(reuse, ["198.51.100.0/24", "203.0.113.0/24"]);
    let metrics = service.app.metrics.render(service.app.store.work());
    assert!(
        metrics.contains("vestibule_refresh_grace_used_total 2"),
        "{metrics}"
    );
}

/// Every endpoint that refuses, with a request of the strict policy that is refused once its policy is known.
async fn refused_calls(
    service: &Service,
    signed_in: &Reply,
) -> Vec<(&'static str, Value, &'static str)> {
    let used = signed_in.text("refresh_token").to_owned();
    let next = service.refresh(&used).await;
    let account = service.account(&next).await;
    let bad = service.token(&with(claims(), "aud", "other"));
    let ended = service.signin(&service.token(&claims())).await;
    let over = service
        .as_bearer(Method::POST, "/auth/signout", ended.text("access_token"))
        .await;
    assert_eq!(over.status, 204);
    let head = json!({"alg": "ES256", "kid": service.key.kid, "typ": "logout+jwt"});
    let logout = json!({"iss": testing::ISSUER, "sub": "alice", "aud": "web", "jti": "1", "iat": NOW, "exp": NOW + 60, "events": {}});
    let logout = sign(&service.key, &head, &logout);
    vec![
        (
            "/auth/id-token/signin",
            json!({"id_token": bad, "provider": "corp"}),
            "",
        ),
        (
            "/auth/token/refresh",
            json!({"refresh_token": ended.text("refresh_token")}),
            "",
        ),
        (
            "/auth/password",
            json!({"new_password": "x", "bearer": account}),
            "bearer",
        ),
        (
            "/auth/logout/backchannel",
            json!(format!("logout_token={logout}")),
            "form",
        ),
        (
            "/oauth2/token",
            json!("grant_type=refresh_token&client_id=gateway&client_secret=wrong"),
            "form",
        ),
    ]
}

#[tokio::test]
async fn proxies_and_limits_of_one_policy_are_nothing_to_another_at_any_endpoint() {
    for (path, limited_at) in [
        ("/auth/id-token/signin", 429),
        ("/auth/token/refresh", 429),
        ("/auth/password", 429),
        ("/auth/logout/backchannel", 429),
        ("/oauth2/token", 429),
    ] {
        let own = testing::key(SigningAlgorithm::ES256);
        let mut strict = testing::policy();
        strict.limits.failures_per_ip_per_minute = 3;
        strict.clients = Some(vec![OauthClient {
            id: "gateway".to_owned(),
            allow: Vec::new(),
            proof: ClientProof::Secret {
                digests: Vec::new(),
            },
        }]);
        let (mut trusting, provider, _) = tenant("trusting");
        trusting.limits.failures_per_ip_per_minute = 1_000_000;
        trusting.trusted_proxies = vec![PROXY.parse().expect("a network")];
        let served = snapshot([strict, trusting], [provider_of(&own), provider]);
        let service = Service::serve(own, &served).await;
        let signed_in = service.signin(&service.token(&claims())).await;
        let calls = refused_calls(&service, &signed_in).await;
        let (_, body, kind) = calls.iter().find(|(at, ..)| *at == path).expect("listed");
        let mut statuses = Vec::new();
        for number in 0..6 {
            let forged = format!("203.0.113.{number}");
            let call = match *kind {
                "form" => Call::form(path, body.as_str().expect("a form")),
                _ => Call::json(path, body),
            };
            let reply = service
                .call(Call {
                    forwarded: Some(&forged),
                    bearer: body["bearer"].as_str(),
                    ..call
                })
                .await;
            statuses.push(reply.status);
        }
        assert!(
            statuses[..3].iter().all(|status| *status != 429),
            "{path} {statuses:?}"
        );
        assert_eq!(statuses[3..], [limited_at; 3], "{path}");
        let networks = "SELECT DISTINCT network FROM events";
        assert_eq!(service.column(networks).await, ["127.0.0.0/24"], "{path}");
    }
}

#[tokio::test]
async fn a_second_factor_is_held_to_the_proxies_of_its_own_policy() {
    let own = testing::key(SigningAlgorithm::ES256);
    let mut strict = testing::policy();
    strict.mfa.mode = vestibule_crds::signin_policy::MfaMode::Always;
    strict.limits.failures_per_ip_per_minute = 3;
    let (mut trusting, provider, _) = tenant("trusting");
    trusting.trusted_proxies = vec![PROXY.parse().expect("a network")];
    let served = snapshot([strict, trusting], [provider_of(&own), provider]);
    let service = Service::serve(own, &served).await;
    let challenge = service.challenge("alice").await;
    let mut statuses = Vec::new();
    for number in 0..5 {
        let forged = format!("203.0.113.{number}");
        let body = json!({"challenge_token": challenge, "method": "sms_otp", "code": "1"});
        let call = Call::json("/auth/mfa/verify", &body);
        let reply = service
            .call(Call {
                forwarded: Some(&forged),
                ..call
            })
            .await;
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [400, 400, 400, 429, 429]);
}

#[tokio::test]
async fn an_older_provider_of_a_tenant_takes_no_sign_in_from_the_releases_own() {
    let own = testing::key(SigningAlgorithm::ES256);
    let mut ours = provider_of(&own);
    ours.created_at = Some("2026-03-01T00:00:00Z".to_owned());
    let (mut policy, mut theirs, _) = tenant("tenant");
    theirs.created_at = Some("2026-01-01T00:00:00Z".to_owned());
    theirs.issuer = ours.issuer.clone();
    theirs.audiences = ours.audiences.clone();
    theirs.keys = ours.keys.clone();
    for object in [&mut policy.namespace, &mut theirs.namespace] {
        "elsewhere".clone_into(object);
    }
    let mut served = snapshot([testing::policy(), policy], [ours, theirs]);
    let inferred = async |served: &Snapshot| {
        let service = Service::serve(testing::key(SigningAlgorithm::ES256), served).await;
        let body = json!({"id_token": testing::token(&own, &claims())});
        let reply = service.post("/auth/id-token/signin", &body).await;
        claims_of(reply.text("access_token"))["idp"].clone()
    };
    assert_eq!(inferred(&served).await, "tenant", "all are the installer's");
    served.own_namespace = Some("auth".to_owned());
    assert_eq!(inferred(&served).await, "corp");
}

#[tokio::test]
async fn failures_side_by_side_are_no_more_than_the_limit() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.limits.failures_per_ip_per_minute = 3;
            policy
        },
    )
    .await;
    let (app, headers) = (&service.app, http::HeaderMap::new());
    let peer = IpAddr::from([192, 0, 2, 1]);
    let active = app.runtime_config.active();
    let policy = active.policies().next().expect("one is served");
    let mut frames = Vec::new();
    for id in 0..10 {
        let request_id = &*id.to_string().leak();
        let caller = Caller {
            peer,
            headers: &headers,
            request_id,
        };
        let mut frame = Frame::begin(app, EventKind::Signin, caller);
        frame.policy(app, policy, "corp");
        assert!(!frame.is_limited(), "none of them has ended yet");
        frames.push(frame);
    }
    let mut ends = Vec::new();
    for frame in &frames {
        let refused: Result<(), Failure> = Err(Code::TokenMalformed.because("junk").into());
        let failure = frame.end(app, refused).expect_err("it was refused");
        ends.push(matches!(failure, Failure::Refused(_)));
    }
    assert_eq!(ends, [[true; 3].as_slice(), &[false; 7]].concat());
    assert_eq!(service.events().await.len(), 3, "no event for 429");
}

#[tokio::test]
async fn one_providers_trouble_is_not_anothers() {
    let own = testing::key(SigningAlgorithm::ES256);
    let mut policy = testing::policy();
    policy.limits.failures_per_ip_per_minute = 3;
    let mut second = provider_of(&own);
    second.name = "second".to_owned();
    let service = {
        let served = snapshot([policy], [provider_of(&own), second]);
        Service::serve(own, &served).await
    };
    let bad = service.token(&with(claims(), "aud", "other"));
    let at = async |provider: &str| {
        let reply = service
            .signin_of(&bad, &json!({"provider": provider}))
            .await;
        reply.code().to_owned()
    };
    for _ in 0..3 {
        assert_eq!(at("corp").await, "token_audience_mismatch");
    }
    assert_eq!(at("corp").await, "rate_limited");
    assert_eq!(at("second").await, "token_audience_mismatch");
}

#[tokio::test]
async fn over_the_limit_nothing_is_fetched_and_nothing_is_written() {
    let own = testing::key(SigningAlgorithm::ES256);
    let mut policy = testing::policy();
    policy.limits.failures_per_ip_per_minute = 2;
    let mut provider = provider_of(&own);
    // A fetch would be refused at once, and be an outage.
    provider.keys = vestibule_crds::snapshot::KeySource::JwksUri {
        url: "http://127.0.0.1:1/jwks".to_owned(),
    };
    let service = Service::serve(own, &snapshot([policy], [provider])).await;
    let malformed = json!({"provider": "corp"});
    for _ in 0..2 {
        let reply = service.signin_of("junk", &malformed).await;
        assert_eq!(reply.code(), "token_malformed");
    }
    let good = service.token(&claims());
    let reply = service.signin_of(&good, &malformed).await;
    assert_eq!((reply.status, reply.code()), (429, "rate_limited"));
    let active = service.app.runtime_config.active();
    let vestibule_idtoken::keys::ProviderKeys::Remote(keys) =
        &active.provider("corp").expect("served").keys
    else {
        panic!("they are fetched");
    };
    assert_eq!(keys.fetches(), 0);
    let rows = service.column("SELECT outcome FROM events").await;
    assert_eq!(
        rows,
        ["token_malformed", "token_malformed"],
        "no row for 429"
    );
}

#[tokio::test]
async fn a_number_that_is_not_verified_gets_no_codes() {
    let service = Service::start_with(
        |mut provider| {
            provider.mapping.phone = Some("claims.phone_number".to_owned());
            provider
        },
        |policy| policy,
    )
    .await;
    for (verified, usable) in [
        (json!(false), false),
        (json!("true"), false),
        (json!(true), true),
        (Value::Null, true),
    ] {
        let claims = with(claims(), "phone_number", "+15550100");
        let claims = with(claims, "phone_number_verified", verified.clone());
        let reply = service.signin(&service.token(&claims)).await;
        assert_eq!(
            reply.body["user"]["phone"], "+15550100",
            "it is still shown"
        );
        let id = reply.text_of_user("id").parse().expect("an id");
        let user = service
            .app
            .store
            .run(ReadUser(id))
            .await
            .expect("the store")
            .expect("the user");
        let number = crate::flows::mfa_requirement::number_for_codes(&user.profile);
        assert_eq!(number.is_some(), usable, "{verified}");
    }
}

fn only_clients(policy: Policy) -> Policy {
    Policy {
        clients: Some(vec![OauthClient {
            id: "gateway".to_owned(),
            allow: vec![vestibule_crds::signin_policy::ClientPermission::TokenExchange],
            proof: ClientProof::Secret {
                digests: vec![vestibule_crds::secret::Secret::new(
                    base64::engine::general_purpose::STANDARD
                        .encode(crate::encoding::sha256(b"secret")),
                )],
            },
        }]),
        only_clients: true,
        ..policy
    }
}

async fn exchange(service: &Service) -> Reply {
    let id_token = service.token(&claims());
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={id_token}\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token\
         &client_id=gateway&client_secret=secret"
    );
    let reply = service.call(Call::form("/oauth2/token", &form)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply
}

#[tokio::test]
async fn only_clients_closes_the_other_doors() {
    let service = Service::start_with(|provider| provider, only_clients).await;
    let reply = service.signin(&service.token(&claims())).await;
    assert_eq!((reply.status, reply.code()), (401, "invalid_client"));
    let exchanged = exchange(&service).await;
    let reply = service.refresh(exchanged.text("refresh_token")).await;
    assert_eq!(reply.code(), "refresh_token_invalid");
}

#[tokio::test]
async fn a_session_of_a_client_is_revoked_by_that_client_alone() {
    let service = Service::start_with(
        |provider| provider,
        |policy| Policy {
            only_clients: false,
            ..only_clients(policy)
        },
    )
    .await;
    let exchanged = exchange(&service).await;
    let access = exchanged.text("access_token").to_owned();
    for token in [&access, exchanged.text("refresh_token")] {
        let reply = service
            .post("/auth/token/revoke", &json!({"token": token}))
            .await;
        assert_eq!((reply.status, reply.code()), (400, "unauthorized_client"));
        let lives = service.get("/auth/userinfo", Some(&access)).await;
        assert_eq!(lives.code(), "ok");
    }
    // A session without a client is revoked as ever, and its user ends any.
    let own = service.signin(&service.token(&claims())).await;
    let token = json!({"token": own.text("refresh_token")});
    assert_eq!(service.post("/auth/token/revoke", &token).await.status, 204);
    let out = service
        .as_bearer(Method::POST, "/auth/signout", &access)
        .await;
    assert_eq!(out.status, 204);
}

#[tokio::test]
async fn a_challenge_of_a_login_that_the_provider_has_ended_is_not_completed() {
    let service = Service::start_with(
        |provider| provider,
        |mut policy| {
            policy.mfa.mode = vestibule_crds::signin_policy::MfaMode::Always;
            policy
        },
    )
    .await;
    let (app, _) = service.enroll("alice").await;
    let now = service.clock.now();
    let base = with(with(claims(), "exp", now + 600), "iat", now);
    let opened = service
        .signin(&service.token(&with(base, "sid", "s-1")))
        .await;
    let challenge = opened.text("challenge_token").to_owned();
    let head = json!({"alg": "ES256", "kid": service.key.kid, "typ": "logout+jwt"});
    let logout = json!({"iss": testing::ISSUER, "sid": "s-1", "aud": "web", "jti": "1", "iat": now, "exp": now + 60,
        "events": {vestibule_idtoken::verify::logout::EVENT: {}}});
    let form = format!("logout_token={}", sign(&service.key, &head, &logout));
    let reply = service
        .call(Call::form("/auth/logout/backchannel", &form))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let reply = service
        .verify(&challenge, "totp", &app.code(&service, 0))
        .await;
    assert_eq!((reply.status, reply.code()), (401, "token_session_ended"));
    // Another session of the same user goes on.
    let other = service.challenge("alice").await;
    service.clock.advance(30);
    let reply = service.verify(&other, "totp", &app.code(&service, 0)).await;
    assert_eq!(reply.code(), "ok");
}

#[tokio::test]
async fn nothing_of_an_access_token_that_was_changed_by_hand_is_believed() {
    let service = Service::start().await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let token = signed_in.text("access_token");
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let account = with(claims_of(token), "scope", "account");
    parts[1] = URL_SAFE_NO_PAD.encode(with(account, "aud", "https://auth.example.com").to_string());
    let forged = parts.join(".");
    let reply = service.get("/auth/sessions", Some(&forged)).await;
    assert_eq!((reply.status, reply.code()), (401, "access_token_invalid"));
}
