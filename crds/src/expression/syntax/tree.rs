//! What was written, before its names are checked.

use crate::expression::node::{Literal, Operator};

#[derive(Debug, PartialEq)]
pub(in crate::expression) enum Tree {
    Literal(Literal),
    Name(String),
    Select {
        operand: Box<Self>,
        field: String,
    },
    Index {
        operand: Box<Self>,
        index: Box<Self>,
    },
    Call {
        receiver: Option<Box<Self>>,
        function: String,
        arguments: Vec<Self>,
    },
    Not(Box<Self>),
    Negate(Box<Self>),
    /// At least two: a chain is one node, so that a long one is not deep.
    And(Vec<Self>),
    Or(Vec<Self>),
    Conditional(Box<[Self; 3]>),
    Binary {
        operator: Operator,
        left: Box<Self>,
        right: Box<Self>,
    },
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}
