//! Limits of connections: how long one may make no progress, and how many one address may hold when
//! places run out.

use std::time::Duration;

/// The limits of one listener. Tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From accept to the end of the first request head: TLS handshake, HTTP version and HTTP/2
    /// preface included.
    pub first_head: Duration,
    /// From an answer to its last byte in the socket, and for a write that makes no progress.
    pub answer: Duration,
    /// From the last answer to the end of the next request head.
    pub idle: Duration,
    /// From the notice that a connection ends (`GOAWAY` in HTTP/2) to its end.
    pub parting: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            first_head: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            parting: Duration::from_secs(2),
        }
    }
}

/// Why the service ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// No request head came in time.
    FirstHead,
    /// An answer was not taken in time.
    Answer,
    /// No further request came in time.
    Idle,
    /// It gave nothing while another connection needed its place.
    Displaced,
}

impl Ended {
    /// As the metric names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstHead => "first_head",
            Self::Answer => "answer",
            Self::Idle => "idle",
            Self::Displaced => "displaced",
        }
    }
}
