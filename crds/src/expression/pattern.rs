//! The pattern of `matches`: RE2 syntax, compiled once, small enough that even its slowest search is bounded.

use regex::{Regex, RegexBuilder};

use super::ExpressionError;
use super::budget::{Budget, Fault};

const PATTERN_BYTES_MAX: usize = 256;

/// Compiled size. Bounded repetition such as `(a{100}){100}` multiplies it.
const PROGRAM_BYTES_MAX: usize = 64 * 1024;

/// The slowest search visits every state of the program for every byte.
const STEPS_PER_BYTE: usize = 2;

#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > PATTERN_BYTES_MAX {
            let reason = format!("shorten it to {PATTERN_BYTES_MAX} bytes");
            return Err(ExpressionError::Pattern(reason));
        }
        let regex = RegexBuilder::new(text)
            .size_limit(PROGRAM_BYTES_MAX)
            .build();
        match regex {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err(ExpressionError::Pattern(
                "repeat less: it is too large when compiled".to_owned(),
            )),
            // The first lines draw the pattern; the last one says what is wrong.
            Err(error) => Err(ExpressionError::Pattern(super::bounded(
                error.to_string().lines().last().unwrap_or_default(),
            ))),
        }
    }

    pub(super) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, Fault<'static>> {
        budget.charge(text.len().saturating_mul(STEPS_PER_BYTE))?;
        Ok(self.0.is_match(text))
    }
}
