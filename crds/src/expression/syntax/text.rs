//! String literals: single or triple quotes, raw or with escapes (language definition, "String and
//! Bytes Values").

use crate::expression::ExpressionError;

/// The literal that starts here and its length, or `None` where none starts.
pub(super) fn read(source: &str, at: usize) -> Result<Option<(String, usize)>, ExpressionError> {
    let rest = &source[at..];
    let prefix = rest.len() - rest.trim_start_matches(['r', 'R', 'b', 'B']).len();
    let (prefix, quoted) = rest.split_at(prefix);
    let Some(quote) = ["'''", "\"\"\"", "'", "\""]
        .into_iter()
        .find(|quote| quoted.starts_with(quote))
    else {
        return Ok(None);
    };
    let is_raw = match prefix {
        "" => false,
        "r" | "R" => true,
        _ => return Err(ExpressionError::Unsupported("the `b` before the string")),
    };
    let mut literal = Literal {
        source,
        at: at + prefix.len() + quote.len(),
        value: String::new(),
    };
    literal.read_until(quote, is_raw)?;
    Ok(Some((literal.value, literal.at - at)))
}

struct Literal<'t> {
    source: &'t str,
    at: usize,
    value: String,
}

impl Literal<'_> {
    fn read_until(&mut self, quote: &str, is_raw: bool) -> Result<(), ExpressionError> {
        loop {
            if self.source[self.at..].starts_with(quote) {
                self.at += quote.len();
                return Ok(());
            }
            match self.next()? {
                '\n' | '\r' if quote.len() == 1 => {
                    return Err(self.error("close the string on its line"));
                }
                '\\' if !is_raw => self.escape()?,
                char => self.value.push(char),
            }
        }
    }

    fn next(&mut self) -> Result<char, ExpressionError> {
        let next = self.source[self.at..].chars().next();
        let next = next.ok_or_else(|| self.error("close the string"))?;
        self.at += next.len_utf8();
        Ok(next)
    }

    fn escape(&mut self) -> Result<(), ExpressionError> {
        let char = match self.next()? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            char @ ('\\' | '?' | '"' | '\'' | '`') => char,
            'x' | 'X' => self.code(2, 16, 0)?,
            'u' => self.code(4, 16, 0)?,
            'U' => self.code(8, 16, 0)?,
            char @ '0'..='3' => self.code(2, 8, u32::from(char) - u32::from('0'))?,
            _ => {
                return Err(
                    self.error("write `\\\\` for a backslash, or put `r` before the string")
                );
            }
        };
        self.value.push(char);
        Ok(())
    }

    /// The character whose number has these digits, some of which may have been read.
    fn code(&mut self, digits: usize, radix: u32, read: u32) -> Result<char, ExpressionError> {
        let mut number = read;
        for _ in 0..digits {
            let digit = self.next()?.to_digit(radix);
            let digit = digit.ok_or_else(|| self.error("complete the escape with digits"))?;
            number = number.saturating_mul(radix).saturating_add(digit);
        }
        char::from_u32(number).ok_or_else(|| self.error("escape a character that exists"))
    }

    fn error(&self, message: &str) -> ExpressionError {
        super::cursor::error(self.source, self.at, message)
    }
}
