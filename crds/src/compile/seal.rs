//! Revisions: a digest of the content, so that equal content has an equal revision wherever it was
//! compiled.

use serde::Serialize;

use crate::object::Kind;
use crate::snapshot::{FORMAT, Policy, Provider, Revision, Snapshot};

/// The provider with the revision of everything else in it.
pub(super) fn seal_provider(mut provider: Provider) -> Provider {
    provider.revision = Revision::of(b"");
    provider.revision = digest(&provider);
    provider
}

/// The policy with the revision of everything else in it.
pub(super) fn seal_policy(mut policy: Policy) -> Policy {
    policy.revision = Revision::of(b"");
    policy.revision = digest(&policy);
    policy
}

/// The snapshot with the revision of its objects' kinds, names and revisions.
pub(super) fn seal_snapshot(mut snapshot: Snapshot) -> Snapshot {
    let policies = snapshot
        .policies
        .iter()
        .map(|(name, policy)| (Kind::SigninPolicy.name(), name, &policy.revision));
    let providers = snapshot
        .providers
        .iter()
        .map(|(name, provider)| (Kind::OidcProvider.name(), name, &provider.revision));
    let all: Vec<_> = policies.chain(providers).collect();
    let revision = digest(&(FORMAT, all));
    snapshot.revision = revision;
    snapshot
}

/// JSON with the fields in the order of their declaration; maps are sorted.
pub(super) fn digest(content: &impl Serialize) -> Revision {
    let bytes = serde_json::to_vec(content).expect("strings, numbers and sorted maps are JSON");
    Revision::of(&bytes)
}
