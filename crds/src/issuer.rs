//! An issuer identifier (OpenID Connect Discovery 1.0, section 3): compared byte for byte, parsed only once.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

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
}

impl Issuer {
    pub fn parse(text: &str, http: HttpIssuers) -> Result<Self, UrlError> {
        let url = parse_endpoint(text, http)?;
        if url.query().is_some() {
            return Err(UrlError::QueryOrFragment);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the issuer without a trailing slash: empty for `https://auth.example.com/`.
    pub fn path(&self) -> String {
        let path = Url::parse(&self.0).map(|url| url.path().trim_end_matches('/').to_owned());
        path.unwrap_or_default()
    }

    /// Where the discovery document stands: a terminating slash of the issuer is removed first (section 4).
    pub fn discovery_url(&self) -> String {
        format!(
            "{}/.well-known/openid-configuration",
            self.0.trim_end_matches('/')
        )
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL that Vestibule may fetch from: https, or http on a loopback or in-cluster host where that is allowed.
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

/// Whether a host is loopback or in-cluster, where what goes in clear is seen by nobody who could not see more.
pub(crate) fn is_nearby(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => is_loopback_or_cluster(&Host::Ipv4(ip)),
        Ok(std::net::IpAddr::V6(ip)) => is_loopback_or_cluster(&Host::Ipv6(ip)),
        Err(_) => is_loopback_or_cluster(&Host::Domain(host)),
    }
}

/// A name without a dot, `*.svc` and `*.svc.cluster.local` resolve inside a cluster only; a private address is taken
/// as in-cluster too, since a pod or a node is reached by it.
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
