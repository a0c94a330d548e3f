//! A place among the tokens, and the errors that name it.

use std::iter::Peekable;

use super::token::{self, Kind, Token};
use crate::expression::{ExpressionError, bounded};

pub(super) struct Cursor<'t> {
    text: &'t str,
    tokens: Peekable<std::vec::IntoIter<Token<'t>>>,
}

impl<'t> Cursor<'t> {
    pub(super) fn over(text: &'t str) -> Result<Self, ExpressionError> {
        let tokens = token::tokens(text)?.into_iter().peekable();
        Ok(Self { text, tokens })
    }

    pub(super) fn peek(&mut self) -> &Kind<'t> {
        self.tokens.peek().map_or(&Kind::End, |token| &token.kind)
    }

    pub(super) fn next(&mut self) {
        self.tokens.next();
    }

    pub(super) fn sees(&mut self, sign: &str) -> bool {
        matches!(self.peek(), Kind::Sign(seen) if *seen == sign)
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let sees = self.sees(sign);
        if sees {
            self.next();
        }
        sees
    }

    pub(super) fn take_all(&mut self, sign: &str) -> usize {
        let mut taken = 0;
        while self.take(sign) {
            taken += 1;
        }
        taken
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), ExpressionError> {
        if self.take(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    pub(super) fn unexpected(&mut self, wanted: &str) -> ExpressionError {
        let found = match self.peek() {
            Kind::End => "the end".to_owned(),
            Kind::Word(word) => format!("`{}`", bounded(word)),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::Int { .. } | Kind::Double(_) => "a number".to_owned(),
            Kind::Text(_) => "a string".to_owned(),
        };
        self.error(format!("write {wanted} in place of {found}"))
    }

    pub(super) fn error(&mut self, message: impl Into<String>) -> ExpressionError {
        let at = self.tokens.peek().map_or(self.text.len(), |token| token.at);
        error(self.text, at, message)
    }
}

/// Lines and columns are counted from one, columns in characters.
pub(super) fn error(text: &str, at: usize, message: impl Into<String>) -> ExpressionError {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ExpressionError::Syntax {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: message.into(),
    }
}
