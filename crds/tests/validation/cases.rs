//! Every rule of the schemas with a manifest that keeps it and one that breaks it.

use serde_json::{Value, json};
use vestibule_crds::object::Kind;

/// One rule: two changes (RFC 7386) to a manifest that is valid.
pub(crate) struct Case {
    pub(crate) rule: &'static str,
    pub(crate) kind: Kind,
    pub(crate) accepted: Value,
    pub(crate) refused: Value,
    /// Where the refusal is said to be.
    pub(crate) field: &'static str,
}

pub(crate) fn valid(kind: Kind) -> Value {
    match kind {
        Kind::OidcProvider => json!({
            "apiVersion": "vestibule.dev/v1alpha1",
            "kind": "OidcProvider",
            "metadata": {"name": "corp", "namespace": "auth"},
            "spec": {"issuer": "https://login.corp.example", "audiences": ["web"]},
        }),
        Kind::SigninPolicy => json!({
            "apiVersion": "vestibule.dev/v1alpha1",
            "kind": "SigninPolicy",
            "metadata": {"name": "default", "namespace": "auth"},
            "spec": {
                "token": {"issuer": "https://auth.example.com", "audiences": ["internal"]},
                "signing": {"managed": {}},
            },
        }),
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [
        envelope(),
        provider(),
        provider_keys(),
        provider_claims(),
        policy(),
        policy_risk(),
        policy_mfa(),
        policy_oauth(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn provider_case(rule: &'static str, accepted: Value, refused: Value, field: &'static str) -> Case {
    Case {
        rule,
        kind: Kind::OidcProvider,
        accepted: json!({ "spec": accepted }),
        refused: json!({ "spec": refused }),
        field,
    }
}

fn policy_case(rule: &'static str, accepted: Value, refused: Value, field: &'static str) -> Case {
    Case {
        kind: Kind::SigninPolicy,
        ..provider_case(rule, accepted, refused, field)
    }
}

fn envelope() -> Vec<Case> {
    let case = |rule, accepted, refused, field| Case {
        rule,
        kind: Kind::OidcProvider,
        accepted,
        refused,
        field,
    };
    vec![
        case(
            "a spec is required",
            json!({}),
            json!({"spec": null}),
            "spec",
        ),
        case(
            "a name is a subdomain of RFC 1123",
            json!({"metadata": {"name": "corp.eu-1"}}),
            json!({"metadata": {"name": "Corp"}}),
            "metadata.name",
        ),
        case(
            "a name has at most 253 characters",
            json!({"metadata": {"name": "a".repeat(253)}}),
            json!({"metadata": {"name": "a".repeat(254)}}),
            "metadata.name",
        ),
        case(
            "a namespace is a label of RFC 1123",
            json!({"metadata": {"namespace": "auth-1"}}),
            json!({"metadata": {"namespace": "auth.1"}}),
            "metadata.namespace",
        ),
    ]
}

fn provider() -> Vec<Case> {
    let url = |length: usize| format!("https://a.example/{}", "a".repeat(length - 18));
    vec![
        provider_case(
            "a field that is not known is refused",
            json!({"displayName": "Corp"}),
            json!({"displayname": "Corp"}),
            "spec.displayname",
        ),
        provider_case(
            "an issuer is required",
            json!({}),
            json!({"issuer": null}),
            "spec.issuer",
        ),
        provider_case(
            "an issuer is a string",
            json!({"issuer": "https://a.example"}),
            json!({"issuer": 5}),
            "spec.issuer",
        ),
        provider_case(
            "an issuer is a URL without query",
            json!({"issuer": "https://a.example/tenant/"}),
            json!({"issuer": "https://a.example/?tenant=1"}),
            "spec.issuer",
        ),
        provider_case(
            "an issuer has no user name",
            json!({"issuer": "https://a.example/u@b"}),
            json!({"issuer": "https://u@a.example"}),
            "spec.issuer",
        ),
        provider_case(
            "an issuer has at most 512 characters",
            json!({"issuer": url(512)}),
            json!({"issuer": url(513)}),
            "spec.issuer",
        ),
        provider_case(
            "an alias is an `iss` value",
            json!({"issuerAliases": ["accounts.example"]}),
            json!({"issuerAliases": ["accounts example"]}),
            "spec.issuerAliases[0]",
        ),
        provider_case(
            "an alias stands once",
            json!({"issuerAliases": ["https://a.example", "https://b.example"]}),
            json!({"issuerAliases": ["https://a.example", "https://a.example"]}),
            "spec.issuerAliases[1]",
        ),
        provider_case(
            "audiences are required",
            json!({"audiences": ["web", "mobile"]}),
            json!({"audiences": null}),
            "spec.audiences",
        ),
        provider_case(
            "audiences are never empty",
            json!({"audiences": ["web"]}),
            json!({"audiences": []}),
            "spec.audiences",
        ),
        provider_case(
            "an audience is not empty",
            json!({"audiences": ["w"]}),
            json!({"audiences": ["web", ""]}),
            "spec.audiences[1]",
        ),
        provider_case(
            "an audience stands once",
            json!({"audiences": ["web", "Web"]}),
            json!({"audiences": ["web", "web"]}),
            "spec.audiences[1]",
        ),
        provider_case(
            "there are at most 64 audiences",
            json!({"audiences": (0..64).map(|n| n.to_string()).collect::<Vec<_>>()}),
            json!({"audiences": (0..65).map(|n| n.to_string()).collect::<Vec<_>>()}),
            "spec.audiences",
        ),
        provider_case(
            "an authorized party stands once",
            json!({"authorizedParties": ["a", "b"]}),
            json!({"authorizedParties": ["a", "a"]}),
            "spec.authorizedParties[1]",
        ),
        provider_case(
            "a policy is named like an object",
            json!({"policyRef": {"name": "staff"}}),
            json!({"policyRef": {"name": "Staff"}}),
            "spec.policyRef.name",
        ),
        provider_case(
            "suspended is a boolean",
            json!({"suspended": true}),
            json!({"suspended": "true"}),
            "spec.suspended",
        ),
        provider_case(
            "egress is one of two",
            json!({"egress": "Public"}),
            json!({"egress": "public"}),
            "spec.egress",
        ),
        provider_case(
            "an algorithm is asymmetric",
            json!({"algorithms": ["ES256", "EdDSA", "PS512"]}),
            json!({"algorithms": ["HS256"]}),
            "spec.algorithms[0]",
        ),
        provider_case(
            "there is an algorithm",
            json!({"algorithms": ["RS384"]}),
            json!({"algorithms": []}),
            "spec.algorithms",
        ),
        provider_case(
            "an algorithm stands once",
            json!({"algorithms": ["RS256", "RS384"]}),
            json!({"algorithms": ["RS256", "RS256"]}),
            "spec.algorithms[1]",
        ),
        provider_case(
            "a duration has hours, minutes and seconds",
            json!({"token": {"maxAge": "1h30m"}}),
            json!({"token": {"maxAge": "1d"}}),
            "spec.token.maxAge",
        ),
        provider_case(
            "a duration is at most ten years",
            json!({"token": {"maxAge": "87840h"}}),
            json!({"token": {"maxAge": "87840h1s"}}),
            "spec.token.maxAge",
        ),
        provider_case(
            "the clock skew is at most ten minutes",
            json!({"token": {"clockSkew": "10m"}}),
            json!({"token": {"clockSkew": "10m1s"}}),
            "spec.token.clockSkew",
        ),
        provider_case(
            "the maximum age is not zero",
            json!({"token": {"maxAge": "1s"}}),
            json!({"token": {"maxAge": "0s"}}),
            "spec.token.maxAge",
        ),
        provider_case(
            "nonce is one of three",
            json!({"token": {"nonce": "Off"}}),
            json!({"token": {"nonce": "Optional"}}),
            "spec.token.nonce",
        ),
        provider_case(
            "nonceForm is one of three",
            json!({"token": {"nonceForm": "Sha256Hex"}}),
            json!({"token": {"nonceForm": "Sha256"}}),
            "spec.token.nonceForm",
        ),
        provider_case(
            "replay is one of two",
            json!({"token": {"replay": "Reject"}}),
            json!({"token": {"replay": false}}),
            "spec.token.replay",
        ),
        provider_case(
            "provisioning is one of two",
            json!({"provisioning": "Deny"}),
            json!({"provisioning": "Never"}),
            "spec.provisioning",
        ),
    ]
}

fn provider_keys() -> Vec<Case> {
    let jwks = json!({"keys": [{"kty": "RSA", "n": "AQ", "e": "AQAB", "x5c": ["anything"]}]});
    let key = json!({"kty": "RSA"});
    let of_config_map = json!({"name": "corp", "key": "jwks.json"});
    vec![
        provider_case(
            "keys have one source",
            json!({"keys": {"jwks": jwks}}),
            json!({"keys": {"jwks": jwks, "configMapRef": of_config_map}}),
            "spec.keys",
        ),
        provider_case(
            "keys come from discovery or from a URL of keys",
            json!({"keys": {"discoveryUrl": "https://a.example/.well-known/openid-configuration?p=1"}}),
            json!({"keys": {"discoveryUrl": "https://a.example", "jwksUri": "https://a.example/keys"}}),
            "spec.keys",
        ),
        provider_case(
            "a URL of keys is a URL",
            json!({"keys": {"jwksUri": "https://a.example/keys"}}),
            json!({"keys": {"jwksUri": "ftp://a.example/keys"}}),
            "spec.keys.jwksUri",
        ),
        provider_case(
            "a discovery URL has no fragment",
            json!({"keys": {"discoveryUrl": "https://a.example/x"}}),
            json!({"keys": {"discoveryUrl": "https://a.example/x#y"}}),
            "spec.keys.discoveryUrl",
        ),
        provider_case(
            "a set of keys has keys",
            json!({"keys": {"jwks": jwks}}),
            json!({"keys": {"jwks": {"keys": []}}}),
            "spec.keys.jwks.keys",
        ),
        provider_case(
            "a set has at most 128 keys",
            json!({"keys": {"jwks": {"keys": vec![key.clone(); 128]}}}),
            json!({"keys": {"jwks": {"keys": vec![key.clone(); 129]}}}),
            "spec.keys.jwks.keys",
        ),
        provider_case(
            "a key is an object",
            json!({"keys": {"jwks": {"keys": [key]}}}),
            json!({"keys": {"jwks": {"keys": ["key"]}}}),
            "spec.keys.jwks.keys[0]",
        ),
        provider_case(
            "a reference names an entry",
            json!({"keys": {"configMapRef": of_config_map}}),
            json!({"keys": {"configMapRef": {"name": "corp"}}}),
            "spec.keys.configMapRef.key",
        ),
        provider_case(
            "a reference's key is a key of a ConfigMap",
            json!({"keys": {"configMapRef": {"name": "corp", "key": "a_b-c.d"}}}),
            json!({"keys": {"configMapRef": {"name": "corp", "key": "a/b"}}}),
            "spec.keys.configMapRef.key",
        ),
        provider_case(
            "keys are not fetched all the time",
            json!({"keys": {"refreshInterval": "1s"}}),
            json!({"keys": {"refreshInterval": "0s"}}),
            "spec.keys.refreshInterval",
        ),
        provider_case(
            "stale keys serve for a while",
            json!({"keys": {"maxStale": "1s"}}),
            json!({"keys": {"maxStale": "0h"}}),
            "spec.keys.maxStale",
        ),
        provider_case(
            "a bundle has one source",
            json!({"tls": {"caBundle": {"inline": "pem"}}}),
            json!({"tls": {"caBundle": {"inline": "pem", "secretRef": {"name": "ca", "key": "ca.crt"}}}}),
            "spec.tls.caBundle",
        ),
        provider_case(
            "a bundle comes from a ConfigMap or a Secret",
            json!({"tls": {"caBundle": {"secretRef": {"name": "ca", "key": "ca.crt"}}}}),
            json!({"tls": {"caBundle": {
                "configMapRef": {"name": "ca", "key": "ca.crt"},
                "secretRef": {"name": "ca", "key": "ca.crt"},
            }}}),
            "spec.tls.caBundle",
        ),
        provider_case(
            "an inline bundle is not empty",
            json!({"tls": {"caBundle": {"inline": "p"}}}),
            json!({"tls": {"caBundle": {"inline": ""}}}),
            "spec.tls.caBundle.inline",
        ),
    ]
}

fn provider_claims() -> Vec<Case> {
    let rule = |expression: String| json!({"expression": expression, "message": "no"});
    let example =
        |name: &str| json!({"name": name, "claims": {"any": [{}]}, "expect": {"allowed": true}});
    vec![
        provider_case(
            "a rule has a message",
            json!({"claims": {"rules": [rule("true".to_owned())]}}),
            json!({"claims": {"rules": [{"expression": "true"}]}}),
            "spec.claims.rules[0].message",
        ),
        provider_case(
            "a rule's expression has at most 1024 characters",
            json!({"claims": {"rules": [rule(format!("{:>1024}", "true"))]}}),
            json!({"claims": {"rules": [rule(format!("{:>1025}", "true"))]}}),
            "spec.claims.rules[0].expression",
        ),
        provider_case(
            "there are at most 32 rules",
            json!({"claims": {"rules": vec![rule("true".to_owned()); 32]}}),
            json!({"claims": {"rules": vec![rule("true".to_owned()); 33]}}),
            "spec.claims.rules",
        ),
        provider_case(
            "a mapping is an expression",
            json!({"claims": {"mapping": {"groups": "claims.roles"}}}),
            json!({"claims": {"mapping": {"groups": ["claims.roles"]}}}),
            "spec.claims.mapping.groups",
        ),
        provider_case(
            "a mapping is of an attribute that there is",
            json!({"claims": {"mapping": {"emailVerified": "true"}}}),
            json!({"claims": {"mapping": {"email_verified": "true"}}}),
            "spec.claims.mapping.email_verified",
        ),
        provider_case(
            "linking is one of two",
            json!({"linking": {"mode": "VerifiedEmail"}}),
            json!({"linking": {"mode": "Email"}}),
            "spec.linking.mode",
        ),
        provider_case(
            "an email domain is a domain in lower case",
            json!({"linking": {"mode": "VerifiedEmail", "emailDomains": ["corp.example"]}}),
            json!({"linking": {"mode": "VerifiedEmail", "emailDomains": ["@Corp.example"]}}),
            "spec.linking.emailDomains[0]",
        ),
        provider_case(
            "the provider's second factor has a sign",
            json!({"upstreamMfa": {"amr": [], "acr": ["gold"]}}),
            json!({"upstreamMfa": {"amr": []}}),
            "spec.upstreamMfa",
        ),
        provider_case(
            "the provider's second factor has an age",
            json!({"upstreamMfa": {"amr": ["mfa"], "maxAuthAge": "1s"}}),
            json!({"upstreamMfa": {"amr": ["mfa"], "maxAuthAge": "0s"}}),
            "spec.upstreamMfa.maxAuthAge",
        ),
        provider_case(
            "an example has its own name",
            json!({"examples": [example("a"), example("b")]}),
            json!({"examples": [example("a"), example("a")]}),
            "spec.examples[1]",
        ),
        provider_case(
            "an example says what is expected",
            json!({"examples": [example("a")]}),
            json!({"examples": [{"name": "a", "claims": {}}]}),
            "spec.examples[0].expect",
        ),
        provider_case(
            "an example's claims are an object",
            json!({"examples": [example("a")]}),
            json!({"examples": [{"name": "a", "claims": [], "expect": {"allowed": true}}]}),
            "spec.examples[0].claims",
        ),
    ]
}

fn policy() -> Vec<Case> {
    let key = json!({"name": "signing", "key": "tls.key"});
    let claims = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("c{n}"), json!("'a'")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    vec![
        policy_case(
            "a token has an issuer",
            json!({}),
            json!({"token": {"issuer": null}}),
            "spec.token.issuer",
        ),
        policy_case(
            "a token has audiences",
            json!({}),
            json!({"token": {"audiences": []}}),
            "spec.token.audiences",
        ),
        policy_case(
            "an access token lives",
            json!({"token": {"accessTtl": "1s"}}),
            json!({"token": {"accessTtl": "0s"}}),
            "spec.token.accessTtl",
        ),
        policy_case(
            "a refresh token lives",
            json!({"token": {"refreshTtl": "11s"}}),
            json!({"token": {"refreshTtl": "0s"}}),
            "spec.token.refreshTtl",
        ),
        policy_case(
            "a refresh token lives no longer than its session",
            json!({"token": {"refreshTtl": "48h", "sessionMaxTtl": "48h"}}),
            json!({"token": {"refreshTtl": "48h1s", "sessionMaxTtl": "48h"}}),
            "spec.token.refreshTtl",
        ),
        policy_case(
            "the grace is shorter than the refresh token's life",
            json!({"token": {"refreshTtl": "1m", "refreshReuseGrace": "59s"}}),
            json!({"token": {"refreshTtl": "1m", "refreshReuseGrace": "60s"}}),
            "spec.token.refreshReuseGrace",
        ),
        policy_case(
            "there is a signing key",
            json!({}),
            json!({"signing": null}),
            "spec.signing",
        ),
        policy_case(
            "signing keys have a source",
            json!({"signing": {"managed": null, "secretRefs": [key]}}),
            json!({"signing": {"managed": null}}),
            "spec.signing",
        ),
        policy_case(
            "signing keys have one source",
            json!({"signing": {"managed": {"algorithm": "EdDSA"}}}),
            json!({"signing": {"secretRefs": [key]}}),
            "spec.signing",
        ),
        policy_case(
            "a list of signing keys is not empty",
            json!({"signing": {"managed": null, "secretRefs": [key, key]}}),
            json!({"signing": {"managed": null, "secretRefs": []}}),
            "spec.signing.secretRefs",
        ),
        policy_case(
            "a signing algorithm is asymmetric",
            json!({"signing": {"managed": {"algorithm": "PS256"}}}),
            json!({"signing": {"managed": {"algorithm": "HS512"}}}),
            "spec.signing.managed.algorithm",
        ),
        policy_case(
            "a key is published before it signs, and after the one before began to",
            json!({"signing": {"managed": {"rotateEvery": "2h", "prePublish": "119m"}}}),
            json!({"signing": {"managed": {"rotateEvery": "2h", "prePublish": "120m"}}}),
            "spec.signing.managed.prePublish",
        ),
        policy_case(
            "an extra claim replaces no claim of the token",
            json!({"extraClaims": {"tenant": "'acme'", "Sub": "'x'"}}),
            json!({"extraClaims": {"tenant": "'acme'", "sub": "'x'"}}),
            "spec.extraClaims",
        ),
        policy_case(
            "an extra claim has a short name",
            json!({"extraClaims": {"a".repeat(64): "'x'"}}),
            json!({"extraClaims": {"a".repeat(65): "'x'"}}),
            "spec.extraClaims",
        ),
        policy_case(
            "there are at most 32 extra claims",
            json!({"extraClaims": claims(32)}),
            json!({"extraClaims": claims(33)}),
            "spec.extraClaims",
        ),
        policy_case(
            "an extra claim is an expression",
            json!({"extraClaims": {"tenant": "'acme'"}}),
            json!({"extraClaims": {"tenant": 5}}),
            "spec.extraClaims.tenant",
        ),
        policy_case(
            "failures of an address are limited",
            json!({"limits": {"failuresPerIpPerMinute": 1}}),
            json!({"limits": {"failuresPerIpPerMinute": 0}}),
            "spec.limits.failuresPerIpPerMinute",
        ),
        policy_case(
            "a limit is a whole number",
            json!({"limits": {"perUserPerMinute": 1_000_000}}),
            json!({"limits": {"perUserPerMinute": 1.5}}),
            "spec.limits.perUserPerMinute",
        ),
    ]
}

fn policy_risk() -> Vec<Case> {
    let risk = |rule, accepted, refused, field| {
        policy_case(
            rule,
            json!({ "risk": accepted }),
            json!({ "risk": refused }),
            field,
        )
    };
    vec![
        risk(
            "mode is one of three",
            json!({"mode": "Off"}),
            json!({"mode": false}),
            "spec.risk.mode",
        ),
        risk(
            "medium is below high",
            json!({"thresholds": {"medium": 69}}),
            json!({"thresholds": {"medium": 70}}),
            "spec.risk.thresholds.medium",
        ),
        risk(
            "a threshold is at most 100",
            json!({"thresholds": {"high": 100}}),
            json!({"thresholds": {"high": 101}}),
            "spec.risk.thresholds.high",
        ),
        risk(
            "a threshold is at least 1",
            json!({"thresholds": {"medium": 1}}),
            json!({"thresholds": {"medium": 0}}),
            "spec.risk.thresholds.medium",
        ),
        risk(
            "an action is one of three",
            json!({"actions": {"high": "Deny"}}),
            json!({"actions": {"high": "Block"}}),
            "spec.risk.actions.high",
        ),
        risk(
            "onError is a level",
            json!({"onError": "High"}),
            json!({"onError": "Allow"}),
            "spec.risk.onError",
        ),
        risk(
            "a trusted proxy is an address or a network",
            json!({"trustedProxies": ["10.0.0.0/8", "fd00::1"]}),
            json!({"trustedProxies": ["proxy.example"]}),
            "spec.risk.trustedProxies[0]",
        ),
        risk(
            "an address of a list is an address or a network",
            json!({"ipLists": {"deny": ["192.0.2.1"], "allow": ["2001:db8::/32"]}}),
            json!({"ipLists": {"deny": ["*"]}}),
            "spec.risk.ipLists.deny[0]",
        ),
        risk(
            "points are at most 100",
            json!({"signals": {"newDevice": {"points": 100}}}),
            json!({"signals": {"newDevice": {"points": 101}}}),
            "spec.risk.signals.newDevice.points",
        ),
        risk(
            "points are not negative",
            json!({"signals": {"statistical": {"cap": 0, "s50": 0.5}}}),
            json!({"signals": {"statistical": {"cap": -1}}}),
            "spec.risk.signals.statistical.cap",
        ),
        risk(
            "s50 is positive",
            json!({"signals": {"statistical": {"s50": 2}}}),
            json!({"signals": {"statistical": {"s50": 0}}}),
            "spec.risk.signals.statistical.s50",
        ),
        risk(
            "failures are counted for a while",
            json!({"signals": {"userFailures": {"points": 50, "window": "1m"}}}),
            json!({"signals": {"userFailures": {"points": 50, "window": "0m"}}}),
            "spec.risk.signals.userFailures.window",
        ),
        risk(
            "a signal is one that there is",
            json!({"signals": {"staleAuthTime": {"after": "6h"}}}),
            json!({"signals": {"staleAuth": {"after": "6h"}}}),
            "spec.risk.signals.staleAuth",
        ),
    ]
}

fn policy_mfa() -> Vec<Case> {
    let mfa = |rule, accepted, refused, field| {
        policy_case(
            rule,
            json!({ "mfa": accepted }),
            json!({ "mfa": refused }),
            field,
        )
    };
    vec![
        mfa(
            "mode is one of three",
            json!({"mode": "Never"}),
            json!({"mode": "Off"}),
            "spec.mfa.mode",
        ),
        mfa(
            "a method is one that there is",
            json!({"methods": ["totp", "sms_otp"]}),
            json!({"methods": ["totp", "smsOtp"]}),
            "spec.mfa.methods[1]",
        ),
        mfa(
            "there is a method",
            json!({"methods": ["totp"]}),
            json!({"methods": []}),
            "spec.mfa.methods",
        ),
        mfa(
            "a challenge lives an hour at most",
            json!({"challengeTtl": "1h"}),
            json!({"challengeTtl": "61m"}),
            "spec.mfa.challengeTtl",
        ),
        mfa(
            "attempts do not decrease",
            json!({"attempts": {"perChallenge": 10}}),
            json!({"attempts": {"perChallenge": 11}}),
            "spec.mfa.attempts",
        ),
        mfa(
            "attempts are at most 100",
            json!({"attempts": {"perDay": 100}}),
            json!({"attempts": {"perDay": 101}}),
            "spec.mfa.attempts.perDay",
        ),
        mfa(
            "somebody without a factor gets a code or is refused",
            json!({"noEnrollment": {"medium": "Deny"}}),
            json!({"noEnrollment": {"medium": "Allow"}}),
            "spec.mfa.noEnrollment.medium",
        ),
        mfa(
            "an encryption key is an entry of a Secret",
            json!({"encryptionKeys": [{"name": "mfa-2026", "key": "key"}]}),
            json!({"encryptionKeys": [{"name": "mfa-2026"}]}),
            "spec.mfa.encryptionKeys[0].key",
        ),
        mfa(
            "there are eight encryption keys at most",
            json!({"encryptionKeys": vec![json!({"name": "k", "key": "k"}); 8]}),
            json!({"encryptionKeys": vec![json!({"name": "k", "key": "k"}); 9]}),
            "spec.mfa.encryptionKeys",
        ),
        mfa(
            "an origin has no path",
            json!({"webauthn": {"origins": ["https://app.example.com:8443"]}}),
            json!({"webauthn": {"origins": ["https://app.example.com/"]}}),
            "spec.mfa.webauthn.origins[0]",
        ),
        mfa(
            "a mail server is a host",
            json!({"email": {"host": "smtp.example.com", "from": "a@example.com"}}),
            json!({"email": {"host": "smtp.example.com:465", "from": "a@example.com"}}),
            "spec.mfa.email.host",
        ),
        mfa(
            "a port is one that there is",
            json!({"email": {"host": "2001:db8::25", "port": 65535, "from": "a@example.com"}}),
            json!({"email": {"host": "2001:db8::25", "port": 0, "from": "a@example.com"}}),
            "spec.mfa.email.port",
        ),
        mfa(
            "mail is from an address, with no second line",
            json!({"email": {"host": "h", "from": "Vestibule, Sign-in <no-reply@example.com>"}}),
            json!({"email": {"host": "h", "from": "Vestibule\r\nBcc: x <no-reply@example.com>"}}),
            "spec.mfa.email.from",
        ),
        mfa(
            "TLS of mail is one of three",
            json!({"email": {"host": "h", "from": "a@example.com", "tls": "StartTls"}}),
            json!({"email": {"host": "h", "from": "a@example.com", "tls": "Opportunistic"}}),
            "spec.mfa.email.tls",
        ),
        mfa(
            "a webhook has a key",
            json!({"sms": {"url": "https://sms.example.com/send?to=1", "secretRef": {"name": "sms", "key": "hmac"}}}),
            json!({"sms": {"url": "https://sms.example.com/send?to=1"}}),
            "spec.mfa.sms.secretRef",
        ),
        mfa(
            "a webhook has a URL",
            json!({"sms": {"url": "https://sms.example.com", "secretRef": {"name": "sms", "key": "hmac"}}}),
            json!({"sms": {"url": "sms.example.com", "secretRef": {"name": "sms", "key": "hmac"}}}),
            "spec.mfa.sms.url",
        ),
        mfa(
            "a device is remembered for a duration",
            json!({"rememberDevice": "0s"}),
            json!({"rememberDevice": "-1s"}),
            "spec.mfa.rememberDevice",
        ),
        policy_case(
            "the warning begins while the password is good",
            json!({"password": {"maxAge": "336h", "warningWindow": "336h"}}),
            json!({"password": {"maxAge": "335h", "warningWindow": "336h"}}),
            "spec.password.warningWindow",
        ),
        policy_case(
            "a password is good for a while",
            json!({"password": {"maxAge": null}}),
            json!({"password": {"maxAge": "0s", "warningWindow": "0s"}}),
            "spec.password.maxAge",
        ),
    ]
}

fn policy_oauth() -> Vec<Case> {
    let client = |change: Value| {
        let mut client = json!({
            "clientId": "gateway",
            "allow": ["TokenExchange"],
            "secretRefs": [{"name": "gateway", "key": "secret"}],
        });
        for (name, value) in change.as_object().expect("an object") {
            client[name] = value.clone();
        }
        client
    };
    let one = |rule, accepted, refused, field| {
        let clients = |change| json!({"oauth": {"clients": [client(change)]}});
        policy_case(rule, clients(accepted), clients(refused), field)
    };
    let account =
        json!({"providerRef": {"name": "kubernetes"}, "namespace": "shop", "name": "reports"});
    let by_account = |account: &Value| json!({"secretRefs": null, "serviceAccount": account});
    let unnamed = json!({"providerRef": {"name": "kubernetes"}, "namespace": "shop"});
    let jwks = json!({"keys": [{"kty": "EC"}]});
    let entry = json!({"name": "keys", "key": "jwks.json"});
    let by_keys = |keys: Value| json!({"secretRefs": null, "privateKeyJwt": keys});
    vec![
        policy_case(
            "tokens for clients alone want clients",
            json!({"oauth": {"onlyClients": true, "clients": [client(json!({}))]}}),
            json!({"oauth": {"onlyClients": true}}),
            "spec.oauth.onlyClients",
        ),
        policy_case(
            "changes of an account want an authentication some time ago",
            json!({"account": {"maxAuthAge": "1s"}}),
            json!({"account": {"maxAuthAge": "0s"}}),
            "spec.account.maxAuthAge",
        ),
        one(
            "a client has one proof",
            by_account(&account),
            json!({ "serviceAccount": account }),
            "spec.oauth.clients[0]",
        ),
        one(
            "a client has a proof",
            json!({}),
            json!({"secretRefs": null}),
            "spec.oauth.clients[0]",
        ),
        one(
            "a client has an id that needs no encoding",
            json!({"clientId": "https://gateway.example:8443/~a@b"}),
            json!({"clientId": "gate way"}),
            "spec.oauth.clients[0].clientId",
        ),
        one(
            "what a client may do is written",
            json!({"allow": ["Introspection"]}),
            json!({"allow": []}),
            "spec.oauth.clients[0].allow",
        ),
        one(
            "what a client may do is one of four things",
            json!({"allow": ["TokenExchange", "RefreshToken", "Introspection", "Revocation"]}),
            json!({"allow": ["AuthorizationCode"]}),
            "spec.oauth.clients[0].allow[0]",
        ),
        one(
            "a client has four secrets at most",
            json!({"secretRefs": vec![json!({"name": "k", "key": "k"}); 4]}),
            json!({"secretRefs": vec![json!({"name": "k", "key": "k"}); 5]}),
            "spec.oauth.clients[0].secretRefs",
        ),
        one(
            "a service account has a name",
            by_account(&account),
            by_account(&unnamed),
            "spec.oauth.clients[0].serviceAccount.name",
        ),
        one(
            "a client's keys have one source",
            by_keys(json!({ "configMapRef": entry })),
            by_keys(json!({ "configMapRef": entry, "jwks": jwks })),
            "spec.oauth.clients[0].privateKeyJwt",
        ),
        policy_case(
            "a client stands in the list once",
            json!({"oauth": {"clients": [client(json!({})), client(json!({"clientId": "other"}))]}}),
            json!({"oauth": {"clients": [client(json!({})), client(json!({}))]}}),
            "spec.oauth.clients[1]",
        ),
        policy_case(
            "there are 64 clients at most",
            json!({"oauth": {"clients": (0..64).map(|n| client(json!({"clientId": n.to_string()}))).collect::<Vec<_>>()}}),
            json!({"oauth": {"clients": (0..65).map(|n| client(json!({"clientId": n.to_string()}))).collect::<Vec<_>>()}}),
            "spec.oauth.clients",
        ),
    ]
}
