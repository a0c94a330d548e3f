//! Ceremonies with a software authenticator and client that other people wrote.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use passkey_authenticator::{Authenticator, MemoryStore, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::AvailableBackend;
use passkey_types::ctap2::{Aaguid, Ctap2Error};
use passkey_types::webauthn::{CredentialCreationOptions, CredentialRequestOptions};
use public_suffix::PublicSuffixList;
use serde_json::json;

use super::*;

const APP: &str = "https://app.example.com";

/// Somebody who agrees to everything.
struct Person;

#[async_trait::async_trait]
impl UserValidationMethod for Person {
    type PasskeyItem = passkey_types::Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, passkey_types::Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck {
            presence,
            verification,
        })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// A browser with an authenticator.
pub(crate) struct Device(Client<MemoryStore, Person, AvailableBackend, PublicSuffixList, ()>);

impl Device {
    pub(crate) fn new() -> Self {
        Self::with(MemoryStore::new())
    }

    fn with(store: MemoryStore) -> Self {
        let mut authenticator =
            Authenticator::new(Aaguid::new_empty(), store, Person, AvailableBackend);
        authenticator.set_make_credentials_with_signature_counter(true);
        Self(Client::new(authenticator))
    }

    /// Another authenticator with the same keys.
    pub(crate) fn copy(&self) -> Self {
        Self::with(self.0.authenticator().store().clone())
    }

    pub(crate) async fn create(&mut self, origin: &str, options: &Value) -> Value {
        let options: CredentialCreationOptions =
            serde_json::from_value(json!({"publicKey": options})).expect("options");
        let origin = Url::parse(origin).expect("an origin");
        let created = self.0.register(&origin, options, DefaultClientData).await;
        serde_json::to_value(created.expect("a credential")).expect("JSON")
    }

    pub(crate) async fn use_key(&mut self, origin: &str, options: &Value) -> Value {
        let options: CredentialRequestOptions =
            serde_json::from_value(json!({"publicKey": options})).expect("options");
        let origin = Url::parse(origin).expect("an origin");
        let used = self.0.authenticate(&origin, options, DefaultClientData);
        serde_json::to_value(used.await.expect("an assertion")).expect("JSON")
    }
}

fn site() -> RelyingParty {
    site_of("example.com", &[APP, "https://other.example.com:8443"])
}

fn site_of(rp_id: &str, origins: &[&str]) -> RelyingParty {
    let site = snapshot::Webauthn {
        rp_id: rp_id.to_owned(),
        rp_name: "Example".to_owned(),
        origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
    };
    RelyingParty::new(&site, Duration::from_secs(300)).expect("a site")
}

fn alice() -> Owner<'static> {
    Owner {
        id: Uuid::from_u128(7),
        name: "alice",
    }
}

async fn register(site: &RelyingParty, device: &mut Device) -> Credential {
    let begun = site.begin_registration(alice(), &[]).expect("it begins");
    let answer = device.create(APP, &begun.options).await;
    site.end_registration(&begun.state, &answer)
        .expect("it is registered")
}

async fn authenticate(
    site: &RelyingParty,
    device: &mut Device,
    credential: &Credential,
) -> Result<Assertion, Refused> {
    let credentials = std::slice::from_ref(credential);
    let begun = site.begin_authentication(credentials).expect("it begins");
    let answer = device.use_key(APP, &begun.options).await;
    site.end_authentication(&begun.state, credentials, &answer)
}

#[tokio::test]
async fn a_key_that_was_registered_signs_in() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let kept = Credential::from_bytes(&credential.to_bytes()).expect("it reads back");
    assert_eq!(kept.id(), credential.id());
    let first = authenticate(&site, &mut device, &kept).await;
    let first = first.expect("it is hers");
    let second = authenticate(&site, &mut device, &first.credential).await;
    assert_eq!(
        second.expect("it is hers still").counter,
        Counter::Plausible
    );
}

#[tokio::test]
async fn options_are_what_a_browser_reads_and_ask_for_verification() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let begun = site
        .begin_registration(alice(), std::slice::from_ref(&credential))
        .expect("it begins");
    let options = &begun.options;
    assert_eq!(
        options["rp"],
        json!({"id": "example.com", "name": "Example"})
    );
    assert_eq!(options["user"]["name"], "alice");
    assert_eq!(options["attestation"], "none");
    assert_eq!(
        options["authenticatorSelection"]["userVerification"],
        "required"
    );
    assert_eq!(options["timeout"], 300_000);
    let id = URL_SAFE_NO_PAD.encode(credential.id());
    assert_eq!(options["excludeCredentials"][0]["id"], json!(id));
    let begun = site
        .begin_authentication(std::slice::from_ref(&credential))
        .expect("it begins");
    let options = &begun.options;
    assert_eq!(options["rpId"], "example.com");
    assert_eq!(options["userVerification"], "required");
    assert_eq!(options["allowCredentials"][0]["id"], json!(id));
    assert!(!begun.options.to_string().contains("null"), "{options}");
}

#[tokio::test]
async fn every_origin_of_the_site_may_be_used_and_no_other() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let credentials = std::slice::from_ref(&credential);
    for (origin, allowed) in [
        ("https://other.example.com:8443", true),
        ("https://other.example.com", false),
        ("https://evil.example.com", false),
        ("https://example.com", false),
    ] {
        let begun = site.begin_authentication(credentials).expect("it begins");
        let answer = device.use_key(origin, &begun.options).await;
        let ended = site.end_authentication(&begun.state, credentials, &answer);
        match ended {
            Ok(_) => assert!(allowed, "{origin}"),
            Err(Refused::Origin) => assert!(!allowed, "{origin}"),
            Err(other) => panic!("{origin}: {other}"),
        }
        let begun = site.begin_registration(alice(), &[]).expect("it begins");
        let answer = device.create(origin, &begun.options).await;
        let ended = site.end_registration(&begun.state, &answer);
        assert_eq!(ended.is_ok(), allowed, "{origin}");
    }
}

#[tokio::test]
async fn what_was_made_for_another_relying_party_is_refused() {
    let (site, mut device) = (site(), Device::new());
    let mut begun = site.begin_registration(alice(), &[]).expect("it begins");
    begun.options["rp"]["id"] = json!("app.example.com");
    let answer = device.create(APP, &begun.options).await;
    let ended = site.end_registration(&begun.state, &answer);
    assert!(matches!(ended, Err(Refused::RelyingParty)), "{ended:?}");

    let narrow = site_of("app.example.com", &[APP]);
    let credential = register(&narrow, &mut device).await;
    let credentials = std::slice::from_ref(&credential);
    let mut begun = site.begin_authentication(credentials).expect("it begins");
    begun.options["rpId"] = json!("app.example.com");
    let answer = device.use_key(APP, &begun.options).await;
    let ended = site.end_authentication(&begun.state, credentials, &answer);
    assert!(matches!(ended, Err(Refused::RelyingParty)), "{ended:?}");
}

#[tokio::test]
async fn somebody_who_is_only_present_is_refused() {
    let (site, mut device) = (site(), Device::new());
    let mut begun = site.begin_registration(alice(), &[]).expect("it begins");
    begun.options["authenticatorSelection"]["userVerification"] = json!("discouraged");
    let answer = device.create(APP, &begun.options).await;
    let ended = site.end_registration(&begun.state, &answer);
    assert!(matches!(ended, Err(Refused::UserUnverified)), "{ended:?}");

    let credential = register(&site, &mut device).await;
    let credentials = std::slice::from_ref(&credential);
    let mut begun = site.begin_authentication(credentials).expect("it begins");
    begun.options["userVerification"] = json!("discouraged");
    let answer = device.use_key(APP, &begun.options).await;
    let ended = site.end_authentication(&begun.state, credentials, &answer);
    assert!(matches!(ended, Err(Refused::UserUnverified)), "{ended:?}");
}

#[tokio::test]
async fn an_answer_is_good_for_its_own_challenge_alone() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let credentials = std::slice::from_ref(&credential);
    let first = site.begin_authentication(credentials).expect("it begins");
    let second = site.begin_authentication(credentials).expect("it begins");
    let answer = device.use_key(APP, &first.options).await;
    let replayed = site.end_authentication(&second.state, credentials, &answer);
    assert!(matches!(replayed, Err(Refused::Challenge)), "{replayed:?}");
    assert!(
        site.end_authentication(&first.state, credentials, &answer)
            .is_ok()
    );

    let first = site.begin_registration(alice(), &[]).expect("it begins");
    let second = site.begin_registration(alice(), &[]).expect("it begins");
    let answer = device.create(APP, &first.options).await;
    let replayed = site.end_registration(&second.state, &answer);
    assert!(matches!(replayed, Err(Refused::Challenge)), "{replayed:?}");
}

#[tokio::test]
async fn a_copied_key_is_seen_by_its_counter_and_told_rather_than_refused() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let mut copy = device.copy();
    let used = authenticate(&site, &mut device, &credential).await;
    let used = used.expect("it is hers");
    assert_eq!(used.counter, Counter::Plausible);
    let copied = authenticate(&site, &mut copy, &used.credential).await;
    let copied = copied.expect("its signature is good");
    assert_eq!(copied.counter, Counter::Regressed);
    assert_eq!(copied.credential.counter(), used.credential.counter());
}

#[tokio::test]
async fn the_counter_that_is_kept_now_counts_and_not_that_of_the_beginning() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let mut copy = device.copy();
    let begun = site
        .begin_authentication(std::slice::from_ref(&credential))
        .expect("it begins");
    let meanwhile = authenticate(&site, &mut device, &credential).await;
    let kept = meanwhile.expect("it is hers").credential;
    let answer = copy.use_key(APP, &begun.options).await;
    let ended = site.end_authentication(&begun.state, &[kept], &answer);
    assert_eq!(ended.expect("signed").counter, Counter::Regressed);
}

#[tokio::test]
async fn a_key_of_somebody_else_or_one_that_was_removed_is_refused() {
    let (site, mut hers, mut his) = (site(), Device::new(), Device::new());
    let credential = register(&site, &mut hers).await;
    let other = register(&site, &mut his).await;
    let begun = site
        .begin_authentication(std::slice::from_ref(&credential))
        .expect("it begins");
    let removed = hers.use_key(APP, &begun.options).await;
    let ended = site.end_authentication(&begun.state, &[], &removed);
    assert!(
        matches!(ended, Err(Refused::UnknownCredential)),
        "{ended:?}"
    );

    let mut options = begun.options.clone();
    let his_options = site
        .begin_authentication(std::slice::from_ref(&other))
        .expect("it begins")
        .options;
    options["allowCredentials"] = his_options["allowCredentials"].clone();
    let answer = his.use_key(APP, &options).await;
    let both = [credential, other];
    let ended = site.end_authentication(&begun.state, &both, &answer);
    assert!(
        matches!(ended, Err(Refused::UnknownCredential)),
        "{ended:?}"
    );
}

#[tokio::test]
async fn an_answer_with_anything_altered_is_refused() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    let credentials = std::slice::from_ref(&credential);
    let begun = site.begin_authentication(credentials).expect("it begins");
    let good = device.use_key(APP, &begun.options).await;
    let end = |answer: &Value| site.end_authentication(&begun.state, credentials, answer);

    let mut signature = good.clone();
    let text = good["response"]["signature"].as_str().expect("base64");
    let flipped = if text.ends_with('A') { "Q" } else { "A" };
    let end_of = text.len() - 4;
    signature["response"]["signature"] = json!(format!(
        "{}{flipped}{}",
        &text[..end_of],
        &text[end_of + 1..]
    ));
    assert!(end(&signature).is_err(), "its signature");

    let bytes = serde_json::to_vec(&json!({
        "type": "webauthn.get", "challenge": begun.options["challenge"], "origin": APP, "crossOrigin": true,
    }));
    let embedded = URL_SAFE_NO_PAD.encode(bytes.expect("JSON"));
    let mut within = good.clone();
    within["response"]["clientDataJSON"] = json!(embedded);
    let ended = end(&within);
    assert!(matches!(ended, Err(Refused::CrossOrigin)), "{ended:?}");

    for pointer in [
        "/response/authenticatorData",
        "/response/clientDataJSON",
        "/rawId",
    ] {
        let mut without = good.clone();
        *without.pointer_mut(pointer).expect("it is there") = json!("AAAA");
        assert!(end(&without).is_err(), "{pointer}");
    }
    for odd in [
        json!(null),
        json!([]),
        json!({}),
        json!("x"),
        json!({"response": {}}),
    ] {
        let ended = end(&odd);
        assert!(matches!(ended, Err(Refused::Malformed)), "{ended:?}");
    }
    let registration = site.begin_registration(alice(), &[]).expect("it begins");
    let created = device.create(APP, &registration.options).await;
    assert!(end(&created).is_err(), "the answer of a registration");
    let ended = site.end_authentication(&registration.state, credentials, &good);
    assert!(matches!(ended, Err(Refused::State)), "{ended:?}");
    assert!(end(&good).is_ok(), "as it came");
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_keys_and_what_is_kept_of_them_is_bounded() {
    let (site, mut device) = (site(), Device::new());
    let credential = register(&site, &mut device).await;
    assert!(credential.to_bytes().len() < CREDENTIAL_BYTES_MAX / 4);
    let all = vec![credential; CREDENTIALS_MAX];
    let begun = site.begin_authentication(&all).expect("it begins");
    assert!(begun.state.len() <= STATE_BYTES_MAX);
    let refused = site.begin_registration(alice(), &all);
    assert!(matches!(refused, Err(CeremonyError::TooManyCredentials)));
    let none = site.begin_authentication(&[]);
    assert!(matches!(none, Err(CeremonyError::NoCredential)));
    let long = vec![b' '; STATE_BYTES_MAX + 1];
    let ended = site.end_authentication(&long, &all, &json!({}));
    assert!(matches!(ended, Err(Refused::State)));
}
