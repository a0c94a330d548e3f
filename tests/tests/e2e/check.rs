//! `vestibule check`: what is right passes, and what is wrong is named by file, object and field, with what to change.

use serde_json::{Value, json};
use vestibule_tests::e2e::manifests::{file, policy, provider, secret, with};
use vestibule_tests::e2e::{Finished, vestibule};

const ISSUER: &str = "https://login.corp.example";

fn corp() -> Value {
    provider("corp", ISSUER)
}

/// Checks one file of this text, which is named `auth.yaml`.
async fn check(text: &str, more: &[&str]) -> Finished {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("auth.yaml"), text).expect("it can be written");
    let path = folder.path().to_str().expect("a path in UTF-8");
    let mut arguments = vec!["check", path];
    arguments.extend_from_slice(more);
    vestibule(arguments).await
}

#[tokio::test]
async fn manifests_that_are_right_are_accepted() {
    let checked = check(&file(&[corp(), policy()]), &[]).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(
        checked.stdout.contains("2 accepted, 0 refused"),
        "{}",
        checked.stdout
    );
    assert_eq!(checked.stderr, "");
}

#[tokio::test]
async fn each_mistake_is_named_by_file_object_and_field_with_what_to_change() {
    // The change, and what the message must hold.
    let of_provider: &[(&str, Value, &[&str])] = &[
        (
            "/spec/audience",
            json!(["web"]),
            &["spec.audience:", "did you mean `audiences`"],
        ),
        (
            "/spec/audiences",
            json!([]),
            &["spec.audiences:", "at least 1"],
        ),
        (
            "/spec/issuer",
            json!("http://login.corp.example"),
            &["spec.issuer:", "https"],
        ),
        (
            "/spec/issuer",
            json!("login.corp.example"),
            &["spec.issuer:", "https"],
        ),
        (
            "/spec/policyRef",
            json!({"name": "staff"}),
            &["PolicyNotFound", "spec.policyRef", "staff"],
        ),
        (
            "/spec/algorithms",
            json!(["HS256"]),
            &["spec.algorithms", "HS256"],
        ),
        (
            "/spec/token",
            json!({"clockSkew": "30"}),
            &["spec.token.clockSkew", "30s"],
        ),
        (
            "/spec/egress",
            json!("Anywhere"),
            &["spec.egress", "Public"],
        ),
        (
            "/spec/keys",
            json!({"jwksUri": "https://login.corp.example/jwks", "discoveryUrl": "https://login.corp.example/d"}),
            &["spec.keys:", "at most one"],
        ),
        (
            "/spec/claims",
            json!({"rules": [{"expression": "claims.hd ==", "message": "no"}]}),
            &["ExpressionInvalid", "spec.claims.rules[0].expression"],
        ),
        (
            "/spec/examples",
            json!([{"name": "staff", "claims": {"sub": "a"}, "expect": {"allowed": false}}]),
            &["ExampleFailed", "spec.examples[0]", "staff"],
        ),
        (
            "/spec/keys",
            json!({"configMapRef": {"name": "corp-jwks", "key": "jwks.json"}}),
            &["RefNotFound", "spec.keys.configMapRef", "corp-jwks"],
        ),
    ];
    let of_policy: &[(&str, Value, &[&str])] = &[
        (
            "/spec/signing",
            json!({"secretRefs": [{"name": "signing", "key": "tls.key"}]}),
            &["RefNotFound", "spec.signing.secretRefs[0]", "signing"],
        ),
        (
            "/spec/signing",
            json!({"managed": {"algorithm": "ES256"}, "secretRefs": [{"name": "s", "key": "k"}]}),
            &["spec.signing:", "exactly one"],
        ),
        (
            "/spec/risk",
            json!({"thresholds": {"medium": 70, "high": 30}}),
            &["spec.risk.thresholds.medium:", "less than high"],
        ),
        (
            "/spec/mfa",
            json!({"mode": "Always", "methods": ["sms_otp"]}),
            &["spec.mfa.methods"],
        ),
        (
            "/spec/oauth",
            json!({"clients": [{"clientId": "gw", "allow": ["TokenExchange"]}]}),
            &["spec.oauth.clients[0]:", "exactly one of privateKeyJwt"],
        ),
        (
            "/spec/oauth",
            json!({"clients": [{"clientId": "gw", "allow": ["Exchange"], "secretRefs": [{"name": "s", "key": "k"}]}]}),
            &["spec.oauth.clients[0].allow[0]:", "TokenExchange"],
        ),
        (
            "/spec/oauth",
            json!({"clients": [{"clientId": "gw", "allow": ["TokenExchange"], "secretRefs": [{"name": "s", "key": "k"}]}]}),
            &[
                "RefNotFound",
                "spec.oauth.clients[0].secretRefs[0]",
                "auth/s",
            ],
        ),
        (
            "/spec/oauth",
            json!({"clients": [{"clientId": "gw", "allow": ["TokenExchange"], "privateKeyJwt": {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}}]}),
            &[
                "KeyInvalid",
                "spec.oauth.clients[0].privateKeyJwt.jwks",
                "symmetric",
            ],
        ),
        (
            "/spec/password",
            json!({"maxAge": "24h"}),
            &["spec.password.warningWindow", "maxAge"],
        ),
    ];
    let mut failures = Vec::new();
    let mut judge = async |manifests: [Value; 2], name: &str, change: String, wanted: &[&str]| {
        let checked = check(&file(&manifests), &[]).await;
        let block: String = checked
            .stdout
            .lines()
            .skip_while(|line| !line.contains("refused "))
            .collect::<Vec<_>>()
            .join("\n");
        let mut missing: Vec<&str> = wanted.to_vec();
        missing.extend(["auth.yaml", name]);
        missing.retain(|wanted| !block.contains(wanted));
        if checked.code != 1 || !missing.is_empty() {
            failures.push(format!(
                "{change}: exit {}, without {missing:?}:\n{block}",
                checked.code
            ));
        }
    };
    for (pointer, value, wanted) in of_provider {
        let change = format!("{pointer} = {value}");
        let changed = with(corp(), pointer, value.clone());
        judge(
            [changed, policy()],
            "OidcProvider auth/corp",
            change,
            wanted,
        )
        .await;
    }
    for (pointer, value, wanted) in of_policy {
        let change = format!("{pointer} = {value}");
        let changed = with(policy(), pointer, value.clone());
        judge(
            [corp(), changed],
            "SigninPolicy auth/default",
            change,
            wanted,
        )
        .await;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused_without_being_shown_and_a_good_one_is_accepted() {
    let signing = json!({"secretRefs": [{"name": "signing", "key": "tls.key"}]});
    let policy = with(policy(), "/spec/signing", signing);
    let of = async |text: &str| {
        let manifests = [corp(), policy.clone(), secret("signing", "tls.key", text)];
        check(&file(&manifests), &[]).await
    };
    let bad =
        of("-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0LW1hdGVyaWFs\n-----END EC PRIVATE KEY-----\n")
            .await;
    assert_eq!(bad.code, 1);
    assert!(bad.stdout.contains("KeyInvalid"), "{}", bad.stdout);
    assert!(bad.stdout.contains("openssl pkcs8"), "{}", bad.stdout);
    assert!(
        !bad.stdout.contains("c2VjcmV0LW1hdGVyaWFs"),
        "{}",
        bad.stdout
    );

    let algorithm = vestibule_crds::algorithm::SigningAlgorithm::ES256;
    let good = vestibule_crds::signing_key::SigningKey::generate(algorithm);
    let good = of(good.expect("a key can be made").expose()).await;
    assert_eq!(good.code, 0, "{}", good.stdout);
}

#[tokio::test]
async fn a_client_that_cannot_prove_itself_yet_is_a_warning() {
    let account =
        json!({"providerRef": {"name": "kubernetes"}, "namespace": "shop", "name": "reports"});
    let clients =
        json!([{"clientId": "reports", "allow": ["Introspection"], "serviceAccount": account}]);
    let policy = with(policy(), "/spec/oauth/clients", clients);
    let alone = check(&file(&[corp(), policy.clone()]), &[]).await;
    assert_eq!(alone.code, 0, "{}", alone.stdout);
    let warning = "no OidcProvider kubernetes is served in namespace auth";
    assert!(alone.stdout.contains(warning), "{}", alone.stdout);
    let kubernetes = provider("kubernetes", "https://kubernetes.default.svc");
    let whole = check(&file(&[corp(), policy, kubernetes]), &[]).await;
    assert_eq!(whole.code, 0, "{}", whole.stdout);
    assert!(!whole.stdout.contains(warning), "{}", whole.stdout);
}

#[tokio::test]
async fn two_objects_of_one_name_are_told() {
    let checked = check(&file(&[corp(), corp(), policy()]), &[]).await;
    assert_eq!(checked.code, 1, "{}", checked.stdout);
    for word in ["OidcProvider auth/corp", "auth.yaml", "remove one of them"] {
        assert!(checked.stdout.contains(word), "{word}: {}", checked.stdout);
    }
}

#[tokio::test]
async fn a_file_that_is_no_yaml_is_named_with_its_line() {
    let text = format!("{}---\nkind: [\n", file(&[corp(), policy()]));
    let checked = check(&text, &[]).await;
    assert_eq!(checked.code, 1);
    assert!(checked.stdout.contains("unreadable"), "{}", checked.stdout);
    assert!(checked.stdout.contains("auth.yaml"), "{}", checked.stdout);
    assert!(checked.stdout.contains("line "), "{}", checked.stdout);
}

#[tokio::test]
async fn an_http_issuer_is_accepted_only_on_loopback_and_only_when_asked_for() {
    let loopback = file(&[provider("corp", "http://127.0.0.1:9000"), policy()]);
    assert_eq!(check(&loopback, &["--allow-http-issuers"]).await.code, 0);
    assert_eq!(check(&loopback, &[]).await.code, 1);
    let outside = file(&[provider("corp", "http://login.corp.example"), policy()]);
    assert_eq!(check(&outside, &["--allow-http-issuers"]).await.code, 1);
}

#[tokio::test]
async fn the_json_form_says_the_same() {
    let good = check(&file(&[corp(), policy()]), &["--output", "json"]).await;
    let report: Value = serde_json::from_str(&good.stdout).expect("it is JSON");
    assert_eq!((good.code, &report["accepted"]), (0, &json!(true)));
    assert_eq!(report["verdicts"].as_array().map(Vec::len), Some(2));

    let wrong = with(corp(), "/spec/audiences", json!([]));
    let bad = check(&file(&[wrong, policy()]), &["--output", "json"]).await;
    let report: Value = serde_json::from_str(&bad.stdout).expect("it is JSON");
    assert_eq!((bad.code, &report["accepted"]), (1, &json!(false)));
    let verdicts = report["verdicts"].as_array().expect("a list");
    let corp = verdicts
        .iter()
        .find(|verdict| verdict["name"] == "corp")
        .expect("it is there");
    assert_eq!(corp["accepted"]["status"], "False");
    assert_eq!(corp["findings"][0]["path"], "spec.audiences");
    assert!(
        corp["source"]
            .as_str()
            .is_some_and(|file| file.ends_with("auth.yaml"))
    );
}

#[tokio::test]
async fn a_path_that_is_not_there_or_holds_no_manifests_is_an_error() {
    let missing = vestibule(["check", "/nonexistent/manifests"]).await;
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("/nonexistent/manifests"),
        "{}",
        missing.stderr
    );
    let empty = tempfile::tempdir().expect("a directory");
    let empty = vestibule(["check".as_ref(), empty.path().as_os_str()]).await;
    assert_eq!(empty.code, 1);
    assert!(
        empty.stdout.contains("no OidcProvider and no SigninPolicy"),
        "{}",
        empty.stdout
    );
}

#[tokio::test]
async fn one_file_can_be_checked_by_its_own_name() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("one.yaml");
    std::fs::write(&path, file(&[corp(), policy()])).expect("it can be written");
    let checked = vestibule(["check".as_ref(), path.as_os_str()]).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
}

#[tokio::test]
async fn what_a_tenant_may_not_do_is_said_when_the_own_namespace_is() {
    let tenant = |body: Value| with(body, "/metadata/namespace", "shop");
    let provider = with(tenant(corp()), "/spec/egress", "Cluster");
    let manifests = file(&[tenant(policy()), provider]);
    assert_eq!(check(&manifests, &[]).await.code, 0);
    let own = ["--own-namespace", "auth"];
    let checked = check(&manifests, &own).await;
    assert_eq!(checked.code, 1);
    assert!(checked.stdout.contains("spec.egress"), "{}", checked.stdout);
    let listed = [own[0], own[1], "--cluster-egress-namespaces", "shop"];
    assert_eq!(check(&manifests, &listed).await.code, 0);
    let issuer = policy()["spec"]["token"]["issuer"]
        .as_str()
        .expect("text")
        .to_owned();
    let bound = format!("{issuer}=auth");
    let bound = ["--issuer-namespaces", bound.as_str()];
    let checked = check(&manifests, &bound).await;
    assert!(
        checked.stdout.contains("IssuerConflict"),
        "{}",
        checked.stdout
    );
}
