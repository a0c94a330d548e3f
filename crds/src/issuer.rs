//! An issuer identifier (OpenID Connect Discovery 1.0, section 3): compared byte for byte, parsed
//! only once.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

mod normal;

/// Where the documents of each policy stand next to those of its issuer, at paths that no issuer
/// can have.
pub const POLICIES_PATH: &str = "/policies";

/// An `iss` value that was found to be a usable issuer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Issuer(String);

/// Whether `http` issuers and provider endpoints on loopback and in-cluster hosts are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpIssuers {
    #[default]
    Refuse,
    LoopbackAndCluster,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("write an absolute URL such as https://login.example.com")]
    NotAUrl,
    #[error(
        "use https: http is only for a loopback or in-cluster host, and only when the process was started with --allow-http-issuers"
    )]
    HttpNotAllowed,
    #[error("remove the user name or password from the URL")]
    Credentials,
    #[error("remove the query and the fragment from the URL")]
    QueryOrFragment,
    #[error(
        "write {0}: an issuer of our own has one spelling (RFC 3986, sections 6.2.2 and 6.2.3)"
    )]
    NotNormal(String),
    #[error("choose a path outside /policies: the documents of each policy stand there")]
    ReservedPath,
}

impl Issuer {
    pub fn parse(text: &str, http: HttpIssuers) -> Result<Self, UrlError> {
        let url = parse_endpoint(text, http)?;
        if url.query().is_some() {
            return Err(UrlError::QueryOrFragment);
        }
        Ok(Self(text.to_owned()))
    }

    /// An issuer of our own: in normal form, so that it has one spelling, and at a path that is
    /// free for issuers.
    pub fn parse_own(text: &str, http: HttpIssuers) -> Result<Self, UrlError> {
        let issuer = Self::parse(text, http)?;
        let normal = issuer.normal_form();
        // The scheme's empty path is `/`; both spellings are common, and they count as one issuer.
        if text != normal && text.strip_suffix('/') != Some(&normal) {
            return Err(UrlError::NotNormal(normal));
        }
        let path = issuer.path();
        let below = path.strip_prefix(POLICIES_PATH);
        if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(UrlError::ReservedPath);
        }
        Ok(issuer)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that all spellings of this issuer have in common (RFC 3986, sections 6.2.2 and
    /// 6.2.3); without a path it has no slash at its end.
    pub fn normal_form(&self) -> String {
        normal_form(&self.0)
    }

    /// The host as a request names it: in lower case, with the port unless that is the scheme's.
    pub fn host(&self) -> String {
        let url = Url::parse(&self.0).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let host = host.to_ascii_lowercase();
        match url.as_ref().and_then(Url::port) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// Where its documents stand: two issuers of one place share them.
    pub fn place(&self) -> String {
        format!("{}{}", self.host(), self.path())
    }

    /// The path of the issuer without a trailing slash: empty for `https://auth.example.com/`.
    pub fn path(&self) -> String {
        let path = Url::parse(&self.0).map(|url| url.path().trim_end_matches('/').to_owned());
        path.unwrap_or_default()
    }

    /// Where the discovery document stands: a terminating slash of the issuer is removed first
    /// (section 4).
    pub fn discovery_url(&self) -> String {
        format!(
            "{}/.well-known/openid-configuration",
            self.0.trim_end_matches('/')
        )
    }
}

/// The form that all spellings of a URL have in common; text that is no URL stays as it is.
pub fn normal_form(text: &str) -> String {
    normal::form(text)
}

/// The paths of an issuer's documents. `path` is the issuer's, without a slash at its end.
pub fn document_paths(path: &str) -> DocumentPaths {
    DocumentPaths {
        keys: format!("{path}/jwks.json"),
        openid: format!("{path}/.well-known/openid-configuration"),
        oauth: format!("{path}/.well-known/oauth-authorization-server"),
        // RFC 8414, section 3.1, puts the well-known part before the issuer's path.
        oauth_before: (!path.is_empty())
            .then(|| format!("/.well-known/oauth-authorization-server{path}")),
    }
}

/// Where the public documents of an issuer stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPaths {
    pub keys: String,
    pub openid: String,
    pub oauth: String,
    pub oauth_before: Option<String>,
}

impl DocumentPaths {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let always = [&self.keys, &self.openid, &self.oauth];
        always
            .into_iter()
            .chain(&self.oauth_before)
            .map(String::as_str)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL that Vestibule may fetch from: https, or http on a loopback or in-cluster host where that
/// is allowed.
pub fn parse_endpoint(text: &str, http: HttpIssuers) -> Result<Url, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::NotAUrl)?;
    let Some(host) = url.host() else {
        return Err(UrlError::NotAUrl);
    };
    match (url.scheme(), http) {
        ("https", _) => {}
        ("http", HttpIssuers::LoopbackAndCluster) if is_loopback_or_cluster(&host) => {}
        ("http", _) => return Err(UrlError::HttpNotAllowed),
        _ => return Err(UrlError::NotAUrl),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlError::QueryOrFragment);
    }
    Ok(url)
}

/// Whether a host is loopback or in-cluster: only those who can see more anyway see plain text on
/// the way there.
pub(crate) fn is_nearby(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => is_loopback_or_cluster(&Host::Ipv4(ip)),
        Ok(std::net::IpAddr::V6(ip)) => is_loopback_or_cluster(&Host::Ipv6(ip)),
        Err(_) => is_loopback_or_cluster(&Host::Domain(host)),
    }
}

/// A name without a dot, `*.svc` and `*.svc.cluster.local` resolve inside a cluster only; a private
/// address is taken as in-cluster too, since a pod or a node is reached by it.
fn is_loopback_or_cluster(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost"
                || name.ends_with(".localhost")
                || !name.contains('.')
                || name.ends_with(".svc")
                || name.ends_with(".svc.cluster.local")
        }
        Host::Ipv4(ip) => ip.is_loopback() || ip.is_private(),
        Host::Ipv6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_of_our_own_in_another_spelling_is_refused_with_the_right_one() {
        for (text, right) in [
            ("https://AUTH.x", "https://auth.x"),
            ("HTTPS://auth.x", "https://auth.x"),
            ("https://auth.x:443", "https://auth.x"),
            ("https://auth.x:", "https://auth.x"),
            ("https://auth.x:443/y", "https://auth.x/y"),
            ("https://auth.x/y/..", "https://auth.x"),
            ("https://auth.x/y/../z", "https://auth.x/z"),
            ("https://auth.x/.", "https://auth.x"),
            ("https://auth.x/%2e", "https://auth.x"),
            ("https://auth.x/y/%2E%2e", "https://auth.x"),
            ("https://auth.x\\", "https://auth.x"),
            ("https://auth.x/y\\", "https://auth.x/y/"),
            ("https://auth.x/%7euser", "https://auth.x/~user"),
            ("https://auth.x/%41", "https://auth.x/A"),
            ("https://auth.x/%c3%bc", "https://auth.x/%C3%BC"),
            ("https://auth.x/ü", "https://auth.x/%C3%BC"),
            ("https://auth.x/a|b^", "https://auth.x/a%7Cb%5E"),
            ("https://auth.x/100%", "https://auth.x/100%25"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://auth.x.", "https://auth.x"),
            (" https://auth.x", "https://auth.x"),
            ("https://0x7f.1", "https://127.0.0.1"),
            ("https://[0:0::1]", "https://[::1]"),
        ] {
            assert_eq!(
                Issuer::parse_own(text, HttpIssuers::Refuse),
                Err(UrlError::NotNormal(right.to_owned())),
                "{text}"
            );
            let right = Issuer::parse_own(right, HttpIssuers::Refuse);
            assert!(right.is_ok(), "{text}: {right:?}");
        }
        let near = Issuer::parse_own("http://idp.svc:80", HttpIssuers::LoopbackAndCluster);
        assert_eq!(near, Err(UrlError::NotNormal("http://idp.svc".to_owned())));
    }

    #[test]
    fn an_issuer_in_normal_form_is_kept_to_the_letter() {
        for text in [
            "https://auth.x",
            "https://auth.x/",
            "https://auth.x:8443",
            "https://auth.x/tenant/a",
            "https://auth.x/tenant/",
            "https://auth.x/a//b",
            "https://auth.x/%C3%BC/a:b@c!$&'()*+,;=~",
            "https://[::1]:1",
        ] {
            let issuer = Issuer::parse_own(text, HttpIssuers::Refuse).expect(text);
            assert_eq!(issuer.as_str(), text);
        }
    }

    #[test]
    fn no_issuer_stands_where_each_policy_has_its_documents() {
        for text in [
            "https://x/policies",
            "https://x/policies/",
            "https://x/policies/auth/default",
        ] {
            assert_eq!(
                Issuer::parse_own(text, HttpIssuers::Refuse),
                Err(UrlError::ReservedPath),
                "{text}"
            );
        }
        assert!(Issuer::parse_own("https://x/policiesx", HttpIssuers::Refuse).is_ok());
    }

    #[test]
    fn https_is_always_allowed_and_kept_to_the_letter() {
        let issuer = Issuer::parse("https://login.corp.example/tenant/", HttpIssuers::Refuse);
        let issuer = issuer.expect("an https issuer");
        assert_eq!(issuer.as_str(), "https://login.corp.example/tenant/");
        assert_eq!(issuer.path(), "/tenant");
        assert_eq!(
            issuer.discovery_url(),
            "https://login.corp.example/tenant/.well-known/openid-configuration"
        );
    }

    #[test]
    fn http_wants_the_flag_and_a_host_nearby() {
        let near = [
            "http://127.0.0.1:9000",
            "http://localhost",
            "http://idp.idp.svc",
            "http://[::1]:1",
            "http://idp",
            "http://10.245.0.1:4000",
        ];
        for text in near {
            assert!(Issuer::parse(text, HttpIssuers::LoopbackAndCluster).is_ok());
            assert_eq!(
                Issuer::parse(text, HttpIssuers::Refuse),
                Err(UrlError::HttpNotAllowed)
            );
        }
        for text in [
            "http://login.example.com",
            "http://93.184.216.34",
            "http://svc.evil.example",
        ] {
            assert_eq!(
                Issuer::parse(text, HttpIssuers::LoopbackAndCluster),
                Err(UrlError::HttpNotAllowed)
            );
        }
    }

    #[test]
    fn refuses_what_is_no_issuer() {
        for (text, error) in [
            ("", UrlError::NotAUrl),
            ("corp", UrlError::NotAUrl),
            ("ftp://a.example", UrlError::NotAUrl),
            ("https://u:p@a.example", UrlError::Credentials),
            ("https://a.example?x=1", UrlError::QueryOrFragment),
            ("https://a.example#x", UrlError::QueryOrFragment),
        ] {
            assert_eq!(
                Issuer::parse(text, HttpIssuers::Refuse),
                Err(error),
                "{text}"
            );
        }
    }
}
