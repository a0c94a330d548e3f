//! The walk over a checked expression. Each visit is paid for before it is made.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Bindings;
use super::budget::{ALLOCATION, Budget, Fault};
use super::function;
use super::node::{Literal, Macro, Node};
use super::operate;
use super::value::{Evaluated, List, Map, Val};

pub(super) fn evaluate<'a>(
    node: &'a Node,
    bindings: &Bindings<'a>,
    budget: &mut Budget,
) -> Result<Val<'a>, Fault<'a>> {
    let mut evaluation = Evaluation {
        bindings: *bindings,
        budget,
        locals: Vec::new(),
    };
    evaluation.node(node)
}

struct Evaluation<'a, 'b> {
    bindings: Bindings<'a>,
    budget: &'b mut Budget,
    /// The loop variables, outermost first.
    locals: Vec<Val<'a>>,
}

impl<'a> Evaluation<'a, '_> {
    fn node(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.budget.charge(1)?;
        match node {
            Node::Literal(literal) => Ok(value_of(literal)),
            Node::Root(root) => {
                let value = self.bindings.root(*root).map(Val::of);
                value.ok_or(Fault::Other("the variable has no value here"))
            }
            Node::Local(depth) => {
                let value = self.locals.get(*depth).cloned();
                Ok(value.expect("checked: the macro of this variable encloses it"))
            }
            Node::Select { operand, field } => {
                let map = self.map(operand, "selection")?;
                map.get(field).ok_or(Fault::Missing(field))
            }
            Node::Has { operand, field } => {
                let map = self.map(operand, "has()")?;
                Ok(Val::Bool(map.contains(field)))
            }
            Node::Index { operand, index } => self.index(operand, index),
            Node::Not(operand) => self.bool(operand, "!").map(|value| Val::Bool(!value)),
            Node::Negate(operand) => operate::negate(&self.node(operand)?),
            Node::And(operands) => self.logical("&&", operands, false),
            Node::Or(operands) => self.logical("||", operands, true),
            Node::Conditional(branches) => {
                let [condition, then, otherwise] = &**branches;
                if self.bool(condition, "?")? {
                    self.node(then)
                } else {
                    self.node(otherwise)
                }
            }
            Node::Binary {
                operator,
                left,
                right,
            } => {
                let left = self.node(left)?;
                let right = self.node(right)?;
                operate::binary(*operator, &left, &right, self.budget)
            }
            Node::List(items) => {
                self.budget.charge(ALLOCATION)?;
                let items = items.iter().map(|item| self.node(item));
                items.collect::<Result<_, _>>().map(Val::list)
            }
            Node::Map(entries) => self.build_map(entries),
            Node::Call {
                function,
                arguments,
            } => {
                let arguments = arguments.iter().map(|argument| self.node(argument));
                let arguments: Vec<Val<'a>> = arguments.collect::<Result<_, _>>()?;
                function::call(*function, &arguments, self.budget)
            }
            Node::Matches { text, pattern } => match self.node(text)? {
                Val::Text(text) => pattern.is_match(&text, self.budget).map(Val::Bool),
                other => Err(operate::unary("matches", &other)),
            },
            Node::Macro {
                kind,
                range,
                condition,
                body,
            } => self.comprehension(*kind, range, condition.as_deref(), body),
        }
    }

    fn bool(&mut self, node: &'a Node, operation: &'static str) -> Result<bool, Fault<'a>> {
        match self.node(node)? {
            Val::Bool(value) => Ok(value),
            other => Err(operate::unary(operation, &other)),
        }
    }

    fn map(&mut self, node: &'a Node, operation: &'static str) -> Result<Map<'a>, Fault<'a>> {
        match self.node(node)? {
            Val::Map(map) => Ok(map),
            other => Err(operate::unary(operation, &other)),
        }
    }

    fn index(&mut self, operand: &'a Node, index: &'a Node) -> Evaluated<'a> {
        let operand = self.node(operand)?;
        let index = self.node(index)?;
        match (&operand, &index) {
            (Val::List(items), Val::Int(index)) => {
                let item = usize::try_from(*index).ok().and_then(|i| items.get(i));
                item.ok_or(Fault::Missing("an item of the list"))
            }
            (Val::Map(entries), Val::Text(key)) => {
                self.budget.charge_text(key.len())?;
                // The key may be the value of a claim, so it is not named.
                entries.get(key).ok_or(Fault::Missing("the computed key"))
            }
            _ => Err(operate::mismatch("[]", &operand, &index)),
        }
    }

    fn logical(
        &mut self,
        operation: &'static str,
        operands: &'a [Node],
        decisive: bool,
    ) -> Evaluated<'a> {
        let mut outcome = Ok(!decisive);
        for operand in operands {
            let value = self.bool(operand, operation);
            if decides(value, decisive, &mut outcome) {
                break;
            }
        }
        outcome.map(Val::Bool)
    }

    fn build_map(&mut self, entries: &'a [(Node, Node)]) -> Evaluated<'a> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            self.budget.charge(ALLOCATION)?;
            let key = match self.node(key)? {
                Val::Text(key) => key,
                other => return Err(operate::unary("a map key", &other)),
            };
            let value = self.node(value)?;
            self.budget.charge_text(key.len())?;
            if map.insert(Rc::from(&*key), value).is_some() {
                return Err(Fault::Other("a key stands twice in the map"));
            }
        }
        Ok(Val::Map(Map::Built(Rc::new(map))))
    }

    fn comprehension(
        &mut self,
        kind: Macro,
        range: &'a Node,
        condition: Option<&'a Node>,
        body: &'a Node,
    ) -> Evaluated<'a> {
        let items = match self.node(range)? {
            Val::List(items) => items,
            Val::Map(entries) => {
                self.budget.charge(entries.len())?;
                List::Built(Rc::new(entries.keys()))
            }
            other => return Err(operate::unary(kind.name(), &other)),
        };
        match kind {
            Macro::All => self.quantifier(kind, &items, body, false),
            Macro::Exists => self.quantifier(kind, &items, body, true),
            Macro::ExistsOne => {
                let mut count = 0_usize;
                for item in items.iter() {
                    if self.condition(kind, &item, body)? {
                        count += 1;
                    }
                }
                Ok(Val::Bool(count == 1))
            }
            Macro::Filter => {
                let mut kept = Vec::new();
                for item in items.iter() {
                    if self.condition(kind, &item, body)? {
                        kept.push(item);
                    }
                }
                Ok(Val::list(kept))
            }
            Macro::Map => {
                let mut mapped = Vec::new();
                for item in items.iter() {
                    if let Some(condition) = condition
                        && !self.condition(kind, &item, condition)?
                    {
                        continue;
                    }
                    mapped.push(self.with_local(item, body)?);
                }
                Ok(Val::list(mapped))
            }
        }
    }

    /// `all` and `exists` are a chain of `&&` and of `||`.
    fn quantifier(
        &mut self,
        kind: Macro,
        items: &List<'a>,
        body: &'a Node,
        decisive: bool,
    ) -> Evaluated<'a> {
        let mut outcome = Ok(!decisive);
        for item in items.iter() {
            let value = self.condition(kind, &item, body);
            if decides(value, decisive, &mut outcome) {
                break;
            }
        }
        outcome.map(Val::Bool)
    }

    fn condition(
        &mut self,
        kind: Macro,
        item: &Val<'a>,
        body: &'a Node,
    ) -> Result<bool, Fault<'a>> {
        match self.with_local(item.clone(), body)? {
            Val::Bool(value) => Ok(value),
            _ => Err(Fault::Unary {
                operation: kind.name(),
                on: "a condition that is no bool",
            }),
        }
    }

    fn with_local(&mut self, item: Val<'a>, body: &'a Node) -> Evaluated<'a> {
        self.budget.charge(1)?;
        self.locals.push(item);
        let value = self.node(body);
        self.locals.pop();
        value
    }
}

/// One more operand of `&&` or `||`: one that decides makes up for an error of another, but never
/// for spent steps.
fn decides<'a>(
    value: Result<bool, Fault<'a>>,
    decisive: bool,
    outcome: &mut Result<bool, Fault<'a>>,
) -> bool {
    let is_final = value == Ok(decisive) || value == Err(Fault::Budget);
    if is_final || (value.is_err() && outcome.is_ok()) {
        *outcome = value;
    }
    is_final
}

fn value_of(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::Text(text) => Val::borrowed(text),
    }
}
