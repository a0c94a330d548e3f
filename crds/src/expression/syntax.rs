//! Text to syntax tree, after CEL's grammar (language definition, "Syntax").
//!
//! The parser of the `cel` crate takes 200 µs for the shortest expression, and ten thousand
//! providers have sixty thousand of them; this one takes one or two, and its recursion is bounded.
//! The tests hold it against that one.

mod cursor;
mod text;
mod token;
mod tree;

use super::ExpressionError;
use super::node::{Arithmetic, Literal, Operator, Order};
use cursor::Cursor;
use token::Kind;

pub(super) use tree::Tree;

pub const TEXT_BYTES_MAX: usize = 1024;

/// Brackets, arguments and conditions inside one another.
pub const NESTING_MAX: usize = 24;

pub(super) fn parse(text: &str) -> Result<Tree, ExpressionError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ExpressionError::TooLong { bytes: text.len() });
    }
    let mut parser = Parser {
        cursor: Cursor::over(text)?,
        nesting: 0,
    };
    let tree = parser.expression()?;
    match parser.cursor.peek() {
        Kind::End => Ok(tree),
        _ => Err(parser.cursor.unexpected("an operator")),
    }
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    nesting: usize,
}

type Parsed = Result<Tree, ExpressionError>;

impl<'t> Parser<'t> {
    fn expression(&mut self) -> Parsed {
        if self.nesting == NESTING_MAX {
            return Err(ExpressionError::TooDeep);
        }
        self.nesting += 1;
        let tree = self.conditional();
        self.nesting -= 1;
        tree
    }

    fn conditional(&mut self) -> Parsed {
        let condition = self.chain("||", Tree::Or, |parser| {
            parser.chain("&&", Tree::And, Self::relation)
        })?;
        if !self.cursor.take("?") {
            return Ok(condition);
        }
        let then = self.chain("||", Tree::Or, |parser| {
            parser.chain("&&", Tree::And, Self::relation)
        })?;
        self.cursor.expect(":")?;
        let otherwise = self.expression()?;
        Ok(Tree::Conditional(Box::new([condition, then, otherwise])))
    }

    fn chain(
        &mut self,
        sign: &str,
        joined: impl FnOnce(Vec<Tree>) -> Tree,
        mut operand: impl FnMut(&mut Self) -> Parsed,
    ) -> Parsed {
        let first = operand(self)?;
        if !self.cursor.sees(sign) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.cursor.take(sign) {
            operands.push(operand(self)?);
        }
        Ok(joined(operands))
    }

    fn relation(&mut self) -> Parsed {
        self.binary(Self::sum, |kind| match kind {
            Kind::Sign("<") => Some(Operator::Order(Order::Less)),
            Kind::Sign("<=") => Some(Operator::Order(Order::LessOrEqual)),
            Kind::Sign(">") => Some(Operator::Order(Order::Greater)),
            Kind::Sign(">=") => Some(Operator::Order(Order::GreaterOrEqual)),
            Kind::Sign("==") => Some(Operator::Equal),
            Kind::Sign("!=") => Some(Operator::NotEqual),
            Kind::Word("in") => Some(Operator::In),
            _ => None,
        })
    }

    fn sum(&mut self) -> Parsed {
        self.binary(Self::product, |kind| match kind {
            Kind::Sign("+") => Some(Operator::Arithmetic(Arithmetic::Add)),
            Kind::Sign("-") => Some(Operator::Arithmetic(Arithmetic::Subtract)),
            _ => None,
        })
    }

    fn product(&mut self) -> Parsed {
        self.binary(Self::unary, |kind| match kind {
            Kind::Sign("*") => Some(Operator::Arithmetic(Arithmetic::Multiply)),
            Kind::Sign("/") => Some(Operator::Arithmetic(Arithmetic::Divide)),
            Kind::Sign("%") => Some(Operator::Arithmetic(Arithmetic::Remainder)),
            _ => None,
        })
    }

    /// Operators of one precedence, which bind to the left.
    fn binary(
        &mut self,
        operand: impl Fn(&mut Self) -> Parsed,
        operator: impl Fn(&Kind<'_>) -> Option<Operator>,
    ) -> Parsed {
        let mut left = operand(self)?;
        while let Some(operator) = operator(self.cursor.peek()) {
            self.cursor.next();
            let right = operand(self)?;
            left = Tree::Binary {
                operator,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
        Ok(left)
    }

    /// As other implementations do it, two signs are none.
    fn unary(&mut self) -> Parsed {
        if self.cursor.sees("!") {
            let is_odd = self.cursor.take_all("!") % 2 == 1;
            let operand = if self.cursor.take("-") {
                let number = self.number("-")?;
                let number = number.ok_or_else(|| self.cursor.unexpected("a number"))?;
                self.suffixes(number)?
            } else {
                self.member()?
            };
            return Ok(if is_odd {
                Tree::Not(Box::new(operand))
            } else {
                operand
            });
        }
        let minuses = self.cursor.take_all("-");
        if minuses == 1
            && let Some(number) = self.number("-")?
        {
            return self.suffixes(number);
        }
        let operand = self.member()?;
        Ok(if minuses % 2 == 1 {
            Tree::Negate(Box::new(operand))
        } else {
            operand
        })
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut operand: Tree) -> Parsed {
        loop {
            if self.cursor.take("[") {
                let index = self.expression()?;
                self.cursor.expect("]")?;
                operand = Tree::Index {
                    operand: Box::new(operand),
                    index: Box::new(index),
                };
            } else if self.cursor.take(".") {
                let field = self.name()?.to_owned();
                operand = if self.cursor.take("(") {
                    Tree::Call {
                        receiver: Some(Box::new(operand)),
                        function: field,
                        arguments: self.list(")", Commas::Between)?,
                    }
                } else {
                    Tree::Select {
                        operand: Box::new(operand),
                        field,
                    }
                };
            } else {
                return Ok(operand);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        if let Some(number) = self.number("")? {
            return Ok(number);
        }
        if self.cursor.take("(") {
            let tree = self.expression()?;
            self.cursor.expect(")")?;
            return Ok(tree);
        }
        if self.cursor.take("[") {
            return self.list("]", Commas::BetweenAndLast).map(Tree::List);
        }
        if self.cursor.take("{") {
            return self.map();
        }
        // A name after a dot is one of the outermost scope, and we have no other.
        let is_outermost = self.cursor.take(".");
        match self.cursor.peek().clone() {
            Kind::Word(_) if is_outermost => self.name_or_call(),
            _ if is_outermost => Err(self.cursor.unexpected("a name")),
            Kind::Text(text) => {
                self.cursor.next();
                Ok(Tree::Literal(Literal::Text(text)))
            }
            Kind::Word("true") => self.literal(Literal::Bool(true)),
            Kind::Word("false") => self.literal(Literal::Bool(false)),
            Kind::Word("null") => self.literal(Literal::Null),
            Kind::Word(_) => self.name_or_call(),
            _ => Err(self.cursor.unexpected("a value")),
        }
    }

    fn name_or_call(&mut self) -> Parsed {
        if matches!(self.cursor.peek(), Kind::Word(word) if RESERVED.contains(word)) {
            return Err(self.cursor.unexpected("a value"));
        }
        let name = self.name()?.to_owned();
        if !self.cursor.take("(") {
            return Ok(Tree::Name(name));
        }
        Ok(Tree::Call {
            receiver: None,
            function: name,
            arguments: self.list(")", Commas::Between)?,
        })
    }

    fn literal(&mut self, literal: Literal) -> Parsed {
        self.cursor.next();
        Ok(Tree::Literal(literal))
    }

    /// A number with its sign, since the smallest integer has no positive twin.
    fn number(&mut self, sign: &str) -> Result<Option<Tree>, ExpressionError> {
        let literal = match *self.cursor.peek() {
            Kind::Double(value) if sign.is_empty() => Literal::Double(value),
            Kind::Double(value) => Literal::Double(-value),
            Kind::Int { digits, radix } => {
                let value = i64::from_str_radix(&format!("{sign}{digits}"), radix);
                Literal::Int(value.map_err(|_| self.cursor.error("write an integer of 64 bits"))?)
            }
            _ => return Ok(None),
        };
        self.literal(literal).map(Some)
    }

    fn list(&mut self, close: &str, commas: Commas) -> Result<Vec<Tree>, ExpressionError> {
        let mut items = Vec::new();
        if self.cursor.take(close) {
            return Ok(items);
        }
        if commas == Commas::BetweenAndLast && self.cursor.take(",") {
            self.cursor.expect(close)?;
            return Ok(items);
        }
        loop {
            items.push(self.expression()?);
            if self.cursor.take(close) {
                return Ok(items);
            }
            self.cursor.expect(",")?;
            if commas == Commas::BetweenAndLast && self.cursor.take(close) {
                return Ok(items);
            }
        }
    }

    fn map(&mut self) -> Parsed {
        let mut entries = Vec::new();
        if self.cursor.take(",") {
            self.cursor.expect("}")?;
            return Ok(Tree::Map(entries));
        }
        while !self.cursor.take("}") {
            let key = self.expression()?;
            self.cursor.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.cursor.sees("}") {
                self.cursor.expect(",")?;
            }
        }
        Ok(Tree::Map(entries))
    }

    fn name(&mut self) -> Result<&'t str, ExpressionError> {
        match *self.cursor.peek() {
            Kind::Word(word) if !KEYWORDS.contains(&word) => {
                self.cursor.next();
                Ok(word)
            }
            _ => Err(self.cursor.unexpected("a name")),
        }
    }
}

/// Whether a list may end with a comma. An empty one may, too (CEL language definition, grammar).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commas {
    Between,
    BetweenAndLast,
}

/// Never names.
const KEYWORDS: [&str; 4] = ["true", "false", "null", "in"];

/// Names of fields, but not of variables and functions.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
