use serde_json::{Value, json};
use vestibule_crds::algorithm::{Algorithm, SigningAlgorithm};
use vestibule_crds::duration::Duration;

use vestibule_crds::oidc_provider::AcceptedClaim;

use super::*;
use crate::testing::{self, NOW, claims, header, with, without};

/// Runs all checks, without a signature.
fn outcome(
    provider: &Provider,
    header: &Value,
    claims: &Value,
    nonce: Option<&str>,
) -> Result<(), Reason> {
    let key = testing::key(SigningAlgorithm::ES256);
    let text = testing::sign(&key, header, claims);
    let token = UnverifiedToken::parse(&text).expect("the form is right");
    let facts = Facts {
        token: &token,
        provider,
        nonce,
        now: NOW,
    };
    check_header(&facts)
        .and_then(|()| check_claims(&facts))
        .map_err(|refused| refused.reason)
}

fn provider() -> Provider {
    testing::provider(json!({"keys": []}))
}

fn es256() -> Value {
    json!({"alg": "ES256", "kid": "k", "typ": "JWT"})
}

fn with_claims(claims: &Value) -> Result<(), Reason> {
    outcome(&provider(), &es256(), claims, None)
}

#[test]
fn accepts_the_fixture() {
    assert_eq!(with_claims(&claims()), Ok(()));
}

#[test]
fn the_issuer_is_exact_or_an_alias() {
    for issuer in [
        "https://idp.example/",
        "https://IDP.example",
        "https://evil.example",
        "",
    ] {
        assert_eq!(
            with_claims(&with(claims(), "iss", issuer)),
            Err(Reason::IssuerMismatch),
            "{issuer}"
        );
    }
    let mut google = provider();
    google.issuer_aliases = vec!["accounts.example".to_owned()];
    let claims = with(claims(), "iss", "accounts.example");
    assert_eq!(outcome(&google, &es256(), &claims, None), Ok(()));
}

#[test]
fn the_algorithm_is_on_the_providers_list() {
    for name in ["RS256", "HS256", "none", "NONE", "nOnE", "es256", "ES256K"] {
        let header = with(es256(), "alg", name);
        assert_eq!(
            outcome(&provider(), &header, &claims(), None),
            Err(Reason::AlgorithmNotAllowed),
            "{name}"
        );
    }
    let mut provider = provider();
    provider.algorithms = vec![Algorithm::RS256, Algorithm::ES256];
    assert_eq!(outcome(&provider, &es256(), &claims(), None), Ok(()));
}

#[test]
fn an_access_or_logout_token_is_refused_by_its_type() {
    for typ in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "JWS",
    ] {
        let header = with(es256(), "typ", typ);
        assert_eq!(
            outcome(&provider(), &header, &claims(), None),
            Err(Reason::TypeNotAllowed),
            "{typ}"
        );
    }
    for typ in ["JWT", "jwt", "application/jwt"] {
        let header = with(es256(), "typ", typ);
        assert_eq!(
            outcome(&provider(), &header, &claims(), None),
            Ok(()),
            "{typ}"
        );
    }
    let header = without(es256(), "typ");
    assert_eq!(outcome(&provider(), &header, &claims(), None), Ok(()));

    for (name, value) in [
        ("typ", json!("Bearer")),
        ("typ", json!("Refresh")),
        ("typ", json!("Logout")),
        ("token_use", json!("access")),
        (
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
        ),
    ] {
        assert_eq!(
            with_claims(&with(claims(), name, value.clone())),
            Err(Reason::TypeNotAllowed),
            "{name}: {value}"
        );
    }
    assert_eq!(with_claims(&with(claims(), "typ", "ID")), Ok(()));
    assert_eq!(with_claims(&with(claims(), "token_use", "id")), Ok(()));
}

#[test]
fn at_least_one_audience_is_configured() {
    for audience in [json!("web"), json!("mobile"), json!(["web"])] {
        assert_eq!(with_claims(&with(claims(), "aud", audience)), Ok(()));
    }
    for audience in [
        json!("other"),
        json!(""),
        json!([]),
        json!(["other"]),
        json!("WEB"),
        json!("web "),
    ] {
        assert_eq!(
            with_claims(&with(claims(), "aud", audience.clone())),
            Err(Reason::AudienceMismatch),
            "{audience}"
        );
    }
    assert_eq!(
        with_claims(&without(claims(), "aud")),
        Err(Reason::AudienceMismatch)
    );
}

#[test]
fn several_audiences_are_all_ours_or_name_a_party_that_is() {
    let several = with(claims(), "aud", json!(["web", "other"]));
    assert_eq!(with_claims(&several), Err(Reason::AudienceMismatch));
    assert_eq!(with_claims(&with(several.clone(), "azp", "web")), Ok(()));
    let other = with(several.clone(), "azp", "other");
    assert_eq!(with_claims(&other), Err(Reason::AudienceMismatch));
    for ours in [json!(["web", "mobile"]), json!(["web", "web"])] {
        assert_eq!(with_claims(&with(claims(), "aud", ours)), Ok(()));
    }

    let mut listed = provider();
    listed.authorized_parties = vec!["android".to_owned()];
    for (party, expected) in [
        ("android", Ok(())),
        ("web", Ok(())),
        ("other", Err(Reason::AudienceMismatch)),
    ] {
        let claims = with(several.clone(), "azp", party);
        let found = outcome(&listed, &es256(), &claims, None);
        assert_eq!(found, expected, "{party}");
    }
}

#[test]
fn a_party_that_is_not_ours_is_refused_with_one_audience_too() {
    // Google's Android case: `aud` is the web client, `azp` the app.
    let android = with(claims(), "azp", "android");
    assert_eq!(with_claims(&android), Err(Reason::AudienceMismatch));
    let mut listed = provider();
    listed.authorized_parties = vec!["android".to_owned()];
    assert_eq!(outcome(&listed, &es256(), &android, None), Ok(()));
    assert_eq!(with_claims(&with(claims(), "azp", "web")), Ok(()));
}

#[test]
fn an_access_token_whose_audience_is_the_client_signs_nobody_in() {
    // As Spring Authorization Server, LemonLDAP::NG, Canaille and Entra ID issue them.
    let signs = [
        ("scope", json!("openid profile")),
        ("scope", json!(["openid"])),
        ("scope", json!("")),
        ("scp", json!("User.Read")),
        ("scp", json!(["openid"])),
        ("idtyp", json!("user")),
        ("cnf", json!({"jkt": "x"})),
        ("act", json!({"sub": "service"})),
        ("events", json!({})),
        ("events", json!("x")),
        ("typ", json!("Bearer")),
        ("typ", json!("id")),
        ("typ", json!(1)),
        ("typ", json!({"ID": true})),
        ("token_use", json!("access")),
        ("token_use", json!(["id"])),
        ("token_use", json!(true)),
    ];
    for (name, value) in &signs {
        let claims = with(claims(), name, value.clone());
        let refused = Err(Reason::TypeNotAllowed);
        assert_eq!(with_claims(&claims), refused, "{name}: {value}");
    }
    let both = with(claims(), "client_id", "web");
    let both = with(both, "scope", "openid");
    assert_eq!(with_claims(&both), Err(Reason::TypeNotAllowed));
}

#[test]
fn an_id_token_with_a_lone_client_id_or_null_claims_signs_in() {
    assert_eq!(with_claims(&with(claims(), "client_id", "web")), Ok(()));
    for name in [
        "scope",
        "scp",
        "idtyp",
        "cnf",
        "act",
        "events",
        "typ",
        "token_use",
    ] {
        let claims = with(claims(), name, serde_json::Value::Null);
        assert_eq!(with_claims(&claims), Ok(()), "{name}");
    }
}

#[test]
fn a_claim_that_the_provider_is_let_have_is_accepted_and_no_other() {
    let mut odd = provider();
    odd.token.accept = vec![AcceptedClaim::Scope];
    let scope = with(claims(), "scope", "read");
    assert_eq!(outcome(&odd, &es256(), &scope, None), Ok(()));
    let client = with(scope, "client_id", "web");
    let refused = Err(Reason::TypeNotAllowed);
    assert_eq!(outcome(&odd, &es256(), &client, None), refused);
    odd.token.accept = vec![AcceptedClaim::Events];
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let logout = with(claims(), "events", event);
    assert_eq!(outcome(&odd, &es256(), &logout, None), refused);
}

#[test]
fn times_hold_to_the_second_of_the_skew() {
    for (name, offset, expected) in [
        ("exp", -29, Ok(())),
        ("exp", -30, Err(Reason::Expired)),
        ("nbf", 30, Ok(())),
        ("nbf", 31, Err(Reason::NotYetValid)),
        ("iat", 30, Ok(())),
        ("iat", 31, Err(Reason::NotYetValid)),
        ("iat", -3630, Ok(())),
        ("iat", -3631, Err(Reason::TooOld)),
    ] {
        let claims = with(claims(), name, NOW + offset);
        assert_eq!(with_claims(&claims), expected, "{name} {offset}");
    }
    let mut patient = provider();
    patient.token.max_age = None;
    let old = with(claims(), "iat", NOW - 1_000_000);
    assert_eq!(outcome(&patient, &es256(), &old, None), Ok(()));
    let mut strict = provider();
    strict.token.clock_skew = Duration::from_secs(0);
    let expired = with(claims(), "exp", NOW);
    assert_eq!(
        outcome(&strict, &es256(), &expired, None),
        Err(Reason::Expired)
    );
}

#[test]
fn a_nonce_is_checked_as_the_provider_asks() {
    let hashed = "78377b525757b494427f89014f97d79928f3938d14eb51e20fb5dec9834eb304"; // of "nonce"
    let required = Err(Reason::NonceRequired);
    let mismatch = Err(Reason::NonceMismatch);
    for (rule, form, sent, claimed, expected) in [
        (Nonce::IfPresent, NonceForm::Either, None, None, Ok(())),
        (
            Nonce::IfPresent,
            NonceForm::Either,
            Some("nonce"),
            Some("nonce"),
            Ok(()),
        ),
        (
            Nonce::IfPresent,
            NonceForm::Either,
            Some("nonce"),
            Some(hashed),
            Ok(()),
        ),
        (
            Nonce::IfPresent,
            NonceForm::Either,
            None,
            Some("nonce"),
            required,
        ),
        (
            Nonce::IfPresent,
            NonceForm::Either,
            Some("nonce"),
            None,
            mismatch,
        ),
        (
            Nonce::IfPresent,
            NonceForm::Either,
            Some("nonce"),
            Some("other"),
            mismatch,
        ),
        (Nonce::Required, NonceForm::Either, None, None, required),
        (
            Nonce::Required,
            NonceForm::Either,
            Some("nonce"),
            None,
            mismatch,
        ),
        (
            Nonce::Required,
            NonceForm::Either,
            Some("nonce"),
            Some("nonce"),
            Ok(()),
        ),
        (
            Nonce::Required,
            NonceForm::Raw,
            Some("nonce"),
            Some("nonce"),
            Ok(()),
        ),
        (
            Nonce::Required,
            NonceForm::Raw,
            Some("nonce"),
            Some(hashed),
            mismatch,
        ),
        (
            Nonce::Required,
            NonceForm::Sha256Hex,
            Some("nonce"),
            Some(hashed),
            Ok(()),
        ),
        (
            Nonce::Required,
            NonceForm::Sha256Hex,
            Some("nonce"),
            Some("nonce"),
            mismatch,
        ),
        (Nonce::Off, NonceForm::Either, None, Some("nonce"), Ok(())),
        (Nonce::Off, NonceForm::Either, Some("nonce"), None, Ok(())),
        (Nonce::Off, NonceForm::Either, Some("a"), Some("b"), Ok(())),
    ] {
        let mut provider = provider();
        provider.token.nonce = rule;
        provider.token.nonce_form = form;
        let claims = match claimed {
            Some(nonce) => with(claims(), "nonce", nonce),
            None => claims(),
        };
        assert_eq!(
            outcome(&provider, &es256(), &claims, sent),
            expected,
            "{rule:?} {form:?} {sent:?} {claimed:?}"
        );
    }
}

#[test]
fn every_check_says_what_it_expected_and_found() {
    let key = testing::key(SigningAlgorithm::ES256);
    let claims = with(claims(), "aud", json!(["other\u{7}", "x".repeat(500)]));
    let text = testing::sign(&key, &header(&key), &claims);
    let token = UnverifiedToken::parse(&text).expect("the form is right");
    let provider = provider();
    let facts = Facts {
        token: &token,
        provider: &provider,
        nonce: Some("secret-nonce"),
        now: NOW,
    };
    for check in HEADER_CHECKS.iter().chain(CLAIM_CHECKS) {
        let (expected, found) = ((check.expected)(&facts), (check.found)(&facts));
        assert!(!expected.is_empty() && !found.is_empty(), "{}", check.name);
        assert!(!expected.contains("secret-nonce") && !found.contains("secret-nonce"));
        assert!(found.len() < 1000 && !found.contains('\u{7}'), "{found}");
    }
}
