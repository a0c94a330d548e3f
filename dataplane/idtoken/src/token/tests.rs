use proptest::prelude::*;
use serde_json::json;

use super::*;

fn token_of(header: &Value, claims: &Value) -> String {
    token_of_text(&header.to_string(), &claims.to_string())
}

fn token_of_text(header: &str, claims: &str) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims),
        URL_SAFE_NO_PAD.encode("signature")
    )
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "k1", "typ": "JWT"})
}

fn claims() -> Value {
    json!({"iss": "https://idp.example", "sub": "alice", "aud": "web", "exp": 2_000_000_000, "iat": 1_900_000_000})
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().map(|members| members.remove(name));
    object
}

fn parse_claims(claims: &Value) -> Result<(), Malformed> {
    UnverifiedToken::parse(&token_of(&header(), claims)).map(|_| ())
}

#[test]
fn takes_a_valid_token_apart() {
    let text = token_of(&header(), &claims());
    let token = UnverifiedToken::parse(&text).expect("a valid form");
    assert_eq!(token.issuer, "https://idp.example");
    assert_eq!(token.audiences, ["web"]);
    assert_eq!(token.jws.header.algorithm, Some(Algorithm::RS256));
    assert_eq!(token.jws.signature, b"signature");
    assert!(text.starts_with(token.jws.signing_input));
}

#[test]
fn refuses_what_is_not_three_parts() {
    for text in ["", ".", "..", "a.b", "a.b.", ".b.c", "a.b.c.d", "a.b.c.d.e"] {
        assert_eq!(
            UnverifiedToken::parse(text).map(|_| ()),
            Err(Malformed::NotThreeParts),
            "{text}"
        );
    }
    let no_payload = token_of_text(&header().to_string(), "");
    assert_eq!(
        UnverifiedToken::parse(&no_payload).map(|_| ()),
        Err(Malformed::ClaimsJson(NotStrictJson::Syntax))
    );
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(
        UnverifiedToken::parse(&long).map(|_| ()),
        Err(Malformed::TooLong)
    );
}

#[test]
fn refuses_base64_that_is_not_canonical() {
    let good = token_of(&header(), &claims());
    for bad in [
        format!("{good}="),
        format!("{good}\n"),
        format!(" {good}"),
        good.replacen('.', "+.", 1),
        // "A" has six bits, of which a last byte leaves four over that must be zero.
        format!("{}.AB", good.rsplit_once('.').expect("dots").0),
    ] {
        assert_eq!(
            UnverifiedToken::parse(&bad).map(|_| ()),
            Err(Malformed::Base64),
            "{bad:?}"
        );
    }
}

#[test]
fn refuses_critical_extensions_and_ignores_key_hints() {
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        let text = token_of(&with(header(), name, value), &claims());
        assert_eq!(
            UnverifiedToken::parse(&text).map(|_| ()),
            Err(Malformed::Critical)
        );
    }
    for (name, value) in [
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
        ("jwk", json!({"kty": "oct", "k": "AA"})),
    ] {
        let text = token_of(&with(header(), name, value), &claims());
        assert!(UnverifiedToken::parse(&text).is_ok(), "{name} is ignored");
    }
}

#[test]
fn an_unknown_algorithm_is_kept_as_a_name_only() {
    for name in ["none", "None", "HS256", "rs256", "RS256 ", ""] {
        let text = token_of(&with(header(), "alg", json!(name)), &claims());
        let token = UnverifiedToken::parse(&text).expect("the form is right");
        assert_eq!(token.jws.header.algorithm, None, "{name}");
    }
    for value in [json!(null), json!(256), json!(["RS256"])] {
        let text = token_of(&with(header(), "alg", value), &claims());
        assert_eq!(
            UnverifiedToken::parse(&text).map(|_| ()),
            Err(Malformed::Algorithm)
        );
    }
}

#[test]
fn times_are_numbers_in_range() {
    for name in ["exp", "iat", "nbf"] {
        for value in [
            json!(0),
            json!(1_900_000_000),
            json!(1.9e9),
            json!(1_900_000_000.5),
        ] {
            assert_eq!(parse_claims(&with(claims(), name, value)), Ok(()), "{name}");
        }
        for value in [
            json!("1900000000"),
            json!(null),
            json!(-1),
            json!(1e300),
            json!(253_402_300_800_i64),
            json!(true),
            json!([1]),
            json!({}),
        ] {
            assert_eq!(
                parse_claims(&with(claims(), name, value.clone())),
                Err(Malformed::Time(name)),
                "{name}: {value}"
            );
        }
    }
    assert_eq!(parse_claims(&without(claims(), "nbf")), Ok(()));
    for name in ["exp", "iat"] {
        assert_eq!(
            parse_claims(&without(claims(), name)),
            Err(Malformed::Time(name))
        );
    }
}

#[test]
fn a_subject_has_1_to_255_characters() {
    for subject in ["a".to_owned(), "ü".repeat(255), "ſub".to_owned()] {
        assert_eq!(parse_claims(&with(claims(), "sub", json!(subject))), Ok(()));
    }
    for subject in [
        json!(""),
        json!("a".repeat(256)),
        json!(1),
        json!(null),
        json!("a\u{0}b"),
    ] {
        assert_eq!(
            parse_claims(&with(claims(), "sub", subject)),
            Err(Malformed::Subject)
        );
    }
    let renamed = with(without(claims(), "sub"), "Sub", json!("alice"));
    assert_eq!(parse_claims(&renamed), Err(Malformed::Subject));
}

#[test]
fn an_audience_is_a_string_or_strings() {
    for audience in [json!("web"), json!(["web", "other"]), json!([]), json!("")] {
        assert_eq!(parse_claims(&with(claims(), "aud", audience)), Ok(()));
    }
    for audience in [
        json!(1),
        json!(null),
        json!(["web", 1]),
        json!({"web": true}),
    ] {
        assert_eq!(
            parse_claims(&with(claims(), "aud", audience)),
            Err(Malformed::Audience)
        );
    }
    assert_eq!(parse_claims(&without(claims(), "aud")), Ok(()));
}

#[test]
fn a_name_twice_is_refused_in_header_and_claims() {
    let twice = r#"{"alg":"RS256","alg":"none"}"#;
    assert_eq!(
        UnverifiedToken::parse(&token_of_text(twice, &claims().to_string())).map(|_| ()),
        Err(Malformed::HeaderJson(NotStrictJson::DuplicateName))
    );
    let twice = r#"{"sub":"alice","sub":"root"}"#;
    assert_eq!(
        UnverifiedToken::parse(&token_of_text(&header().to_string(), twice)).map(|_| ()),
        Err(Malformed::ClaimsJson(NotStrictJson::DuplicateName))
    );
}

proptest! {
    #[test]
    fn never_panics_on_text(text in "\\PC{0,200}") {
        let _ = UnverifiedToken::parse(&text);
    }

    #[test]
    fn never_panics_on_json(header in "[\\[\\]{}:,\"a-z0-9. ]{0,60}", claims in "[\\[\\]{}:,\"a-z0-9. ]{0,60}") {
        let _ = UnverifiedToken::parse(&token_of_text(&header, &claims));
    }
}
