//! The callers of `examples/callers`, each run as its users run it: against the real service, and against answers that the
//! service gives too rarely to wait for.

use std::ffi::OsString;

use serde_json::{Value, json};
use vestibule_tests::e2e::manifests::{policy, provider};
use vestibule_tests::e2e::scripted::{Answer, Scripted};
use vestibule_tests::e2e::{Caller, IdProvider, LocalIssuer, Service};

fn problem(status: u16, code: &str) -> Answer {
    let body = json!({"status": status, "code": code, "detail": "Said in a sentence.", "request_id": "r-1"});
    Answer::json(status, &body)
}

fn signed_in() -> Answer {
    let user = json!({"id": "u-1", "username": "alice"});
    let body = json!({"access_token": "a", "refresh_token": "r", "expires_in": 600, "requires_mfa": false, "user": user});
    Answer::json(200, &body)
}

#[tokio::test]
async fn each_caller_signs_in_with_a_token_of_the_provider() {
    let id_provider = IdProvider::start().await;
    let manifests = [provider("corp", &id_provider.issuer), policy()];
    let service = Service::builder()
        .manifests("all.yaml", &manifests)
        .start()
        .await;
    for caller in Caller::ALL {
        for named in [None, Some("corp")] {
            // A line end is what `echo` adds.
            let token = format!("{}\n", id_provider.id_token("alice").await);
            let done = caller.sign_in(&service.url(""), named, &token, &[]).await;
            assert_eq!(done.code, 0, "{caller:?}: {}", done.stderr);
            assert_eq!(done.stdout, "signed in as alice, for 600 s\n", "{caller:?}");
            assert_eq!(done.stderr, "", "{caller:?}");
        }
    }
}

#[tokio::test]
async fn each_caller_tells_the_code_and_the_request_of_a_refusal() {
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .start()
        .await;
    let mut stale = issuer.claims("alice");
    stale["exp"] = json!(1_000_000_000);
    let stale = issuer.sign(&stale);
    let cases = [
        (stale.as_str(), None, "token_expired: "),
        ("abc", Some("corp"), "token_malformed: "),
        ("", None, "id_token_required: "),
        (stale.as_str(), Some("nobody"), "provider_unknown: "),
    ];
    for caller in Caller::ALL {
        for (token, named, code) in cases {
            let done = caller.sign_in(&service.url(""), named, token, &[]).await;
            assert_eq!(done.code, 1, "{caller:?} {code}: {}", done.stderr);
            assert!(done.stderr.starts_with(code), "{caller:?}: {}", done.stderr);
            assert!(
                done.stderr.contains(" (request "),
                "{caller:?}: {}",
                done.stderr
            );
            assert!(!done.stderr.contains("unknown)"), "{caller:?}");
            assert_eq!(done.stdout, "", "{caller:?}");
        }
    }
}

#[tokio::test]
async fn each_caller_stops_at_a_second_factor_and_at_a_password_change() {
    let mfa: Value = json!({
        "requires_mfa": true,
        "challenge_token": "c",
        "required_mfa_methods": ["webauthn", "totp"],
        "mfa_check_reason": "This device is new.",
        "expires_in": 300,
    });
    let change = json!({"must_change_password": true, "access_token": "a", "requires_mfa": false, "expires_in": 600});
    let cases = [
        (
            mfa,
            3,
            "a second factor is needed (webauthn, totp): This device is new.\n",
        ),
        (change, 4, "the password must be changed first\n"),
    ];
    for (body, code, said) in cases {
        let server = Scripted::start([Answer::json(200, &body)]).await;
        for caller in Caller::ALL {
            let done = caller.sign_in(&server.url(), None, "token", &[]).await;
            assert_eq!(
                (done.code, done.stdout.as_str()),
                (code, said),
                "{caller:?}"
            );
        }
    }
}

#[tokio::test]
async fn each_caller_tries_again_after_an_outage_and_a_limit_that_are_short() {
    for caller in Caller::ALL {
        let server = Scripted::start([
            problem(503, "store_unavailable").retry_after("0"),
            problem(429, "rate_limited").retry_after("0"),
            signed_in(),
        ])
        .await;
        let done = caller.sign_in(&server.url(), None, "token", &[]).await;
        assert_eq!(done.code, 0, "{caller:?}: {}", done.stderr);
        assert_eq!(server.received().len(), 3, "{caller:?}");
    }
}

#[tokio::test]
async fn each_caller_gives_up_after_three_attempts_and_before_a_long_wait() {
    let cases = [
        (problem(503, "not_ready").retry_after("0"), 3, "not_ready: "),
        (
            problem(429, "rate_limited").retry_after("60"),
            1,
            "rate_limited: ",
        ),
        (problem(500, "internal"), 1, "internal: "),
    ];
    for (answer, attempts, said) in cases {
        for caller in Caller::ALL {
            let server = Scripted::start([answer.clone()]).await;
            let done = caller.sign_in(&server.url(), None, "token", &[]).await;
            assert_eq!(done.code, 2, "{caller:?}: {}", done.stderr);
            assert!(done.stderr.starts_with(said), "{caller:?}: {}", done.stderr);
            assert_eq!(server.received().len(), attempts, "{caller:?} {said}");
        }
    }
}

#[tokio::test]
async fn each_caller_survives_an_answer_that_is_not_of_the_service() {
    for caller in Caller::ALL {
        for (body, status, code) in [("<html>", 502, 2), ("", 404, 1), ("[]", 403, 1)] {
            let server = Scripted::start([Answer::text(status, body)]).await;
            let done = caller.sign_in(&server.url(), None, "token", &[]).await;
            assert_eq!(done.code, code, "{caller:?} {body}: {}", done.stderr);
            assert_eq!(
                done.stderr.lines().count(),
                1,
                "{caller:?}: {}",
                done.stderr
            );
        }
        let gone = Scripted::start([signed_in()]).await.url();
        let done = caller.sign_in(&gone, None, "token", &[]).await;
        assert_eq!(done.code, 2, "{caller:?}: {}", done.stderr);
        assert!(done.stderr.contains("cannot reach"), "{caller:?}");
    }
}

#[tokio::test]
async fn each_caller_passes_on_whom_the_request_is_for() {
    let person = [
        ("USER_ADDRESS", "203.0.113.9"),
        ("USER_AGENT", "Browser/1.0"),
        ("USER_LANGUAGE", "zh"),
    ];
    for caller in Caller::ALL {
        let server = Scripted::start([signed_in()]).await;
        let done = caller
            .sign_in(&server.url(), Some("corp"), "a.b.c", &person)
            .await;
        assert_eq!(done.code, 0, "{caller:?}: {}", done.stderr);
        let request = server.received().remove(0);
        assert_eq!(request.path, "/auth/id-token/signin", "{caller:?}");
        let body: Value = serde_json::from_str(&request.body).expect("JSON");
        let expected = json!({"id_token": "a.b.c", "provider": "corp"});
        assert_eq!(body, expected, "{caller:?}");
        for (header, value) in [
            ("x-forwarded-for", "203.0.113.9"),
            ("user-agent", "Browser/1.0"),
            ("accept-language", "zh"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(request.headers[header], value, "{caller:?}");
        }
    }
}

#[tokio::test]
async fn each_caller_wants_a_certificate_of_a_ca_that_it_was_given() {
    let issuer = LocalIssuer::new();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    };
    let certificate = file("tls.crt", pair.cert.pem());
    let key = file("tls.key", pair.signing_key.serialize_pem());
    let arguments: [OsString; 4] = [
        "--tls-cert".into(),
        certificate.clone().into(),
        "--tls-key".into(),
        key.into(),
    ];
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .tls(arguments)
        .start()
        .await;
    let url = format!("https://localhost:{}", service.address.port());
    let certificate = certificate.to_str().expect("a path in UTF-8");
    for caller in Caller::ALL {
        let token = issuer.id_token("alice");
        let trusting = [(caller.ca_variable(), certificate)];
        let done = caller.sign_in(&url, None, &token, &trusting).await;
        assert_eq!(done.code, 0, "{caller:?}: {}", done.stderr);
        let done = caller.sign_in(&url, None, &token, &[]).await;
        assert_eq!(done.code, 2, "{caller:?}: {}", done.stderr);
        assert!(done.stderr.contains("cannot reach"), "{caller:?}");
    }
}
