//! Durations as people write them in Kubernetes: `30s`, `15m`, `720h`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative span of whole seconds, at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(StdDuration);

/// Longer than any lifetime that makes sense here, short enough that no sum of two overflows.
const SECONDS_MAX: u64 = 10 * 366 * 24 * 3600;

/// What the API server checks: a sequence of number and unit, so that Go's `duration()` reads it
/// too.
pub const PATTERN: &str = "^([0-9]{1,9}(h|m|s))+$";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("write a duration as whole hours, minutes and seconds, such as 30s, 15m or 1h30m")]
    Form,
    #[error("a duration is at most 87840h (ten years)")]
    TooLong,
}

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    pub const fn as_std(self) -> StdDuration {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut seconds = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 9 {
                return Err(DurationError::Form);
            }
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| DurationError::Form)?;
            let factor = match tail.as_bytes().first() {
                Some(b'h') => 3600,
                Some(b'm') => 60,
                Some(b's') => 1,
                _ => return Err(DurationError::Form),
            };
            seconds = number
                .checked_mul(factor)
                .and_then(|part| seconds.checked_add(part))
                .filter(|sum| *sum <= SECONDS_MAX)
                .ok_or(DurationError::TooLong)?;
            rest = &tail[1..];
        }
        if text.is_empty() {
            return Err(DurationError::Form);
        }
        Ok(Self::from_secs(seconds))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if rest > 0 || seconds == 0 {
            write!(f, "{rest}s")?;
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": 32,
            "pattern": PATTERN,
            "x-kubernetes-validations": [{
                "rule": "duration(self) <= duration('87840h')",
                "message": "a duration is at most 87840h (ten years)"
            }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, seconds) in [
            ("0s", 0),
            ("30s", 30),
            ("15m", 900),
            ("720h", 2_592_000),
            ("1h30m", 5400),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(Duration::from_secs(seconds).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in ["", "5", "m", "1d", "-1s", "1.5h", "1h ", "99999999999s"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::Form), "{text}");
        }
        assert_eq!(
            "999999999h".parse::<Duration>(),
            Err(DurationError::TooLong)
        );
    }
}
