//! A checked expression: names resolved, functions known, patterns compiled. What can be wrong here
//! depends on the claims alone.

use std::cmp::Ordering;

use super::function::Function;
use super::pattern::Pattern;

#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Root(Root),
    /// The loop variable of the macro at this depth, the outermost being 0.
    Local(usize),
    Select {
        operand: Box<Self>,
        field: String,
    },
    Has {
        operand: Box<Self>,
        field: String,
    },
    Index {
        operand: Box<Self>,
        index: Box<Self>,
    },
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    /// The condition, the value where it is true, the value where it is false.
    Conditional(Box<[Self; 3]>),
    Binary {
        operator: Operator,
        left: Box<Self>,
        right: Box<Self>,
    },
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Call {
        function: Function,
        /// The receiver of a member call stands first.
        arguments: Vec<Self>,
    },
    Matches {
        text: Box<Self>,
        pattern: Box<Pattern>,
    },
    Macro {
        kind: Macro,
        range: Box<Self>,
        /// The condition of `map` with three arguments.
        condition: Option<Box<Self>>,
        body: Box<Self>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Claims,
    User,
    Provider,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Arithmetic(Arithmetic),
    Order(Order),
    Equal,
    NotEqual,
    In,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl Order {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Macro {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exists => "exists",
            Self::ExistsOne => "exists_one",
            Self::Map => "map",
            Self::Filter => "filter",
        }
    }
}
