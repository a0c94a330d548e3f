//! The pattern of `matches`: RE2 syntax, compiled once into a finite automaton, so that a search
//! reads each byte once whatever the pattern and the text.
//!
//! Classes such as `\w` are those of ASCII, as in RE2; a character outside ASCII matches itself,
//! but counts as several bytes for `.`. With Unicode classes a plain `\w+` would take 100 KiB for
//! each provider that uses it.

use std::error::Error;

use regex_automata::dfa::dense::{BuildError, Builder, Config, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

use super::ExpressionError;
use super::budget::{Budget, Fault};

const PATTERN_BYTES_MAX: usize = 256;

/// Repetition such as `(a{100}){100}` multiplies the states, and `a.{20}b` doubles them for each
/// repetition.
const AUTOMATON_BYTES_MAX: usize = 64 * 1024;
const BUILD_BYTES_MAX: usize = 512 * 1024;

#[derive(Debug)]
pub(crate) struct Pattern(DFA<Vec<u32>>);

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > PATTERN_BYTES_MAX {
            let reason = format!("shorten it to {PATTERN_BYTES_MAX} bytes");
            return Err(ExpressionError::Pattern(reason));
        }
        let automaton = Config::new()
            .start_kind(StartKind::Unanchored)
            .match_kind(MatchKind::All)
            .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .determinize_size_limit(Some(BUILD_BYTES_MAX));
        let states = thompson::Config::new()
            .utf8(false)
            .which_captures(thompson::WhichCaptures::None)
            .nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        let built = Builder::new()
            .configure(automaton)
            .thompson(states)
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .build(text);
        built
            .map(Self)
            .map_err(|error| ExpressionError::Pattern(reason(&error)))
    }

    /// As [`is_match`](Self::is_match), for a text without a budget; one that is too long to search
    /// does not match.
    pub(crate) fn matches(&self, text: &str) -> bool {
        matches!(self.is_match(text, &mut Budget::full()), Ok(true))
    }

    pub(super) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, Fault<'static>> {
        budget.charge_search(text.len())?;
        let found = self.0.try_search_fwd(&Input::new(text).earliest(true));
        // The search gives up only at quit bytes, and it has none.
        let found = found.map_err(|_| Fault::Other("the pattern gave up"))?;
        Ok(found.is_some())
    }
}

fn reason(error: &BuildError) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let states = cause.downcast_ref::<thompson::BuildError>();
    if error.is_size_limit_exceeded() || states.is_some_and(|error| error.size_limit().is_some()) {
        return "repeat or branch less: it is too large when compiled".to_owned();
    }
    // The first lines draw the pattern; the last one says what is wrong.
    super::bounded(cause.to_string().lines().last().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        let result = pattern.is_match(text, &mut Budget::full());
        result.expect("it fits the budget")
    }

    #[test]
    fn a_pattern_matches_anywhere_unless_anchored() {
        for (pattern, text, found) in [
            ("b", "abc", true),
            ("^b", "abc", false),
            ("^abc$", "abc", true),
            ("^abc$", "abcd", false),
            ("^abc$", "abc\n", false),
            ("", "", true),
            (r"^[\w.+-]+@corp\.example$", "jane.doe@corp.example", true),
            (r"^[\w.+-]+@corp\.example$", "jane@corpxexample", false),
            (r"^corp-[a-z0-9_-]{1,64}$", "corp-dev", true),
            (r"^corp-[a-z0-9_-]{1,64}$", "corp-", false),
            ("(?i)^ADMIN$", "admin", true),
            (r"\bdev\b", "a dev b", true),
            (r"\bdev\b", "devops", false),
            ("^(a|b)+c?$", "abba", true),
        ] {
            assert_eq!(matches(pattern, text), found, "{pattern} {text}");
        }
    }

    #[test]
    fn characters_outside_ascii_match_themselves() {
        assert!(matches("^Zürich$", "Zürich"));
        assert!(!matches("^Zürich$", "Zurich"));
        assert!(matches("^[^@]+@müller$", "jürg@müller"));
        assert!(!matches(r"^\w+$", "jürg"));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_or_is_too_large_says_so() {
        let refusal = |text: &str| Pattern::parse(text).expect_err(text).to_string();
        for (pattern, part) in [
            ("(", "unclosed group"),
            (r"(a)\1", "backreferences are not supported"),
            ("a(?=b)", "look-around"),
            ("[é]", "Unicode not allowed here"),
            ("(a{100}){100}", "repeat or branch less"),
            ("a.{20}b", "repeat or branch less"),
            (&"a".repeat(257), "shorten it to 256 bytes"),
        ] {
            let refusal = refusal(pattern);
            assert!(refusal.contains(part), "{pattern}: {refusal}");
        }
    }
}
