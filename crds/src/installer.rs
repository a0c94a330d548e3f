//! What the installer decides for the namespaces that are watched, and an author of objects in one
//! of them cannot.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::issuer::{HttpIssuers, Issuer};

/// The installer's decisions. The default is for a directory of manifests: all of them are the
/// installer's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installer {
    /// The release's own namespace. None: every namespace is the installer's own.
    pub own_namespace: Option<String>,
    /// Namespaces whose objects may reach addresses inside the cluster. None: those that are the
    /// installer's own.
    pub cluster_egress: Option<BTreeSet<String>>,
    /// How much of what is published each namespace other than the own one may have. None: as much
    /// as it wants.
    pub shares: Option<Shares>,
    /// Which namespaces may use which issuers; what is not listed is for the first that has it.
    pub issuers: Vec<IssuerBinding>,
}

/// What one namespace may have of what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Of one object, compressed.
    pub object_bytes: usize,
    /// Of all objects of a namespace.
    pub namespace_bytes: usize,
    pub namespace_objects: usize,
}

/// All namespaces that are listed as one word.
pub const ALL_NAMESPACES: &str = "*";

/// The namespaces that may have a SigninPolicy with an issuer: `ISSUER=NAMESPACE,NAMESPACE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerBinding {
    /// In normal form, without a slash at its end.
    issuer: String,
    /// Whether it ended with `/*`: every issuer below it is meant too.
    with_all_below: bool,
    namespaces: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    #[error("write ISSUER=NAMESPACE, such as https://auth.example.com=auth,shop")]
    Form,
    #[error("{0}: {1}")]
    Issuer(String, String),
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            object_bytes: 128 * 1024,
            namespace_bytes: 1024 * 1024,
            namespace_objects: 1000,
        }
    }
}

impl Installer {
    pub fn may_reach_cluster(&self, namespace: &str) -> bool {
        match &self.cluster_egress {
            None => self.is_own(namespace),
            Some(listed) => listed.contains(namespace) || listed.contains(ALL_NAMESPACES),
        }
    }

    pub fn is_own(&self, namespace: &str) -> bool {
        let own = self.own_namespace.as_ref();
        own.is_none_or(|own| own == namespace)
    }

    /// Whether an issuer is for other namespaces than this one, and which ones those are.
    pub fn bound_elsewhere(&self, issuer: &Issuer, namespace: &str) -> Option<&BTreeSet<String>> {
        let mut bindings = self.bindings_of(issuer);
        let binding = bindings.find(|binding| !binding.namespaces.contains(namespace))?;
        Some(&binding.namespaces)
    }

    pub fn is_bound_to(&self, issuer: &Issuer, namespace: &str) -> bool {
        let mut bindings = self.bindings_of(issuer);
        bindings.any(|binding| binding.namespaces.contains(namespace))
    }

    fn bindings_of(&self, issuer: &Issuer) -> impl Iterator<Item = &IssuerBinding> {
        let place = issuer.place();
        let covers = move |binding: &&IssuerBinding| binding.covers(&place);
        self.issuers.iter().filter(covers)
    }
}

impl IssuerBinding {
    /// By place and not by scheme: `http` and `https` of one host share their documents.
    fn covers(&self, place: &str) -> bool {
        let below = place.strip_prefix(&self.issuer);
        below.is_some_and(|below| {
            below.is_empty() || (self.with_all_below && below.starts_with('/'))
        })
    }
}

impl FromStr for IssuerBinding {
    type Err = BindingError;

    fn from_str(text: &str) -> Result<Self, BindingError> {
        let (issuer, namespaces) = text.rsplit_once('=').ok_or(BindingError::Form)?;
        let namespaces: BTreeSet<String> = namespaces
            .split(',')
            .map(|namespace| namespace.trim().to_owned())
            .filter(|namespace| !namespace.is_empty())
            .collect();
        if namespaces.is_empty() {
            return Err(BindingError::Form);
        }
        let (issuer, with_all_below) = match issuer.strip_suffix("/*") {
            Some(issuer) => (issuer, true),
            None => (issuer, false),
        };
        let issuer = Issuer::parse_own(issuer, HttpIssuers::LoopbackAndCluster)
            .map_err(|error| BindingError::Issuer(issuer.to_owned(), error.to_string()))?;
        Ok(Self {
            issuer: issuer.place(),
            with_all_below,
            namespaces,
        })
    }
}

impl fmt::Display for IssuerBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.with_all_below { "/*" } else { "" };
        let namespaces: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        write!(f, "{}{below}={}", self.issuer, namespaces.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(text: &str) -> Issuer {
        Issuer::parse_own(text, HttpIssuers::LoopbackAndCluster).expect("an issuer")
    }

    fn installer(bindings: &[&str]) -> Installer {
        let bindings = bindings.iter().map(|text| text.parse().expect("a binding"));
        Installer {
            own_namespace: Some("auth".to_owned()),
            issuers: bindings.collect(),
            ..Installer::default()
        }
    }

    #[test]
    fn a_bound_issuer_is_for_its_namespaces_alone() {
        let installer = installer(&["https://auth.example.com=auth,shop"]);
        let elsewhere = |text, namespace| {
            installer
                .bound_elsewhere(&issuer(text), namespace)
                .is_some()
        };
        assert!(!elsewhere("https://auth.example.com", "auth"));
        assert!(!elsewhere("https://auth.example.com/", "shop"));
        assert!(elsewhere("https://auth.example.com", "other"));
        assert!(elsewhere("https://auth.example.com/", "other"));
        assert!(!elsewhere("https://auth.example.com/below", "other"));
        assert!(!elsewhere("https://auth.example.com.evil", "other"));
    }

    #[test]
    fn a_binding_with_a_star_covers_what_is_below() {
        let installer = installer(&["https://auth.example.com/*=auth"]);
        let elsewhere = |text| installer.bound_elsewhere(&issuer(text), "shop").is_some();
        assert!(elsewhere("https://auth.example.com"));
        assert!(elsewhere("https://auth.example.com/tenant/a"));
        assert!(!elsewhere("https://auth.example.com:8443"));
        assert!(!elsewhere("https://auth.example.community"));
    }

    #[test]
    fn a_binding_that_is_none_is_refused() {
        for text in [
            "",
            "https://auth.example.com",
            "https://auth.example.com=",
            "=auth",
            "https://AUTH.example.com=auth",
            "auth.example.com=auth",
        ] {
            assert!(text.parse::<IssuerBinding>().is_err(), "{text}");
        }
    }
}
