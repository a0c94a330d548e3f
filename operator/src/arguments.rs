//! The flags of `vestibule-operator run`. Their names and the `VESTIBULE_OPERATOR_…` variables are
//! a contract.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use clap::Args;
use vestibule_crds::installer::{ALL_NAMESPACES, Installer, IssuerBinding, Shares};
use vestibule_crds::issuer::HttpIssuers;
use vestibule_process::log::LogFormat;

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// The operator's own namespace: the snapshot, the signing keys, the lease and the data plane's
    /// pods are there [default: the one of the pod's service account]
    #[arg(long, value_name = "NAME", env = "VESTIBULE_OPERATOR_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Namespaces whose OidcProviders and SigninPolicies count, separated by commas; `*` for all
    /// [default: the operator's own]
    #[arg(
        long,
        value_name = "NAMES",
        env = "VESTIBULE_OPERATOR_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub(crate) watch_namespaces: Vec<String>,
    /// Labels of the data plane's pods
    #[arg(
        long,
        value_name = "SELECTOR",
        env = "VESTIBULE_OPERATOR_DATAPLANE_SELECTOR",
        default_value = "app.kubernetes.io/name=vestibule,app.kubernetes.io/component=dataplane"
    )]
    pub(crate) dataplane_selector: String,
    /// Port of the data plane's admin listener, where each pod reports what it serves
    #[arg(
        long,
        value_name = "PORT",
        env = "VESTIBULE_OPERATOR_DATAPLANE_ADMIN_PORT",
        default_value_t = 8081
    )]
    pub(crate) dataplane_admin_port: u16,
    /// Accept http issuers and provider endpoints, on loopback and in-cluster hosts only
    #[arg(long, env = "VESTIBULE_OPERATOR_ALLOW_HTTP_ISSUERS")]
    pub(crate) allow_http_issuers: bool,
    /// Namespaces that alone may have a SigninPolicy with an issuer, as ISSUER=NAMESPACE,NAMESPACE;
    /// an issuer that ends with /* stands for all below it too. Several are separated by spaces, or
    /// the flag is repeated
    #[arg(
        long = "issuer-namespaces",
        value_name = "BINDING",
        env = "VESTIBULE_OPERATOR_ISSUER_NAMESPACES",
        value_delimiter = ' '
    )]
    pub(crate) issuer_namespaces: Vec<IssuerBinding>,
    /// Namespaces whose objects may reach addresses inside the cluster, separated by commas; `*`
    /// for all [default: the operator's own]
    #[arg(
        long,
        value_name = "NAMES",
        env = "VESTIBULE_OPERATOR_CLUSTER_EGRESS_NAMESPACES",
        value_delimiter = ','
    )]
    pub(crate) cluster_egress_namespaces: Vec<String>,
    /// Most bytes, compressed, of what is published for one object outside the operator's own
    /// namespace
    #[arg(
        long,
        value_name = "BYTES",
        env = "VESTIBULE_OPERATOR_OBJECT_BYTES_MAX",
        default_value_t = Shares::default().object_bytes
    )]
    pub(crate) object_bytes_max: usize,
    /// The same for all objects of one such namespace
    #[arg(
        long,
        value_name = "BYTES",
        env = "VESTIBULE_OPERATOR_NAMESPACE_BYTES_MAX",
        default_value_t = Shares::default().namespace_bytes
    )]
    pub(crate) namespace_bytes_max: usize,
    /// Most objects of one such namespace that are published
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VESTIBULE_OPERATOR_NAMESPACE_OBJECTS_MAX",
        default_value_t = Shares::default().namespace_objects
    )]
    pub(crate) namespace_objects_max: usize,
    /// Address of the operator's own health checks and metrics
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "VESTIBULE_OPERATOR_LISTEN",
        default_value = "0.0.0.0:8082"
    )]
    pub(crate) listen: SocketAddr,
    /// Name of the Lease that decides which replica leads
    #[arg(
        long,
        value_name = "NAME",
        env = "VESTIBULE_OPERATOR_LEASE",
        default_value = "vestibule-operator"
    )]
    pub(crate) lease: String,
    /// This replica's name in the Lease, different for each [default: POD_NAME, else a random one]
    #[arg(long, value_name = "NAME", env = "VESTIBULE_OPERATOR_IDENTITY")]
    pub(crate) identity: Option<String>,
    /// Form of the log on standard error [default: text on a terminal, json elsewhere]
    #[arg(long, value_name = "FORM", env = "VESTIBULE_OPERATOR_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// The namespaces whose objects count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Named(Vec<String>),
}

impl Scope {
    pub(crate) fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == namespace),
        }
    }
}

impl RunArguments {
    pub(crate) fn scope(&self, own: &str) -> Scope {
        match listed(&self.watch_namespaces) {
            None => Scope::Named(vec![own.to_owned()]),
            Some(names) if names.contains(ALL_NAMESPACES) => Scope::All,
            Some(names) => Scope::Named(names.into_iter().collect()),
        }
    }

    pub(crate) fn installer(&self, own: &str) -> Installer {
        Installer {
            own_namespace: Some(own.to_owned()),
            cluster_egress: listed(&self.cluster_egress_namespaces),
            shares: Some(Shares {
                object_bytes: self.object_bytes_max,
                namespace_bytes: self.namespace_bytes_max,
                namespace_objects: self.namespace_objects_max,
            }),
            issuers: self.issuer_namespaces.clone(),
        }
    }

    pub(crate) fn http_issuers(&self) -> HttpIssuers {
        if self.allow_http_issuers {
            HttpIssuers::LoopbackAndCluster
        } else {
            HttpIssuers::Refuse
        }
    }
}

/// The names of a list; none when it is empty.
fn listed(names: &[String]) -> Option<BTreeSet<String>> {
    let names = names.iter().map(|name| name.trim().to_owned());
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }

    fn scope(flags: &[&str]) -> Scope {
        let line = ["run"].iter().chain(flags);
        let line = Line::try_parse_from(line).expect("flags");
        line.run.scope("own")
    }

    #[test]
    fn without_a_flag_only_the_own_namespace_counts() {
        assert_eq!(scope(&[]), Scope::Named(vec!["own".to_owned()]));
        assert_eq!(
            scope(&["--watch-namespaces", ""]),
            Scope::Named(vec!["own".to_owned()])
        );
    }

    #[test]
    fn namespaces_are_listed_with_commas_and_a_star_means_all() {
        assert_eq!(
            scope(&["--watch-namespaces", "b, a,b"]),
            Scope::Named(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(scope(&["--watch-namespaces", "a,*"]), Scope::All);
    }

    fn installer(flags: &[&str]) -> Installer {
        let line = ["run"].iter().chain(flags);
        Line::try_parse_from(line)
            .expect("flags")
            .run
            .installer("own")
    }

    #[test]
    fn the_installer_s_decisions_are_flags() {
        let default = installer(&[]);
        assert!(default.may_reach_cluster("own") && !default.may_reach_cluster("shop"));
        assert_eq!(default.shares, Some(Shares::default()));
        let listing = installer(&["--cluster-egress-namespaces", "own,shop"]);
        assert!(listing.may_reach_cluster("own") && listing.may_reach_cluster("shop"));
        let all = installer(&["--cluster-egress-namespaces", "*"]);
        assert!(all.may_reach_cluster("anything"));
        let bound = installer(&[
            "--issuer-namespaces",
            "https://a.example=own,shop https://b.example/*=shop",
        ]);
        assert_eq!(bound.issuers.len(), 2);
        let wrong = ["run", "--issuer-namespaces", "https://A.example=own"];
        assert!(Line::try_parse_from(wrong).is_err());
    }
}
