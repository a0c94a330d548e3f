//! Text to syntax tree, by the `cel` crate's parser, with the text bounded first: the parser and the tree are recursive.

use cel::common::ast::IdedExpr;
use cel::{Env, ParseErrors};

use super::{ExpressionError, bounded};

pub const TEXT_BYTES_MAX: usize = 1024;

/// Brackets, arguments and conditions inside one another.
const NESTING_MAX: u16 = 24;

/// Without macros, so that `has`, `all` and their kin arrive as the calls they are written as.
pub(super) fn parse(text: &str) -> Result<IdedExpr, ExpressionError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ExpressionError::TooLong { bytes: text.len() });
    }
    let parser = Env::default()
        .with_optional_support(false)
        .parser()
        .max_recursion_depth(NESTING_MAX)
        .error_recovery_limit(1);
    parser.parse(text).map_err(|errors| first(&errors))
}

fn first(errors: &ParseErrors) -> ExpressionError {
    // The parser has no error of its own for its limit, only this text; the tests notice when it changes.
    let is_limit = |message: &str| message.contains("Recursion limit of");
    let Some(error) = errors.errors.first() else {
        return ExpressionError::TooDeep;
    };
    if errors.errors.iter().any(|error| is_limit(&error.msg)) {
        return ExpressionError::TooDeep;
    }
    ExpressionError::Syntax {
        line: usize::try_from(error.pos.0).unwrap_or(0),
        column: usize::try_from(error.pos.1).unwrap_or(0),
        message: bounded(&error.msg),
    }
}
