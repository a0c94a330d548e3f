//! The public documents of each SigninPolicy's issuer: discovery (OpenID Connect Discovery 1.0; RFC
//! 8414) and keys (RFC 7517), and of `/auth/userinfo` on each host (RFC 9728), rendered once for a
//! snapshot.
//!
//! Those of an issuer stand at its path, and where several hosts have one path the request's host
//! decides. Those of a policy stand at `/policies/{namespace}/{name}` too, for callers in the
//! cluster: whatever their host is, no other object can take that path. The `jwks_uri` of the
//! discovery document there leads to the keys there, under the issuer's own origin: the document is
//! the same for all that ask, and no host that a request makes up is ever in one.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::issuer::{DocumentPaths, Issuer, POLICIES_PATH, document_paths};

use crate::protocol::{ACCOUNT_SCOPE, FULL_SCOPE};
use crate::protocol::{
    INTROSPECTION_PATH, REFRESH_TOKEN, REVOCATION_PATH, TOKEN_EXCHANGE, TOKEN_PATH,
};
use crate::runtime_config::ActivePolicy;
use crate::runtime_config::clients::Proof;

const USERINFO_PATH: &str = "/auth/userinfo";
/// RFC 9728, section 3.1: the well-known part stands before the path of the resource.
const RESOURCE_PATH: &str = "/.well-known/oauth-protected-resource/auth/userinfo";

/// By path. Issuers on several hosts may share one path; then the request's host decides.
#[derive(Debug, Default)]
pub struct Documents {
    by_path: HashMap<String, Vec<(Option<String>, Bytes)>>,
    /// Where the issuers' hosts are, such as `https://auth.example.com`, by their names.
    origins: Vec<(Option<String>, String)>,
}

/// The documents of one issuer, and where they stand.
#[derive(Debug)]
pub struct IssuerDocuments {
    host: Option<String>,
    issuer: String,
    documents: Vec<(String, Bytes)>,
    /// Those of the policy, at any host.
    of_policy: Vec<(String, Bytes)>,
}

impl IssuerDocuments {
    pub fn of(policy: &ActivePolicy) -> Self {
        let issuer = &policy.spec.token.issuer;
        let keys: Vec<&Value> = policy.keys.iter().map(|key| &key.signing.jwk).collect();
        let keys = Bytes::from(json!({"keys": keys}).to_string());
        let base = issuer.as_str().trim_end_matches('/');
        let of_issuer = discovery(policy, &format!("{base}/jwks.json"));
        let path = format!("{POLICIES_PATH}/{}", policy.key);
        let paths = document_paths(&path);
        let of_policy = discovery(policy, &endpoint(issuer.as_str(), &paths.keys));
        let of_policy = documents(paths, &keys, of_policy);
        // The form of RFC 8414 leads from an issuer to its document, and this path is none.
        let of_policy = of_policy
            .into_iter()
            .filter(|(at, _)| at.starts_with(&path));
        Self {
            host: host_of(issuer),
            issuer: issuer.as_str().to_owned(),
            documents: documents(document_paths(&issuer.path()), &keys, of_issuer),
            of_policy: of_policy.collect(),
        }
    }
}

fn documents(paths: DocumentPaths, keys: &Bytes, discovery: Value) -> Vec<(String, Bytes)> {
    let discovery = Bytes::from(discovery.to_string());
    let DocumentPaths {
        keys: keys_path,
        openid,
        oauth,
        oauth_before,
    } = paths;
    let mut documents = vec![(keys_path, keys.clone())];
    let paths = [openid, oauth].into_iter().chain(oauth_before);
    documents.extend(paths.map(|path| (path, discovery.clone())));
    documents
}

fn discovery(policy: &ActivePolicy, jwks_uri: &str) -> Value {
    let issuer = policy.spec.token.issuer.as_str();
    let mut algorithms: Vec<&str> = policy
        .keys
        .iter()
        .map(|key| key.signing.algorithm.name())
        .collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let mut document = json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "userinfo_endpoint": endpoint(issuer, USERINFO_PATH),
        "token_endpoint": endpoint(issuer, TOKEN_PATH),
        "revocation_endpoint": endpoint(issuer, REVOCATION_PATH),
        // Required, and empty: it is about the authorization endpoint, and there is none.
        "response_types_supported": [],
        "grant_types_supported": [TOKEN_EXCHANGE, REFRESH_TOKEN],
        "scopes_supported": [FULL_SCOPE, ACCOUNT_SCOPE],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "scope", "auth_time", "amr", "acr", "client_id", "idp", "email", "groups"
        ],
    });
    let methods = authentication_methods(policy);
    let mut endpoints = vec!["token", "revocation"];
    if policy.clients.is_some() {
        document["introspection_endpoint"] = endpoint(issuer, INTROSPECTION_PATH).into();
        endpoints.push("introspection");
    }
    for name in endpoints {
        if methods.contains(&"private_key_jwt") {
            let algorithms = Algorithm::ALL.map(Algorithm::name);
            let member = format!("{name}_endpoint_auth_signing_alg_values_supported");
            document[member] = json!(algorithms);
        }
        document[format!("{name}_endpoint_auth_methods_supported")] = json!(methods);
    }
    document
}

/// How the policy's clients prove themselves. The token of a service account comes as an assertion
/// does.
fn authentication_methods(policy: &ActivePolicy) -> Vec<&'static str> {
    let Some(clients) = &policy.clients else {
        return vec!["none"];
    };
    let mut methods: Vec<&str> = clients
        .iter()
        .flat_map(|client| match client.proof {
            Proof::Secret(_) => ["client_secret_basic", "client_secret_post"].as_slice(),
            Proof::Keys(_) | Proof::ServiceAccount { .. } => &["private_key_jwt"],
        })
        .copied()
        .collect();
    methods.sort_unstable();
    methods.dedup();
    methods
}

/// What a client needs to know of `/auth/userinfo`: which issuers' tokens open it.
fn resource(origin: &str, issuers: &[String]) -> Value {
    json!({
        "resource": format!("{origin}{USERINFO_PATH}"),
        "authorization_servers": issuers,
        "scopes_supported": [FULL_SCOPE, ACCOUNT_SCOPE],
        "bearer_methods_supported": ["header"],
    })
}

fn origin_of(url: &str) -> Option<String> {
    let origin = Url::parse(url).ok()?.origin();
    Some(origin.ascii_serialization())
}

/// The endpoints stand at the root of the issuer's host.
pub(crate) fn endpoint(issuer: &str, path: &str) -> String {
    Url::parse(issuer)
        .and_then(|url| url.join(path))
        .map_or_else(|_| path.to_owned(), |url| url.to_string())
}

fn host_of(issuer: &Issuer) -> Option<String> {
    Some(issuer.host()).filter(|host| !host.is_empty())
}

impl Documents {
    pub fn of(issuers: impl Iterator<Item = IssuerDocuments>) -> Self {
        let mut by_path: HashMap<String, Vec<(Option<String>, Bytes)>> = HashMap::new();
        let mut by_origin: BTreeMap<String, (Option<String>, Vec<String>)> = BTreeMap::new();
        for issuer in issuers {
            if let Some(origin) = origin_of(&issuer.issuer) {
                let (host, issuers) = by_origin.entry(origin).or_default();
                host.clone_from(&issuer.host);
                issuers.push(issuer.issuer);
            }
            for (path, document) in issuer.documents {
                let at_path = by_path.entry(path).or_default();
                at_path.push((issuer.host.clone(), document));
            }
            for (path, document) in issuer.of_policy {
                by_path.insert(path, vec![(None, document)]);
            }
        }
        let mut origins = Vec::with_capacity(by_origin.len());
        for (origin, (host, mut issuers)) in by_origin {
            issuers.sort_unstable();
            let document = Bytes::from(resource(&origin, &issuers).to_string());
            let at_path = by_path.entry(RESOURCE_PATH.to_owned()).or_default();
            at_path.push((host.clone(), document));
            origins.push((host, origin));
        }
        Self { by_path, origins }
    }

    /// Where the document of `/auth/userinfo` is, as a client of this host sees it.
    pub fn resource_metadata(&self, host: Option<&str>) -> Option<String> {
        let origin = match self.origins.as_slice() {
            [(_, only)] => only,
            several => {
                let host = host?.to_ascii_lowercase();
                let mut several = several.iter();
                let (_, origin) = several.find(|(of, _)| of.as_deref() == Some(&host))?;
                origin
            }
        };
        Some(format!("{origin}{RESOURCE_PATH}"))
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
