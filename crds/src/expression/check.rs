//! Syntax tree to [`Node`]: what is wrong with an expression whatever the claims is found here, at
//! apply and not at a sign-in.

use super::function;
use super::node::{Literal, Macro, Node, Root};
use super::pattern::Pattern;
use super::syntax::Tree;
use super::{ExpressionError, Scope, bounded};

pub const MACRO_NESTING_MAX: usize = 2;

/// Chains such as `a.b.c` and `a + b + c` nest in the tree, though not in brackets.
pub const DEPTH_MAX: usize = 64;

pub(super) fn check(tree: &Tree, scope: Scope) -> Result<Node, ExpressionError> {
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
    fn node(&mut self, tree: &'t Tree) -> Result<Node, ExpressionError> {
        if self.depth == DEPTH_MAX {
            return Err(ExpressionError::TooDeep);
        }
        self.depth += 1;
        let node = self.node_at_depth(tree);
        self.depth -= 1;
        node
    }

    fn node_at_depth(&mut self, tree: &'t Tree) -> Result<Node, ExpressionError> {
        match tree {
            Tree::Name(name) => self.variable(name),
            Tree::Literal(literal) => Ok(Node::Literal(literal.clone())),
            Tree::Select { operand, field } => Ok(Node::Select {
                operand: self.boxed(operand)?,
                field: field.clone(),
            }),
            Tree::Index { operand, index } => self.index(operand, index),
            Tree::Not(operand) => self.boxed(operand).map(Node::Not),
            Tree::Negate(operand) => self.boxed(operand).map(Node::Negate),
            Tree::And(operands) => self.nodes(operands).map(Node::And),
            Tree::Or(operands) => self.nodes(operands).map(Node::Or),
            Tree::Conditional(branches) => {
                let [condition, then, otherwise] = &**branches;
                Ok(Node::Conditional(Box::new([
                    self.node(condition)?,
                    self.node(then)?,
                    self.node(otherwise)?,
                ])))
            }
            Tree::Binary {
                operator,
                left,
                right,
            } => Ok(Node::Binary {
                operator: *operator,
                left: self.boxed(left)?,
                right: self.boxed(right)?,
            }),
            Tree::List(items) => self.nodes(items).map(Node::List),
            Tree::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((self.node(key)?, self.node(value)?)));
                entries.collect::<Result<_, _>>().map(Node::Map)
            }
            Tree::Call {
                receiver: Some(receiver),
                function,
                arguments,
            } => self.member_call(function, receiver, arguments),
            Tree::Call {
                receiver: None,
                function,
                arguments,
            } => self.global_call(function, arguments),
        }
    }

    fn boxed(&mut self, tree: &'t Tree) -> Result<Box<Node>, ExpressionError> {
        self.node(tree).map(Box::new)
    }

    fn nodes(&mut self, trees: &'t [Tree]) -> Result<Vec<Node>, ExpressionError> {
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
                Scope::Rule => "`self`",
            },
        })
    }

    fn global_call(&mut self, name: &str, arguments: &'t [Tree]) -> Result<Node, ExpressionError> {
        if name == "has" {
            return self.has(arguments);
        }
        let function = match (name, self.scope) {
            ("duration", Scope::Rule) => function::duration(arguments.len()),
            _ => function::global(name, arguments.len()),
        }?;
        Ok(Node::Call {
            function,
            arguments: self.nodes(arguments)?,
        })
    }

    /// `claims['hd']` is `claims.hd`: a constant key costs no evaluation, and its name can stand in
    /// an error.
    fn index(&mut self, operand: &'t Tree, index: &'t Tree) -> Result<Node, ExpressionError> {
        let operand = self.boxed(operand)?;
        if let Tree::Literal(Literal::Text(field)) = index {
            let field = field.clone();
            return Ok(Node::Select { operand, field });
        }
        let index = self.boxed(index)?;
        Ok(Node::Index { operand, index })
    }

    fn has(&mut self, arguments: &'t [Tree]) -> Result<Node, ExpressionError> {
        let [Tree::Select { operand, field }] = arguments else {
            let usage = "has(claims.name)` or `'name' in claims";
            return Err(ExpressionError::Usage { usage });
        };
        Ok(Node::Has {
            operand: self.boxed(operand)?,
            field: field.clone(),
        })
    }

    fn member_call(
        &mut self,
        name: &str,
        receiver: &'t Tree,
        arguments: &'t [Tree],
    ) -> Result<Node, ExpressionError> {
        if let Some(kind) = macro_named(name) {
            return self.comprehension(kind, receiver, arguments);
        }
        if name == "matches" {
            return self.matches(receiver, arguments);
        }
        let function = function::member(name, arguments.len())?;
        let operands = std::iter::once(receiver).chain(arguments);
        let operands = operands.map(|tree| self.node(tree));
        Ok(Node::Call {
            function,
            arguments: operands.collect::<Result<_, _>>()?,
        })
    }

    fn matches(
        &mut self,
        receiver: &'t Tree,
        arguments: &'t [Tree],
    ) -> Result<Node, ExpressionError> {
        let [argument] = arguments else {
            let usage = "claims.name.matches('^pattern$')";
            return Err(ExpressionError::Usage { usage });
        };
        let Tree::Literal(Literal::Text(pattern)) = argument else {
            let reason = "write it as a literal, so that it is compiled once";
            return Err(ExpressionError::Pattern(reason.to_owned()));
        };
        Ok(Node::Matches {
            text: self.boxed(receiver)?,
            pattern: Box::new(Pattern::parse(pattern)?),
        })
    }

    fn comprehension(
        &mut self,
        kind: Macro,
        range: &'t Tree,
        arguments: &'t [Tree],
    ) -> Result<Node, ExpressionError> {
        let (variable, condition, body) = match (kind, arguments) {
            (_, [variable, body]) => (variable, None, body),
            (Macro::Map, [variable, condition, body]) => (variable, Some(condition), body),
            _ => return Err(usage(kind)),
        };
        let Tree::Name(variable) = variable else {
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
        // A rule is over one value, which is bound as the claims are.
        ("self", Scope::Rule) => Some(Root::Claims),
        _ => None,
    }
}

fn macro_named(name: &str) -> Option<Macro> {
    match name {
        "all" => Some(Macro::All),
        "exists" => Some(Macro::Exists),
        "exists_one" | "existsOne" => Some(Macro::ExistsOne),
        "map" => Some(Macro::Map),
        "filter" => Some(Macro::Filter),
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
