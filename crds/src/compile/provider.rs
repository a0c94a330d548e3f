//! An OidcProvider becomes a [`Provider`]: parse, resolve, try the examples.

use serde_json::{Map, Value};

use super::expressions::{Expressions, failed_examples};
use super::resolve::{Resolver, usable_keys};
use super::seal::seal_provider;
use super::spec::spec;
use super::verdict::{AcceptedReason, Problems};
use crate::issuer::{HttpIssuers, Issuer, parse_endpoint};
use crate::object::Object;
use crate::oidc_provider::{
    Claims, Keys, Linking as LinkingSpec, LinkingMode, Mapping as MappingSpec, OidcProviderSpec,
    Token, UpstreamMfa as UpstreamMfaSpec,
};
use crate::snapshot::{
    Egress, KeySource, Linking, Mapping, Provider, Revision, Rule, TokenRules, UpstreamMfa,
};

/// The provider, or why it is none. Whether its policy exists is asked when all objects are put
/// together.
pub(super) fn compile(
    object: &Object,
    resolver: &Resolver<'_>,
    expressions: &Expressions,
) -> (Option<Provider>, Problems) {
    let spec = match spec(object) {
        Ok(spec) => spec,
        Err(problems) => return (None, problems),
    };
    let mut problems = Problems::default();
    let provider = resolve(object, spec, resolver, expressions, &mut problems);
    (provider.filter(|_| problems.is_empty()), problems)
}

fn resolve(
    object: &Object,
    spec: OidcProviderSpec,
    resolver: &Resolver<'_>,
    expressions: &Expressions,
    problems: &mut Problems,
) -> Option<Provider> {
    let OidcProviderSpec {
        issuer,
        issuer_aliases,
        audiences,
        authorized_parties,
        display_name,
        policy_ref,
        suspended,
        keys,
        tls,
        egress,
        algorithms,
        token,
        claims,
        linking,
        provisioning,
        upstream_mfa,
        examples,
    } = spec;

    let http = resolver.http_issuers();
    let issuer = Issuer::parse(&issuer, resolver.http_issuers())
        .map_err(|error| problems.invalid("spec.issuer", error))
        .ok();

    if egress == Some(Egress::Cluster) && resolver.egress() == Egress::Public {
        let message = format!(
            "objects of namespace {} may reach public addresses only: write Public, or ask the installer to list the namespace",
            object.id.namespace
        );
        problems.invalid("spec.egress", message);
    }

    let refresh_interval = keys.refresh_interval;
    let max_stale = keys.max_stale;
    let source = key_source(keys, issuer.as_ref(), &algorithms, resolver, http, problems);
    let bundle = tls.and_then(|tls| tls.ca_bundle);
    let ca_bundle =
        bundle.and_then(|bundle| resolver.ca_bundle(&bundle, "spec.tls.caBundle", problems));

    let (rules, mapping) = rules_and_mapping(claims);
    let invalid = expressions.invalid_claims(&rules, &mapping);
    if invalid.is_empty() {
        for failed in failed_examples(&rules, &mapping, examples) {
            problems.refuse(AcceptedReason::ExampleFailed, &failed.path, failed.message);
        }
    }
    for error in invalid {
        problems.refuse(
            AcceptedReason::ExpressionInvalid,
            &error.path,
            error.message,
        );
    }
    let linking = linking_of(linking, problems);

    Some(seal_provider(Provider {
        namespace: object.id.namespace.clone(),
        name: object.id.name.clone(),
        revision: Revision::of(b""),
        created_at: object.created_at.clone(),
        issuer: issuer?,
        issuer_aliases,
        audiences,
        authorized_parties,
        display_name,
        policy: policy_ref.name,
        suspended,
        keys: source?,
        refresh_interval,
        max_stale,
        ca_bundle,
        egress: egress.unwrap_or(resolver.egress()),
        algorithms,
        token: token_rules(token),
        rules,
        mapping,
        linking,
        provisioning,
        upstream_mfa: upstream_mfa.map(upstream_mfa_of),
    }))
}

fn key_source(
    keys: Keys,
    issuer: Option<&Issuer>,
    algorithms: &[crate::algorithm::Algorithm],
    resolver: &Resolver<'_>,
    http: HttpIssuers,
    problems: &mut Problems,
) -> Option<KeySource> {
    let Keys {
        discovery_url,
        jwks_uri,
        jwks,
        config_map_ref,
        refresh_interval: _,
        max_stale: _,
    } = keys;
    if let Some(url) = discovery_url {
        return endpoint(&url, "spec.keys.discoveryUrl", http, problems)
            .then_some(KeySource::Discovery { url });
    }
    if let Some(url) = jwks_uri {
        return endpoint(&url, "spec.keys.jwksUri", http, problems)
            .then_some(KeySource::JwksUri { url });
    }
    if let Some(set) = jwks {
        let keys = set.keys.into_iter().map(|key| Value::Object(key.0));
        let jwks = key_set(keys.collect());
        let usable = usable_keys(&jwks, algorithms, "spec.keys.jwks", problems);
        return usable.map(|jwks| KeySource::Static { jwks });
    }
    if let Some(wanted) = config_map_ref {
        let path = "spec.keys.configMapRef";
        return match resolver.jwks(&wanted) {
            Ok(jwks) => usable_keys(&jwks, algorithms, path, problems)
                .map(|jwks| KeySource::Static { jwks }),
            Err((reason, message)) => {
                problems.unresolved(reason, path, message);
                None
            }
        };
    }
    issuer.map(|issuer| KeySource::Discovery {
        url: issuer.discovery_url(),
    })
}

fn key_set(keys: Vec<Value>) -> Value {
    let mut set = Map::new();
    set.insert("keys".to_owned(), Value::Array(keys));
    Value::Object(set)
}

fn endpoint(url: &str, path: &str, http: HttpIssuers, problems: &mut Problems) -> bool {
    match parse_endpoint(url, http) {
        Ok(_) => true,
        Err(error) => {
            problems.invalid(path, error);
            false
        }
    }
}

fn token_rules(token: Token) -> TokenRules {
    let Token {
        clock_skew,
        max_age,
        nonce,
        nonce_form,
        replay,
        mut accept,
    } = token;
    accept.sort();
    TokenRules {
        clock_skew,
        max_age: Some(max_age),
        nonce,
        nonce_form,
        replay,
        accept,
    }
}

fn rules_and_mapping(claims: Claims) -> (Vec<Rule>, Mapping) {
    let Claims { rules, mapping } = claims;
    let rules = rules.into_iter().map(|rule| Rule {
        expression: rule.expression,
        message: rule.message,
    });
    let MappingSpec {
        username,
        email,
        email_verified,
        phone,
        groups,
    } = mapping;
    let mapping = Mapping {
        username: Some(username),
        email: Some(email),
        email_verified: Some(email_verified),
        phone: Some(phone),
        groups,
    };
    (rules.collect(), mapping)
}

fn linking_of(linking: LinkingSpec, problems: &mut Problems) -> Linking {
    let LinkingSpec {
        mode,
        email_domains,
    } = linking;
    match mode {
        LinkingMode::Never => {
            if !email_domains.is_empty() {
                problems.warn(
                    "spec.linking.emailDomains",
                    "it has no effect: write mode: VerifiedEmail, or remove it",
                );
            }
            Linking::Never
        }
        LinkingMode::VerifiedEmail => {
            if email_domains.is_empty() {
                problems.warn(
                    "spec.linking.emailDomains",
                    "the provider may link users of every domain: name the domains that it is responsible for",
                );
            }
            Linking::VerifiedEmail { email_domains }
        }
    }
}

fn upstream_mfa_of(upstream: UpstreamMfaSpec) -> UpstreamMfa {
    let UpstreamMfaSpec {
        amr,
        acr,
        max_auth_age,
    } = upstream;
    UpstreamMfa {
        amr,
        acr,
        max_auth_age,
    }
}
