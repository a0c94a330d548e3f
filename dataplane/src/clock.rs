//! Formats times for people and programs.

pub use vestibule_idtoken::clock::Clock;

/// `2026-01-31T12:00:00Z` (RFC 3339).
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}

/// A length of time in seconds.
pub fn lifetime(duration: vestibule_crds::duration::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
