//! The public documents of each SigninPolicy's issuer: discovery (OpenID Connect Discovery 1.0; RFC 8414) and keys
//! (RFC 7517), rendered once for a snapshot.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;

use super::LivePolicy;

/// By path. Issuers on several hosts may share one path; then the request's host decides.
#[derive(Debug, Default)]
pub struct Documents {
    by_path: HashMap<String, Vec<(Option<String>, Bytes)>>,
}

/// The documents of one issuer, and where they stand.
#[derive(Debug)]
pub struct IssuerDocuments {
    host: Option<String>,
    documents: Vec<(String, Bytes)>,
}

impl IssuerDocuments {
    pub fn of(policy: &LivePolicy) -> Self {
        let issuer = &policy.spec.token.issuer;
        let path = issuer.path();
        let keys: Vec<&Value> = policy.keys.iter().map(|key| &key.signing.jwk).collect();
        let discovery = Bytes::from(discovery(policy).to_string());
        let mut documents = vec![
            (
                format!("{path}/jwks.json"),
                Bytes::from(json!({"keys": keys}).to_string()),
            ),
            (
                format!("{path}/.well-known/openid-configuration"),
                discovery.clone(),
            ),
            (
                format!("{path}/.well-known/oauth-authorization-server"),
                discovery.clone(),
            ),
        ];
        if !path.is_empty() {
            // RFC 8414, section 3.1, puts the well-known part before the issuer's path.
            let before = format!("/.well-known/oauth-authorization-server{path}");
            documents.push((before, discovery));
        }
        Self {
            host: host_of(issuer.as_str()),
            documents,
        }
    }
}

fn discovery(policy: &LivePolicy) -> Value {
    let issuer = policy.spec.token.issuer.as_str();
    let base = issuer.trim_end_matches('/');
    let mut algorithms: Vec<&str> = policy
        .keys
        .iter()
        .map(|key| key.signing.algorithm.name())
        .collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/jwks.json"),
        "userinfo_endpoint": endpoint(issuer, "/auth/userinfo"),
        "response_types_supported": [],
        "grant_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "scope", "auth_time", "amr", "acr", "idp", "email", "groups"
        ],
    })
}

/// The endpoints stand at the root of the issuer's host.
pub(crate) fn endpoint(issuer: &str, path: &str) -> String {
    Url::parse(issuer)
        .and_then(|url| url.join(path))
        .map_or_else(|_| path.to_owned(), |url| url.to_string())
}

fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.to_ascii_lowercase();
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

impl Documents {
    pub fn of(issuers: impl Iterator<Item = IssuerDocuments>) -> Self {
        let mut by_path: HashMap<String, Vec<(Option<String>, Bytes)>> = HashMap::new();
        for issuer in issuers {
            for (path, document) in issuer.documents {
                let at_path = by_path.entry(path).or_default();
                at_path.push((issuer.host.clone(), document));
            }
        }
        Self { by_path }
    }

    pub fn find(&self, path: &str, host: Option<&str>) -> Option<Bytes> {
        match self.by_path.get(path)?.as_slice() {
            [(_, only)] => Some(only.clone()),
            several => {
                let host = host?.to_ascii_lowercase();
                several
                    .iter()
                    .find(|(of, _)| of.as_deref() == Some(&host))
                    .map(|(_, document)| document.clone())
            }
        }
    }
}
