//! What clients find out by themselves: RFC 8414 and RFC 9728.

use vestibule_crds::issuer::Issuer;

use super::*;

async fn discovery(service: &Service) -> Value {
    let openid = service.get("/.well-known/openid-configuration", None).await;
    let oauth = service
        .get("/.well-known/oauth-authorization-server", None)
        .await;
    assert_eq!(openid.body, oauth.body);
    openid.body
}

#[tokio::test]
async fn the_metadata_names_the_endpoints_and_how_clients_prove_themselves() {
    let service = Service::start().await;
    let open = discovery(&service).await;
    assert_eq!(
        open["token_endpoint"],
        "https://auth.example.com/oauth2/token"
    );
    assert_eq!(
        open["revocation_endpoint"],
        "https://auth.example.com/oauth2/revoke"
    );
    assert_eq!(
        open["grant_types_supported"],
        json!([EXCHANGE, "refresh_token"])
    );
    assert_eq!(open["response_types_supported"], json!([]));
    assert_eq!(
        open["token_endpoint_auth_methods_supported"],
        json!(["none"])
    );
    assert!(
        open.get("introspection_endpoint").is_none(),
        "nobody may use it"
    );
    assert!(
        open.get("token_endpoint_auth_signing_alg_values_supported")
            .is_none()
    );

    let key = testing::key(SigningAlgorithm::ES256);
    let service = with_clients(vec![
        client("gateway", &ALL, by_secret(SECRET)),
        client(
            "signer",
            &ALL,
            ClientProof::PrivateKeyJwt {
                jwks: json!({"keys": [key.jwk]}),
            },
        ),
    ])
    .await;
    let closed = discovery(&service).await;
    assert_eq!(
        closed["introspection_endpoint"],
        "https://auth.example.com/oauth2/introspect"
    );
    for endpoint in ["token", "revocation", "introspection"] {
        assert_eq!(
            closed[format!("{endpoint}_endpoint_auth_methods_supported")],
            json!([
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt"
            ])
        );
        let algorithms = &closed[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        let algorithms = algorithms.as_array().expect("a list");
        assert!(algorithms.contains(&json!("ES256")) && !algorithms.contains(&json!("HS256")));
    }
}

#[tokio::test]
async fn userinfo_says_whose_tokens_open_it() {
    let service = Service::start().await;
    let path = "/.well-known/oauth-protected-resource/auth/userinfo";
    let document = service.get(path, None).await;
    assert_eq!(
        document.text("resource"),
        "https://auth.example.com/auth/userinfo"
    );
    assert_eq!(document.body["authorization_servers"], json!([ISSUER]));
    let refused = service.get("/auth/userinfo", Some("x")).await;
    assert_eq!(
        refused.headers["www-authenticate"],
        format!("Bearer error=\"invalid_token\", resource_metadata=\"{ISSUER}{path}\"")
    );
    let signed_in = service.signin(&service.token(&claims())).await;
    let access = signed_in.text("access_token");
    let accepted = service.get("/auth/userinfo", Some(access)).await;
    assert!(!accepted.headers.contains_key("www-authenticate"));
}

#[tokio::test]
async fn issuers_of_one_host_share_its_userinfo_and_hosts_do_not() {
    let key = testing::key(SigningAlgorithm::ES256);
    let issuers = [
        ("a", "https://a.example"),
        ("b", "https://b.example:8443"),
        ("c", "https://a.example/tenants/c"),
    ];
    let policies = issuers.map(|(name, issuer)| {
        let mut policy = testing::policy();
        policy.name = name.to_owned();
        policy.token.issuer = Issuer::parse(issuer, HttpIssuers::Refuse).expect("an issuer");
        policy
    });
    let service = Service::serve(key, &snapshot(policies, [])).await;
    let path = "/.well-known/oauth-protected-resource/auth/userinfo";
    for (host, issuers) in [
        (
            "a.example",
            Some(json!(["https://a.example", "https://a.example/tenants/c"])),
        ),
        ("B.example:8443", Some(json!(["https://b.example:8443"]))),
        ("c.example", None),
    ] {
        let at = |path: &str| {
            let request = service.request(Method::GET, path).header("host", host);
            service.send(request.body(Full::default()).expect("a request"))
        };
        let document = at(path).await;
        assert_eq!(
            document.body.get("authorization_servers"),
            issuers.as_ref(),
            "{host}"
        );
        let refused = at("/auth/userinfo").await;
        let challenge = refused.headers["www-authenticate"].to_str().expect("text");
        assert_eq!(
            challenge.contains("resource_metadata="),
            issuers.is_some(),
            "{host}"
        );
    }
}
