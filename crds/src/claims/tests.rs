use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::expression::STEPS_MAX;

fn rule(expression: &str) -> Rule {
    Rule {
        expression: expression.to_owned(),
        message: format!("refused by {expression}"),
    }
}

fn mapping() -> Mapping {
    Mapping {
        username: Some("claims.preferred_username".to_owned()),
        email: Some("claims.email".to_owned()),
        email_verified: Some("claims.email_verified".to_owned()),
        phone: Some("claims.phone_number".to_owned()),
        groups: Some("claims.roles.map(r, 'corp:' + r)".to_owned()),
    }
}

fn claims() -> Value {
    json!({
        "sub": "1",
        "hd": "corp.example",
        "preferred_username": "jane",
        "email": "Jane@Corp.example",
        "email_verified": true,
        "phone_number": "+41 44 123 45 67",
        "roles": ["dev", "ops"],
    })
}

/// The valid claims with one of them changed; null removes it.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let entries = claims.as_object_mut().expect("an object");
    if value.is_null() {
        entries.remove(name);
    } else {
        entries.insert(name.to_owned(), value);
    }
    claims
}

fn apply(rules: &[&str], claims: &Value) -> Result<MappedClaims, Cause> {
    let rules: Vec<Rule> = rules.iter().copied().map(rule).collect();
    let rules = ClaimRules::parse(&rules, &mapping()).expect("the rules parse");
    rules.apply(claims).map_err(|rejected| rejected.cause)
}

fn unusable(attribute: Attribute, reason: Unusable) -> Cause {
    Cause::AttributeUnusable { attribute, reason }
}

#[test]
fn every_mapping_fills_its_attribute() {
    let mapped = apply(&["claims.hd == 'corp.example'"], &claims());
    let expected = MappedClaims {
        username: Some("jane".to_owned()),
        email: Some("jane@corp.example".to_owned()),
        email_verified: true,
        phone: Some("+41 44 123 45 67".to_owned()),
        groups: vec!["corp:dev".to_owned(), "corp:ops".to_owned()],
        phone_unverified: false,
    };
    assert_eq!(mapped, Ok(expected));
}

#[test]
fn claims_that_are_missing_null_or_empty_leave_their_attributes_out() {
    let nulls = json!({"preferred_username": null, "email": null, "email_verified": null, "phone_number": null});
    let empties = json!({"preferred_username": "", "email": "", "phone_number": "", "roles": []});
    for claims in [json!({}), nulls, empties] {
        assert_eq!(apply(&[], &claims), Ok(MappedClaims::default()), "{claims}");
    }
    let nothing = ClaimRules::parse(&[], &Mapping::default()).expect("nothing to parse");
    assert_eq!(nothing.apply(&claims()), Ok(MappedClaims::default()));
}

#[test]
fn only_the_boolean_true_lets_a_sign_in_through() {
    assert!(apply(&["true", "has(claims.sub)"], &claims()).is_ok());
    let missing = EvaluationError::MissingKey("tid".to_owned());
    for (expression, cause) in [
        ("false", Cause::RuleIsFalse { rule: 1 }),
        ("'true'", Cause::RuleIsNoBoolean { rule: 1 }),
        ("1", Cause::RuleIsNoBoolean { rule: 1 }),
        ("null", Cause::RuleIsNoBoolean { rule: 1 }),
        ("claims.roles", Cause::RuleIsNoBoolean { rule: 1 }),
        (
            "claims.tid == 'x'",
            Cause::RuleFailed {
                rule: 1,
                error: missing,
            },
        ),
    ] {
        assert_eq!(apply(&["true", expression], &claims()), Err(cause));
    }
}

#[test]
fn the_caller_reads_the_message_of_the_rule_that_failed() {
    let rules = [rule("true"), rule("claims.hd == 'x'"), rule("false")];
    let rules = ClaimRules::parse(&rules, &mapping()).expect("the rules parse");
    let rejected = rules
        .apply(&claims())
        .expect_err("the second rule is false");
    assert_eq!(rejected.message, "refused by claims.hd == 'x'");
    assert_eq!(rejected.cause.to_string(), "rule 1 is false");
}

#[test]
fn an_expression_that_does_not_parse_is_found_at_its_field() {
    let field = |rules: &[Rule], mapping: &Mapping| {
        let error = ClaimRules::parse(rules, mapping).expect_err("a typo");
        error.field
    };
    let rules = [rule("true"), rule("true"), rule("claim.x")];
    assert_eq!(
        field(&rules, &Mapping::default()),
        "claims.rules[2].expression"
    );
    let typo = || Some("claim.x".to_owned());
    let none = Mapping::default;
    for (mapping, name) in [
        (
            Mapping {
                username: typo(),
                ..none()
            },
            "username",
        ),
        (
            Mapping {
                email: typo(),
                ..none()
            },
            "email",
        ),
        (
            Mapping {
                email_verified: typo(),
                ..none()
            },
            "emailVerified",
        ),
        (
            Mapping {
                phone: typo(),
                ..none()
            },
            "phone",
        ),
        (
            Mapping {
                groups: typo(),
                ..none()
            },
            "groups",
        ),
    ] {
        assert_eq!(field(&[], &mapping), format!("claims.mapping.{name}"));
    }
}

#[test]
fn an_email_is_verified_by_the_boolean_true_alone() {
    let verified = |value: Value| {
        let mapped = apply(&[], &claims_with("email_verified", value));
        mapped
            .expect("an email that is not verified is still an email")
            .email_verified
    };
    assert!(verified(json!(true)));
    for value in [
        json!("true"),
        json!(1),
        json!(false),
        json!([true]),
        json!(null),
    ] {
        assert!(!verified(value.clone()), "{value}");
    }
    let without_email = apply(&[], &claims_with("email", json!(null)));
    assert_eq!(without_email.map(|mapped| mapped.email_verified), Ok(false));
}

#[test]
fn a_mapping_that_errs_refuses_the_sign_in() {
    let mapping = Mapping {
        email_verified: Some("claims.hd.x".to_owned()),
        ..Mapping::default()
    };
    let rules = ClaimRules::parse(&[], &mapping).expect("it parses");
    let rejected = rules.apply(&claims()).expect_err("hd is no map");
    assert!(matches!(
        rejected.cause,
        Cause::MappingFailed {
            attribute: Attribute::EmailVerified,
            ..
        }
    ));
}

#[test]
fn an_email_is_a_plausible_address_in_lower_case() {
    for (written, kept) in [
        ("a@b.example", "a@b.example"),
        ("A.B+c_d@X-Y.Example", "a.b+c_d@x-y.example"),
        ("root@localhost", "root@localhost"),
        ("jürg@müller.example", "jürg@müller.example"),
        ("JÜRG@b.example", "jÜrg@b.example"),
    ] {
        let mapped = apply(&[], &claims_with("email", json!(written)));
        let email = mapped.expect("a plausible address").email;
        assert_eq!(email.as_deref(), Some(kept));
    }
    let longest = format!(
        "{}@{}",
        "a".repeat(64),
        ["b".repeat(62).as_str(); 3].join(".")
    );
    assert!(apply(&[], &claims_with("email", json!(longest))).is_ok());
    for text in [
        "a",
        "@",
        "a@",
        "@b.example",
        "a@b@c",
        "a b@c.example",
        " a@b.example",
        "a@b.example ",
        "a@.example",
        "a@b..example",
        "a@b.example.",
        ".a@b.example",
        "a.@b.example",
        "a@-b.example",
        "a@b-.example",
        "\"a\"@b.example",
        "<a@b.example>",
        "a@[127.0.0.1]",
        "a,c@b.example",
        "a@b_c.example",
        &format!("{}@b.example", "a".repeat(65)),
        &format!("a@{}.example", "b".repeat(64)),
    ] {
        let refused = unusable(Attribute::Email, Unusable::NotAnAddress);
        let mapped = apply(&[], &claims_with("email", json!(text)));
        assert_eq!(mapped, Err(refused), "{text:?}");
    }
    for (value, reason) in [
        (json!(1), Unusable::NotAString),
        (json!(["a@b.example"]), Unusable::NotAString),
        (json!("a\n@b.example"), Unusable::Invisible),
        (json!("a\u{202e}@b.example"), Unusable::Invisible),
        (
            json!(format!("a@{}", "b.".repeat(127))),
            Unusable::TooLong(254),
        ),
    ] {
        let mapped = apply(&[], &claims_with("email", value));
        assert_eq!(mapped, Err(unusable(Attribute::Email, reason)));
    }
}

#[test]
fn a_username_is_a_short_visible_string() {
    for text in ["jane", "Jane Doe", "j", "名前", &"a".repeat(256)] {
        let mapped = apply(&[], &claims_with("preferred_username", json!(text)));
        let username = mapped.expect("a usable name").username;
        assert_eq!(username.as_deref(), Some(text));
    }
    for (value, reason) in [
        (json!(7), Unusable::NotAString),
        (json!({}), Unusable::NotAString),
        (json!("a\u{0}"), Unusable::Invisible),
        (json!("a\u{200b}b"), Unusable::Invisible),
        (json!("a".repeat(257)), Unusable::TooLong(256)),
    ] {
        let mapped = apply(&[], &claims_with("preferred_username", value));
        assert_eq!(mapped, Err(unusable(Attribute::Username, reason)));
    }
}

#[test]
fn a_telephone_number_has_digits_and_nothing_strange() {
    for text in ["+41441234567", "+1 (604) 555-1234;ext=5678", "112"] {
        let mapped = apply(&[], &claims_with("phone_number", json!(text)));
        assert_eq!(mapped.expect("a number").phone.as_deref(), Some(text));
    }
    for (value, reason) in [
        (json!(41), Unusable::NotAString),
        (json!("call me"), Unusable::NotAPhone),
        (json!("+41<script>"), Unusable::NotAPhone),
        (json!("1".repeat(65)), Unusable::TooLong(64)),
    ] {
        let mapped = apply(&[], &claims_with("phone_number", value));
        assert_eq!(mapped, Err(unusable(Attribute::Phone, reason)));
    }
}

#[test]
fn groups_are_a_bounded_list_of_strings() {
    let groups = |value: Value| {
        let mapping = Mapping {
            groups: Some("claims.groups".to_owned()),
            ..Mapping::default()
        };
        let rules = ClaimRules::parse(&[], &mapping).expect("it parses");
        let claims = json!({"groups": value});
        let mapped = rules.apply(&claims);
        mapped
            .map(|mapped| mapped.groups)
            .map_err(|rejected| rejected.cause)
    };
    assert_eq!(groups(json!("one")), Ok(vec!["one".to_owned()]));
    assert_eq!(
        groups(json!(["a", "", "b"])),
        Ok(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(groups(json!(null)), Ok(vec![]));
    assert_eq!(
        groups(json!(vec!["g"; 256])).map(|groups| groups.len()),
        Ok(256)
    );
    for (value, reason) in [
        (json!(vec!["g"; 257]), Unusable::TooMany(256)),
        (json!(["a".repeat(257)]), Unusable::TooLong(256)),
        (json!(["a", 1]), Unusable::NotStrings),
        (json!([["a"]]), Unusable::NotStrings),
        (json!(["a", null]), Unusable::NotStrings),
        (json!({"a": true}), Unusable::NotStrings),
        (json!(true), Unusable::NotStrings),
        (json!(["a\u{7}"]), Unusable::Invisible),
    ] {
        assert_eq!(
            groups(value.clone()),
            Err(unusable(Attribute::Groups, reason)),
            "{value}"
        );
    }
}

#[test]
fn all_rules_of_a_sign_in_share_one_budget() {
    let claims = json!({"list": vec![0; 1000]});
    let rule = "claims.list.all(a, a + 0 == 0)";
    let steps = 6 * 1000 + 3;
    let fitting = usize::try_from(STEPS_MAX / steps).expect("a small number");
    assert!(apply(&vec![rule; fitting], &claims).is_ok());
    let exceeded = Err(Cause::RuleFailed {
        rule: fitting,
        error: EvaluationError::BudgetExceeded,
    });
    assert_eq!(apply(&vec![rule; fitting + 1], &claims), exceeded);
}

fn extra(pairs: &[(&str, &str)]) -> Result<ExtraClaims, RuleError> {
    let owned = pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    ExtraClaims::parse(&owned.collect::<BTreeMap<_, _>>())
}

fn evaluate(pairs: &[(&str, &str)]) -> Result<Value, ExtraClaimsError> {
    let user = json!({"groups": ["a"], "phone": null});
    let provider = json!({"name": "corp"});
    let evaluated = extra(pairs)
        .expect("it parses")
        .evaluate(&user, &claims(), &provider);
    evaluated.map(Value::Object)
}

#[test]
fn extra_claims_see_the_user_the_claims_and_the_provider() {
    let pairs = [
        ("tenant", "'acme'"),
        ("roles", "user.groups"),
        ("via", "provider.name"),
        ("hd", "claims.hd"),
        ("phone", "user.phone"),
        ("absent", "claims.tid"),
    ];
    let expected = json!({"tenant": "acme", "roles": ["a"], "via": "corp", "hd": "corp.example", "phone": null});
    assert_eq!(evaluate(&pairs), Ok(expected));
}

#[test]
fn extra_claims_that_err_or_are_too_large_refuse_the_token() {
    let failed = evaluate(&[("a", "'x'"), ("b", "claims.hd + 1")]);
    assert!(
        matches!(&failed, Err(ExtraClaimsError::Failed { claim, .. }) if claim == "b"),
        "{failed:?}"
    );
    let kilobyte = format!("'{}'", "x".repeat(1000));
    let pairs = ["a", "b", "c", "d", "e"].map(|name| (name, kilobyte.as_str()));
    assert!(evaluate(&pairs[..4]).is_ok());
    let too_large = Err(ExtraClaimsError::TooLarge {
        claim: "e".to_owned(),
    });
    assert_eq!(evaluate(&pairs), too_large);
}

#[test]
fn an_extra_claim_that_does_not_parse_is_named() {
    let error = extra(&[("ok", "'x'"), ("tenant", "users.id")]).expect_err("a typo");
    assert_eq!(error.field, "extraClaims.tenant");
}
