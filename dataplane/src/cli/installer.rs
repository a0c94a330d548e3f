//! Flags that say what namespaces of a directory of manifests may do, as the operator's flags say
//! it of a cluster's.

use std::collections::BTreeSet;

use clap::Args;
use vestibule_crds::installer::{Installer, IssuerBinding};

use super::IssuerArgs;
use crate::config::Allowed;

#[derive(Debug, Clone, Default, Args)]
pub struct InstallerArgs {
    /// The installer's own namespace among those of the manifests: others get no reach into the
    /// cluster, and their Secrets want the label of their use [default: all namespaces are the
    /// installer's own]
    #[arg(long, value_name = "NAME", env = "VESTIBULE_OWN_NAMESPACE")]
    own_namespace: Option<String>,
    /// Namespaces whose objects may reach addresses inside the cluster, separated by commas; `*`
    /// for all [default: the own one]
    #[arg(
        long,
        value_name = "NAMES",
        env = "VESTIBULE_CLUSTER_EGRESS_NAMESPACES",
        value_delimiter = ','
    )]
    cluster_egress_namespaces: Vec<String>,
    /// Namespaces that alone may have a SigninPolicy with an issuer, as ISSUER=NAMESPACE,NAMESPACE;
    /// an issuer that ends with /* stands for all below it too. Several are separated by spaces, or
    /// the flag is repeated
    #[arg(
        long,
        value_name = "BINDING",
        env = "VESTIBULE_ISSUER_NAMESPACES",
        value_delimiter = ' '
    )]
    issuer_namespaces: Vec<IssuerBinding>,
}

impl InstallerArgs {
    pub fn allowed(&self, issuers: IssuerArgs) -> Allowed {
        let names = self.cluster_egress_namespaces.iter();
        let names = names.map(|name| name.trim().to_owned());
        let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
        let installer = Installer {
            own_namespace: self.own_namespace.clone().filter(|name| !name.is_empty()),
            cluster_egress: (!names.is_empty()).then_some(names),
            issuers: self.issuer_namespaces.clone(),
            shares: None,
        };
        Allowed {
            http_issuers: issuers.http_issuers(),
            installer,
        }
    }
}
