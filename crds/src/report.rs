//! What a pod says of itself on its admin listener, and the operator reads: what it serves, and
//! which keys of providers it has seen.
//!
//! Details are for the operator, which proves itself with [`QUESTION_PROOF_HEADER`], and for who
//! shows the admin token. The pod proves its answer with [`ANSWER_PROOF_HEADER`], and the operator
//! believes nothing without it. Both are made with the [`crate::publication::ProofKey`] of what the
//! pod serves, and hold for one pod, one path and the `nonce` in its query.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::snapshot::Revision;

pub const QUESTION_PROOF_HEADER: &str = "vestibule-question-proof";
pub const ANSWER_PROOF_HEADER: &str = "vestibule-answer-proof";
/// The proof that an operator of an earlier version asks for with a nonce alone; what it proves has
/// no details.
pub const PROOF_HEADER: &str = "vestibule-proof";
/// Longest `nonce` that is proved: base64url of 512 bits and some room.
pub const NONCE_BYTES_MAX: usize = 128;
/// Refused objects that a report lists; the count tells of the rest.
pub const REFUSED_LISTED_MAX: usize = 100;
/// A page of a [`DiscoveryReport`] ends after the provider that exceeds this.
pub const DISCOVERY_PAGE_BYTES: usize = 1024 * 1024;
/// Longest body of a report: one page and the largest JWK Set that is fetched.
pub const REPORT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// `GET /revision`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionReport {
    /// Of the snapshot that is served; none before the first.
    pub revision: Option<Revision>,
    /// Since when it is served, RFC 3339.
    pub since: String,
    /// Digest of the publication that it was last loaded from, seeds included; none with
    /// `--manifests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Revision>,
    pub policies: usize,
    pub providers: usize,
    pub refused: Refusals,
}

/// What the last configuration held that is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    pub count: usize,
    /// At most [`REFUSED_LISTED_MAX`].
    pub objects: Vec<RefusedObject>,
    /// Why the last configuration could not be read or built at all; the one before it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedObject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub reason: String,
    pub message: String,
}

/// `GET /discovery?since=N`: providers whose keys come from an endpoint and changed after `N`, in
/// the order of their changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryReport {
    /// Of this process: numbers of another process mean nothing here, so begin again with
    /// `since=0`.
    pub process: String,
    /// Ask for what comes after this next time.
    pub sequence: u64,
    /// There is more: ask at once.
    pub more: bool,
    pub providers: Vec<ProviderKeysReport>,
}

/// What a pod knows of one provider's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKeysReport {
    pub namespace: String,
    pub name: String,
    /// [`crate::snapshot::Provider::key_source_revision`] of what is fetched.
    pub source: Revision,
    pub state: KeysState,
    /// Why the last fetch failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the keys came, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<i64>,
    /// The usable keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeysState {
    /// Nothing has been fetched yet, and nothing has failed.
    NotYet,
    /// The last fetch brought the keys.
    Fresh,
    /// The last fetch failed; keys that came before it serve on.
    ServingStale,
    /// The last fetch failed, and there are no keys: no sign-in is possible.
    Unreachable,
    /// The discovery document is of another issuer, whatever keys there are.
    IssuerMismatch,
}
