//! The walk over a checked expression. Each visit is paid for before it is made.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Bindings;
use super::budget::{ALLOCATION, Budget, Fault};
use super::function;
use super::node::{Arithmetic, Literal, Macro, Node, Operator, Order};
use super::number;
use super::value::{List, Map, Val};

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

type Evaluated<'a> = Result<Val<'a>, Fault<'a>>;

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
            Node::Negate(operand) => negate(&self.node(operand)?),
            Node::And(left, right) => self.logical(left, right, "&&", false),
            Node::Or(left, right) => self.logical(left, right, "||", true),
            Node::Conditional {
                condition,
                then,
                otherwise,
            } => {
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
                self.binary(*operator, &left, &right)
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
                other => Err(unary("matches", &other)),
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
            other => Err(unary(operation, &other)),
        }
    }

    fn map(&mut self, node: &'a Node, operation: &'static str) -> Result<Map<'a>, Fault<'a>> {
        match self.node(node)? {
            Val::Map(map) => Ok(map),
            other => Err(unary(operation, &other)),
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
            _ => Err(binary("[]", &operand, &index)),
        }
    }

    /// `&&` and `||`: a side that decides makes up for an error on the other, but never for spent steps.
    fn logical(
        &mut self,
        left: &'a Node,
        right: &'a Node,
        operation: &'static str,
        decisive: bool,
    ) -> Evaluated<'a> {
        let left = self.bool(left, operation);
        if left == Ok(decisive) || left == Err(Fault::Budget) {
            return left.map(Val::Bool);
        }
        let right = self.bool(right, operation)?;
        if right == decisive {
            return Ok(Val::Bool(decisive));
        }
        left.map(|_| Val::Bool(!decisive))
    }

    fn binary(&mut self, operator: Operator, left: &Val<'a>, right: &Val<'a>) -> Evaluated<'a> {
        match operator {
            Operator::Arithmetic(operator) => self.arithmetic(operator, left, right),
            Operator::Order(order) => self.order(order, left, right),
            Operator::Equal => left.equals(right, self.budget).map(Val::Bool),
            Operator::NotEqual => left
                .equals(right, self.budget)
                .map(|equal| Val::Bool(!equal)),
            Operator::In => self.contains(left, right),
        }
    }

    fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &Val<'a>,
        right: &Val<'a>,
    ) -> Evaluated<'a> {
        let mismatch = || binary(operator.sign(), left, right);
        match (left, right) {
            (Val::Int(left), Val::Int(right)) => {
                Ok(Val::Int(number::int(operator, *left, *right)?))
            }
            (Val::Double(left), Val::Double(right)) => number::double(operator, *left, *right)
                .map(Val::Double)
                .ok_or_else(mismatch),
            (Val::Text(left), Val::Text(right)) if operator == Arithmetic::Add => {
                self.budget.charge(ALLOCATION)?;
                self.budget.charge_text(left.len() + right.len())?;
                Ok(Val::text(&[&**left, &**right].concat()))
            }
            (Val::List(left), Val::List(right)) if operator == Arithmetic::Add => {
                self.budget.charge(left.len() + right.len())?;
                Ok(Val::list(left.iter().chain(right.iter()).collect()))
            }
            _ => Err(mismatch()),
        }
    }

    fn order(&mut self, order: Order, left: &Val<'a>, right: &Val<'a>) -> Evaluated<'a> {
        let ordering = match (left, right) {
            (Val::Text(left), Val::Text(right)) => {
                self.budget.charge_text(left.len().min(right.len()))?;
                Some(left.cmp(right))
            }
            (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
            // Not an error, as with every comparison of a NaN.
            (Val::Double(left), Val::Double(right)) if left.is_nan() || right.is_nan() => {
                return Ok(Val::Bool(false));
            }
            _ => left.compare_numbers(right),
        };
        let Some(ordering) = ordering else {
            return Err(binary(order.sign(), left, right));
        };
        Ok(Val::Bool(order.holds(ordering)))
    }

    fn contains(&mut self, item: &Val<'a>, container: &Val<'a>) -> Evaluated<'a> {
        match (item, container) {
            (_, Val::List(items)) => {
                for candidate in items.iter() {
                    self.budget.charge(1)?;
                    if candidate.equals(item, self.budget)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            (Val::Text(key), Val::Map(entries)) => {
                self.budget.charge_text(key.len())?;
                Ok(Val::Bool(entries.contains(key)))
            }
            _ => Err(binary("in", item, container)),
        }
    }

    fn build_map(&mut self, entries: &'a [(Node, Node)]) -> Evaluated<'a> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            self.budget.charge(ALLOCATION)?;
            let key = match self.node(key)? {
                Val::Text(key) => key,
                other => return Err(unary("a map key", &other)),
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
            other => return Err(unary(kind.name(), &other)),
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
        let mut fault = None;
        for item in items.iter() {
            match self.condition(kind, &item, body) {
                Ok(value) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Budget) => return Err(Fault::Budget),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        fault.map_or(Ok(Val::Bool(!decisive)), Err)
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

fn value_of(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::Text(text) => Val::borrowed(text),
    }
}

fn negate<'a>(value: &Val<'a>) -> Evaluated<'a> {
    match value {
        Val::Int(value) => value
            .checked_neg()
            .map(Val::Int)
            .ok_or(number::OUT_OF_RANGE),
        Val::Double(value) => Ok(Val::Double(-value)),
        other => Err(unary("-", other)),
    }
}

fn unary(operation: &'static str, value: &Val<'_>) -> Fault<'static> {
    Fault::Unary {
        operation,
        on: value.type_name(),
    }
}

fn binary(operation: &'static str, left: &Val<'_>, right: &Val<'_>) -> Fault<'static> {
    Fault::Binary {
        operation,
        left: left.type_name(),
        right: right.type_name(),
    }
}
