//! Codes that are sent, all the way: a real mail server, a webhook, the process as its users run it.

use serde_json::{Value, json};
use vestibule_tests::e2e::manifests::{policy, secret, with};
use vestibule_tests::e2e::scripted::{Answer, Scripted};
use vestibule_tests::e2e::{LocalIssuer, MailTls, Mailbox, Reply, Service, totp};

/// Maps what a code may be sent to.
fn provider(issuer: &LocalIssuer) -> Value {
    let mapping = json!({
        "email": "claims.email",
        "emailVerified": "claims.email_verified",
        "phone": "claims.phone_number",
    });
    with(issuer.provider(), "/spec/claims/mapping", mapping)
}

async fn signin(service: &Service, issuer: &LocalIssuer, subject: &str) -> Reply {
    let mut claims = issuer.claims(subject);
    claims["email"] = json!(format!("{subject}@corp.example"));
    claims["email_verified"] = json!(true);
    claims["phone_number"] = json!("+1 555 0100 123");
    service.signin(&issuer.sign(&claims)).await
}

/// Has signed in before a factor is asked for: only what was stored by then is sent a code.
async fn known(service: &Service, issuer: &LocalIssuer, asking: &Value) -> String {
    assert_eq!(signin(service, issuer, "alice").await.code(), "ok");
    let before = service.revision().await;
    let file = vestibule_tests::e2e::manifests::file(std::slice::from_ref(asking));
    let path = service.builder.directory().join("policy.yaml");
    std::fs::write(path, file).expect("it can be written");
    service.serves_another_than(&before).await;
    challenge(service, issuer).await
}

async fn challenge(service: &Service, issuer: &LocalIssuer) -> String {
    let reply = signin(service, issuer, "alice").await;
    assert_eq!(reply.json()["requires_mfa"], true, "{}", reply.body);
    reply.text("challenge_token")
}

async fn begin(service: &Service, challenge: &str, method: &str) -> Reply {
    let body = json!({"challenge_token": challenge, "method": method});
    service.post("/auth/mfa/challenge", &body).await
}

async fn verify(service: &Service, challenge: &str, method: &str, code: &str) -> Reply {
    let body = json!({"challenge_token": challenge, "method": method, "code": code});
    service.post("/auth/mfa/verify", &body).await
}

fn code_in(text: &str) -> String {
    let words = text.split(|character: char| !character.is_ascii_digit());
    let code = words.into_iter().find(|word| word.len() == 6);
    code.expect("a code of six digits").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_mailed_signs_in_once() {
    let issuer = LocalIssuer::new();
    let mailbox = Mailbox::start(MailTls::None, false).await;
    let mfa = json!({
        "mode": "Always",
        "methods": ["totp", "email_otp"],
        "email": {"host": "127.0.0.1", "port": mailbox.port, "tls": "None", "from": "no-reply@example.com"},
    });
    let service = Service::builder()
        .manifests("corp.yaml", &[provider(&issuer)])
        .manifests("policy.yaml", &[policy()])
        .environment(
            "VESTIBULE_LOG",
            "vestibule_dataplane=trace,vestibule_idtoken=trace,vestibule_store=trace,info",
        )
        .start()
        .await;
    let token = known(&service, &issuer, &with(policy(), "/spec/mfa", mfa)).await;
    let begun = begin(&service, &token, "email_otp").await;
    assert_eq!(begun.code(), "ok", "{}", begun.body);
    assert_eq!(begun.text("sent_to"), "a***@corp.example");
    let mail = mailbox.mail(0).await;
    assert_eq!(mail["to"], json!(["alice@corp.example"]));
    let code = code_in(mail["text"].as_str().expect("a text"));
    let soon = begin(&service, &token, "email_otp").await;
    assert_eq!((soon.status, soon.code()), (429, "mfa_locked".to_owned()));
    assert!((1..=30).contains(&soon.retry_after()));
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(
        verify(&service, &token, "email_otp", wrong).await.code(),
        "mfa_code_invalid"
    );
    let reply = verify(&service, &token, "email_otp", &code).await;
    assert_eq!(reply.code(), "ok", "{}", reply.body);
    let again = verify(&service, &token, "email_otp", &code).await;
    assert_eq!(again.code(), "mfa_challenge_invalid");
    // Another challenge does not take the code of the last one.
    let next = challenge(&service, &issuer).await;
    assert_eq!(
        verify(&service, &next, "email_otp", &code).await.code(),
        "mfa_code_invalid"
    );
    // A user who was never here has no address that a code may be sent to: it comes with the sign-in itself.
    let stranger = signin(&service, &issuer, "mallory").await;
    assert_eq!(stranger.json()["required_mfa_methods"], json!([]));
    let log = service.log();
    for hidden in [&code, &token, "alice@corp.example"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_by_mail_of_a_factor_that_was_added() {
    let issuer = LocalIssuer::new();
    let mailbox = Mailbox::start(MailTls::None, false).await;
    let mfa = json!({
        "methods": ["totp"],
        "email": {"host": "127.0.0.1", "port": mailbox.port, "tls": "None", "from": "no-reply@example.com"},
    });
    let service = Service::builder()
        .manifests("corp.yaml", &[provider(&issuer)])
        .manifests("policy.yaml", &[with(policy(), "/spec/mfa", mfa)])
        .start()
        .await;
    let signed_in = signin(&service, &issuer, "alice").await;
    let account = service.account(&signed_in).await;
    let send = async |method: &str, path: &str, body: &Value| {
        let request = hyper::Request::builder()
            .method(method)
            .uri(service.url(path))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {account}"))
            .body(body.to_string().into());
        let reply = service.client.send(request.expect("a request")).await;
        reply.expect("an answer")
    };
    let begun = send("POST", "/auth/mfa/enrollments/totp", &json!({})).await;
    let now = vestibule_dataplane::clock::Clock::System.now();
    let code = totp(&begun.text("secret"), now);
    let confirm = json!({"id": begun.text("id"), "code": code});
    let path = "/auth/mfa/enrollments/totp/confirm";
    let confirmed = send("POST", path, &confirm).await;
    assert_eq!(confirmed.code(), "ok", "{}", confirmed.body);
    let mail = mailbox.mail(0).await;
    assert_eq!(mail["to"], json!(["alice@corp.example"]));
    let text = mail["text"].as_str().expect("a text");
    assert!(text.contains("authenticator app"), "{text}");
    assert!(!text.contains(&begun.text("secret")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_texted_signs_in_and_a_broken_method_harms_no_other() {
    let issuer = LocalIssuer::new();
    let webhook = Scripted::start([Answer::text(204, "")]).await;
    let key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let mfa = json!({
        "mode": "Always",
        "methods": ["sms_otp", "email_otp"],
        // Nobody listens there.
        "email": {"host": "127.0.0.1", "port": 1, "tls": "None", "from": "no-reply@example.com"},
        "sms": {"url": format!("http://{}/send", webhook.address), "secretRef": {"name": "sms", "key": "hmac"}},
    });
    let service = Service::builder()
        .manifests("corp.yaml", &[provider(&issuer)])
        .manifests("policy.yaml", &[policy()])
        .manifests("sms.yaml", &[secret("sms", "hmac", key)])
        .start()
        .await;
    let token = known(&service, &issuer, &with(policy(), "/spec/mfa", mfa)).await;
    let broken = begin(&service, &token, "email_otp").await;
    assert_eq!(
        (broken.status, broken.code()),
        (403, "mfa_unavailable".to_owned())
    );
    let begun = begin(&service, &token, "sms_otp").await;
    assert_eq!(begun.code(), "ok", "{}", begun.body);
    assert_eq!(begun.text("sent_to"), "***23");
    let received = webhook.received();
    let [message] = received.as_slice() else {
        panic!("one message: {received:?}");
    };
    let message: Value = serde_json::from_str(&message.body).expect("JSON");
    assert_eq!(message["to"], "+15550100123");
    let code = message["code"].as_str().expect("a code");
    let reply = verify(&service, &token, "sms_otp", code).await;
    assert_eq!(reply.code(), "ok", "{}", reply.body);
}
