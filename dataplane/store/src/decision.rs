//! A decision of the past, as the audit events have it.

/// A sign-in that came to its end, or to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub id: i64,
    /// Seconds since the Unix epoch.
    pub at: i64,
    pub request_id: String,
    pub outcome: String,
    /// `namespace/name`.
    pub policy: String,
    /// How it was assessed, or why it was refused.
    pub detail: String,
}
