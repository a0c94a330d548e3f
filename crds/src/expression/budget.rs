//! What an evaluation may cost, and the faults that end it.
//!
//! One step is one node of the expression visited, one element of a list or map passed on or
//! compared, [`BYTES_PER_STEP`] bytes of text copied or compared, or [`SEARCHED_BYTES_PER_STEP`]
//! searched. Since every value that an expression makes was paid for when it was made, the steps
//! bound the memory as well.

/// In the dev profile the worst expressions take 1.3 ms for this many steps, a quarter of the 5 ms
/// that they may; a rule over a thousand groups takes half of the steps.
/// `examples/expression_cost.rs` prints both.
pub const STEPS_MAX: u32 = 20_000;

const BYTES_PER_STEP: usize = 64;

/// Of searching and parsing, which look at every byte by itself.
const SEARCHED_BYTES_PER_STEP: usize = 8;

/// What a new text, list or entry of a map costs above the step that makes it.
pub(super) const ALLOCATION: usize = 3;

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
}

/// Why an evaluation ended without a value. Made many times over where `||` and `exists` look past
/// it, so it is small and borrows from the expression only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault<'a> {
    Missing(&'a str),
    Budget,
    Unary {
        operation: &'static str,
        on: &'static str,
    },
    Binary {
        operation: &'static str,
        left: &'static str,
        right: &'static str,
    },
    Other(&'static str),
}

impl Budget {
    pub(crate) fn full() -> Self {
        Self { left: STEPS_MAX }
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> u32 {
        STEPS_MAX - self.left
    }

    /// Pays for work before it is done.
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Fault<'static>> {
        let left = u32::try_from(steps)
            .ok()
            .and_then(|steps| self.left.checked_sub(steps));
        self.left = left.unwrap_or(0);
        left.map(drop).ok_or(Fault::Budget)
    }

    /// Pays for reading or copying that many bytes of text; a short one is part of the step that
    /// reads it.
    pub(super) fn charge_text(&mut self, bytes: usize) -> Result<(), Fault<'static>> {
        self.charge(bytes / BYTES_PER_STEP)
    }

    /// Pays for searching or parsing that many bytes of text.
    pub(super) fn charge_search(&mut self, bytes: usize) -> Result<(), Fault<'static>> {
        self.charge(bytes / SEARCHED_BYTES_PER_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_given_and_the_next_refused() {
        let mut budget = Budget::full();
        assert_eq!(budget.charge(STEPS_MAX as usize), Ok(()));
        assert_eq!(budget.charge(0), Ok(()));
        assert_eq!(budget.charge(1), Err(Fault::Budget));
    }

    #[test]
    fn work_that_does_not_fit_leaves_nothing_for_less() {
        let mut budget = Budget::full();
        assert_eq!(budget.charge(usize::MAX), Err(Fault::Budget));
        assert_eq!(budget.charge(1), Err(Fault::Budget));
    }
}
