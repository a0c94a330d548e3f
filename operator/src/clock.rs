//! The one place where the time of day is read; everything that decides by it is given it. Waits
//! and deadlines use tokio's clock.

use k8s_openapi::jiff::Timestamp;

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn timestamp() -> Timestamp {
    Timestamp::now()
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    timestamp().as_second()
}

/// `2026-01-31T12:00:00Z` (RFC 3339).
pub(crate) fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}
