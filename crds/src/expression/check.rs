//! Syntax tree to [`Node`]: what is wrong with an expression whatever the claims is found here, at apply and not at a
//! sign-in.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::function::{self, Function};
use super::node::{Arithmetic, Literal, Macro, Node, Operator, Order, Root};
use super::pattern::Pattern;
use super::{ExpressionError, Scope, bounded};

pub const MACRO_NESTING_MAX: usize = 2;

/// Chains such as `a.b.c` and `a + b + c` nest in the tree, though not in brackets.
const DEPTH_MAX: usize = 64;

pub(super) fn check(tree: &IdedExpr, scope: Scope) -> Result<Node, ExpressionError> {
    let mut checker = Checker {
        scope,
        locals: Vec::new(),
        depth: 0,
    };
    checker.node(tree)
}

struct Checker<'t> {
    scope: Scope,
    locals: Vec<&'t str>,
    depth: usize,
}

impl<'t> Checker<'t> {
    fn node(&mut self, tree: &'t IdedExpr) -> Result<Node, ExpressionError> {
        if self.depth == DEPTH_MAX {
            return Err(ExpressionError::TooDeep);
        }
        self.depth += 1;
        let node = self.node_at_depth(tree);
        self.depth -= 1;
        node
    }

    fn node_at_depth(&mut self, tree: &'t IdedExpr) -> Result<Node, ExpressionError> {
        match &tree.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Literal(value) => literal(value).map(Node::Literal),
            Expr::Select(select) => Ok(Node::Select {
                operand: self.boxed(&select.operand)?,
                field: select.field.clone(),
            }),
            Expr::List(list) => self.nodes(&list.elements).map(Node::List),
            Expr::Map(map) => {
                let entries = map.entries.iter().map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        Ok((self.node(&entry.key)?, self.node(&entry.value)?))
                    }
                    EntryExpr::StructField(_) => Err(ExpressionError::Unsupported("the message")),
                });
                entries.collect::<Result<_, _>>().map(Node::Map)
            }
            Expr::Call(call) => self.call(call),
            Expr::Struct(_) => Err(ExpressionError::Unsupported("the message")),
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(ExpressionError::Unsupported("this form"))
            }
        }
    }

    fn boxed(&mut self, tree: &'t IdedExpr) -> Result<Box<Node>, ExpressionError> {
        self.node(tree).map(Box::new)
    }

    fn nodes(&mut self, trees: &'t [IdedExpr]) -> Result<Vec<Node>, ExpressionError> {
        trees.iter().map(|tree| self.node(tree)).collect()
    }

    fn variable(&self, name: &str) -> Result<Node, ExpressionError> {
        if let Some(local) = self.locals.iter().rposition(|local| *local == name) {
            return Ok(Node::Local(local));
        }
        if let Some(root) = root(name, self.scope) {
            return Ok(Node::Root(root));
        }
        Err(ExpressionError::UnknownVariable {
            name: bounded(name),
            known: match self.scope {
                Scope::Claims => "`claims`",
                Scope::Extra => "`user`, `claims` and `provider`",
            },
        })
    }

    fn call(&mut self, call: &'t CallExpr) -> Result<Node, ExpressionError> {
        match (&call.target, call.args.as_slice()) {
            (Some(target), arguments) => self.member_call(&call.func_name, target, arguments),
            (None, [operand]) if call.func_name == operators::LOGICAL_NOT => {
                self.boxed(operand).map(Node::Not)
            }
            (None, [operand]) if call.func_name == operators::NEGATE => {
                self.boxed(operand).map(Node::Negate)
            }
            (None, [condition, then, otherwise]) if call.func_name == operators::CONDITIONAL => {
                Ok(Node::Conditional {
                    condition: self.boxed(condition)?,
                    then: self.boxed(then)?,
                    otherwise: self.boxed(otherwise)?,
                })
            }
            (None, [left, right]) if call.func_name == operators::LOGICAL_AND => {
                Ok(Node::And(self.boxed(left)?, self.boxed(right)?))
            }
            (None, [left, right]) if call.func_name == operators::LOGICAL_OR => {
                Ok(Node::Or(self.boxed(left)?, self.boxed(right)?))
            }
            (None, [operand, index]) if call.func_name == operators::INDEX => {
                self.index(operand, index)
            }
            (None, [operand]) if call.func_name == operators::HAS => self.has(operand),
            (None, arguments) => {
                if let (Some(operator), [left, right]) = (operator(&call.func_name), arguments) {
                    return Ok(Node::Binary {
                        operator,
                        left: self.boxed(left)?,
                        right: self.boxed(right)?,
                    });
                }
                let function = function::global(&call.func_name, arguments.len())?;
                self.function(function, None, arguments)
            }
        }
    }

    /// `claims['hd']` is `claims.hd`: a constant key costs no evaluation, and its name can stand in an error.
    fn index(
        &mut self,
        operand: &'t IdedExpr,
        index: &'t IdedExpr,
    ) -> Result<Node, ExpressionError> {
        let operand = self.boxed(operand)?;
        if let Expr::Literal(LiteralValue::String(field)) = &index.expr {
            let field = field.inner().to_owned();
            return Ok(Node::Select { operand, field });
        }
        let index = self.boxed(index)?;
        Ok(Node::Index { operand, index })
    }

    fn has(&mut self, operand: &'t IdedExpr) -> Result<Node, ExpressionError> {
        let Expr::Select(select) = &operand.expr else {
            let usage = "has(claims.name)` or `'name' in claims";
            return Err(ExpressionError::Usage { usage });
        };
        Ok(Node::Has {
            operand: self.boxed(&select.operand)?,
            field: select.field.clone(),
        })
    }

    fn member_call(
        &mut self,
        name: &str,
        target: &'t IdedExpr,
        arguments: &'t [IdedExpr],
    ) -> Result<Node, ExpressionError> {
        if let Some(kind) = macro_named(name) {
            return self.comprehension(kind, target, arguments);
        }
        if name == "matches" {
            return self.matches(target, arguments);
        }
        let function = function::member(name, arguments.len())?;
        self.function(function, Some(target), arguments)
    }

    fn function(
        &mut self,
        function: Function,
        target: Option<&'t IdedExpr>,
        arguments: &'t [IdedExpr],
    ) -> Result<Node, ExpressionError> {
        let operands = target.into_iter().chain(arguments);
        let arguments = operands.map(|tree| self.node(tree));
        Ok(Node::Call {
            function,
            arguments: arguments.collect::<Result<_, _>>()?,
        })
    }

    fn matches(
        &mut self,
        target: &'t IdedExpr,
        arguments: &'t [IdedExpr],
    ) -> Result<Node, ExpressionError> {
        let [argument] = arguments else {
            let usage = "claims.name.matches('^pattern$')";
            return Err(ExpressionError::Usage { usage });
        };
        let Expr::Literal(LiteralValue::String(pattern)) = &argument.expr else {
            let reason = "write it as a literal, so that it is compiled once";
            return Err(ExpressionError::Pattern(reason.to_owned()));
        };
        Ok(Node::Matches {
            text: self.boxed(target)?,
            pattern: Pattern::parse(pattern.inner())?,
        })
    }

    fn comprehension(
        &mut self,
        kind: Macro,
        range: &'t IdedExpr,
        arguments: &'t [IdedExpr],
    ) -> Result<Node, ExpressionError> {
        let (variable, condition, body) = match (kind, arguments) {
            (_, [variable, body]) => (variable, None, body),
            (Macro::Map, [variable, condition, body]) => (variable, Some(condition), body),
            _ => return Err(usage(kind)),
        };
        let Expr::Ident(variable) = &variable.expr else {
            return Err(usage(kind));
        };
        if root(variable, self.scope).is_some() || self.locals.contains(&variable.as_str()) {
            return Err(ExpressionError::VariableTaken {
                name: bounded(variable),
            });
        }
        let range = self.boxed(range)?;
        if self.locals.len() == MACRO_NESTING_MAX {
            return Err(ExpressionError::MacroNesting);
        }
        self.locals.push(variable);
        let condition = condition.map(|tree| self.boxed(tree)).transpose()?;
        let body = self.boxed(body)?;
        self.locals.pop();
        Ok(Node::Macro {
            kind,
            range,
            condition,
            body,
        })
    }
}

fn root(name: &str, scope: Scope) -> Option<Root> {
    match (name, scope) {
        ("claims", Scope::Claims | Scope::Extra) => Some(Root::Claims),
        ("user", Scope::Extra) => Some(Root::User),
        ("provider", Scope::Extra) => Some(Root::Provider),
        _ => None,
    }
}

fn literal(value: &LiteralValue) -> Result<Literal, ExpressionError> {
    match value {
        LiteralValue::Null => Ok(Literal::Null),
        LiteralValue::Boolean(value) => Ok(Literal::Bool(*value.inner())),
        LiteralValue::Int(value) => Ok(Literal::Int(*value.inner())),
        LiteralValue::Double(value) => Ok(Literal::Double(*value.inner())),
        LiteralValue::String(value) => Ok(Literal::Text(value.inner().to_owned())),
        LiteralValue::UInt(_) => Err(ExpressionError::Unsupported("the `u` after the number")),
        LiteralValue::Bytes(_) => Err(ExpressionError::Unsupported("the `b` before the string")),
    }
}

fn operator(name: &str) -> Option<Operator> {
    match name {
        operators::ADD => Some(Operator::Arithmetic(Arithmetic::Add)),
        operators::SUBSTRACT => Some(Operator::Arithmetic(Arithmetic::Subtract)),
        operators::MULTIPLY => Some(Operator::Arithmetic(Arithmetic::Multiply)),
        operators::DIVIDE => Some(Operator::Arithmetic(Arithmetic::Divide)),
        operators::MODULO => Some(Operator::Arithmetic(Arithmetic::Remainder)),
        operators::LESS => Some(Operator::Order(Order::Less)),
        operators::LESS_EQUALS => Some(Operator::Order(Order::LessOrEqual)),
        operators::GREATER => Some(Operator::Order(Order::Greater)),
        operators::GREATER_EQUALS => Some(Operator::Order(Order::GreaterOrEqual)),
        operators::EQUALS => Some(Operator::Equal),
        operators::NOT_EQUALS => Some(Operator::NotEqual),
        operators::IN => Some(Operator::In),
        _ => None,
    }
}

fn macro_named(name: &str) -> Option<Macro> {
    match name {
        operators::ALL => Some(Macro::All),
        operators::EXISTS => Some(Macro::Exists),
        operators::EXISTS_ONE | "existsOne" => Some(Macro::ExistsOne),
        operators::MAP => Some(Macro::Map),
        operators::FILTER => Some(Macro::Filter),
        _ => None,
    }
}

fn usage(kind: Macro) -> ExpressionError {
    let usage = match kind {
        Macro::All => "claims.list.all(x, condition)",
        Macro::Exists => "claims.list.exists(x, condition)",
        Macro::ExistsOne => "claims.list.exists_one(x, condition)",
        Macro::Map => "claims.list.map(x, value)` or `claims.list.map(x, condition, value)",
        Macro::Filter => "claims.list.filter(x, condition)",
    };
    ExpressionError::Usage { usage }
}
