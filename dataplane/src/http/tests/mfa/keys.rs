//! Passkeys and security keys, with a software authenticator that other people wrote.

use vestibule_crds::snapshot::Webauthn;

use super::*;
use crate::factors::webauthn::tests::Device;

const APP: &str = "https://app.example.com";

async fn service() -> Service {
    service_with(|mut policy| {
        policy.mfa.webauthn = Some(Webauthn {
            rp_id: "example.com".to_owned(),
            rp_name: "Example".to_owned(),
            origins: vec![APP.to_owned()],
        });
        policy
    })
    .await
}

impl Service {
    async fn begin(&self, challenge: &str, method: &str) -> Reply {
        let body = json!({"challenge_token": challenge, "method": method});
        self.post("/auth/mfa/challenge", &body).await
    }

    async fn answer(&self, challenge: &str, credential: &Value) -> Reply {
        let body =
            json!({"challenge_token": challenge, "method": "webauthn", "credential": credential});
        self.post("/auth/mfa/verify", &body).await
    }

    /// Enrols a key with a challenge.
    async fn enroll_key(&self, subject: &str) -> Device {
        let challenge = self.challenge(subject).await;
        let begin = json!({"challenge_token": challenge, "name": "laptop"});
        let begun = self.post("/auth/mfa/enrollments/webauthn", &begin).await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        assert_eq!(begun.body.get("secret"), None);
        let mut device = Device::new();
        let credential = device.create(APP, &begun.body["options"]).await;
        let path = "/auth/mfa/enrollments/webauthn/confirm";
        let confirm = |credential: Value| json!({"challenge_token": challenge, "id": begun.text("id"), "credential": credential});
        let wrong = self.post(path, &confirm(json!({"id": "x"}))).await;
        assert_eq!(wrong.code(), "mfa_code_invalid");
        let reply = self.post(path, &confirm(credential)).await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        assert_eq!(claim(&reply, "amr"), json!(["hwk", "mfa"]));
        device
    }
}

#[tokio::test]
async fn a_key_is_enrolled_and_signs_in() {
    let service = service().await;
    let mut device = service.enroll_key("alice").await;
    for _ in 0..2 {
        let challenge = service.challenge("alice").await;
        let begun = service.begin(&challenge, "webauthn").await;
        assert_eq!(begun.body["method"], "webauthn");
        let credential = device.use_key(APP, &begun.body["options"]).await;
        let reply = service.answer(&challenge, &credential).await;
        assert_eq!(reply.code(), "ok", "{}", reply.body);
        assert_eq!(claim(&reply, "amr"), json!(["hwk", "mfa"]));
        let again = service.answer(&challenge, &credential).await;
        assert_eq!(again.code(), "mfa_challenge_invalid");
    }
    let regressed = service
        .column("SELECT outcome FROM events WHERE outcome = 'counter_regressed'")
        .await;
    assert!(regressed.is_empty());
}

#[tokio::test]
async fn an_answer_is_good_for_its_own_challenge_once() {
    let service = service().await;
    let mut device = service.enroll_key("alice").await;
    let mut stranger = service.enroll_key("mallory").await;
    let challenge = service.challenge("alice").await;
    let reply = service.answer(&challenge, &json!({})).await;
    assert_eq!(reply.code(), "mfa_code_invalid", "nothing was begun");
    let first = service.begin(&challenge, "webauthn").await;
    let old = device.use_key(APP, &first.body["options"]).await;
    let second = service.begin(&challenge, "webauthn").await;
    assert_eq!(
        service.answer(&challenge, &old).await.code(),
        "mfa_code_invalid"
    );
    let good = device.use_key(APP, &second.body["options"]).await;
    assert_eq!(
        service.answer(&challenge, &good).await.code(),
        "mfa_code_invalid",
        "what it answers was used up by the wrong answer"
    );
    let others = service.challenge("mallory").await;
    let begun = service.begin(&others, "webauthn").await;
    let foreign = stranger.use_key(APP, &begun.body["options"]).await;
    service.begin(&challenge, "webauthn").await;
    assert_eq!(
        service.answer(&challenge, &foreign).await.code(),
        "mfa_code_invalid"
    );
    let last = service.begin(&challenge, "webauthn").await;
    let good = device.use_key(APP, &last.body["options"]).await;
    assert_eq!(service.answer(&challenge, &good).await.code(), "ok");
}

#[tokio::test]
async fn a_copied_key_is_told_of() {
    let service = service().await;
    let mut device = service.enroll_key("alice").await;
    let mut copy = device.copy();
    for device in [&mut device, &mut copy] {
        let challenge = service.challenge("alice").await;
        let begun = service.begin(&challenge, "webauthn").await;
        let credential = device.use_key(APP, &begun.body["options"]).await;
        assert_eq!(service.answer(&challenge, &credential).await.code(), "ok");
    }
    let regressed = service
        .column("SELECT outcome FROM events WHERE outcome = 'counter_regressed'")
        .await;
    assert_eq!(regressed.len(), 1);
}

#[tokio::test]
async fn without_a_relying_party_no_key_is_enrolled_and_the_others_go_on() {
    let service = super::service().await;
    let challenge = service.challenge("alice").await;
    let begin = json!({"challenge_token": challenge});
    let reply = service.post("/auth/mfa/enrollments/webauthn", &begin).await;
    assert_eq!((reply.status, reply.code()), (403, "mfa_unavailable"));
    let reply = service.post("/auth/mfa/enrollments/totp", &begin).await;
    assert_eq!(reply.status, 201);
}
