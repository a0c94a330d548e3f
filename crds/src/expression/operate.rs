//! The operators on values, after CEL's standard definitions.

use super::budget::{ALLOCATION, Budget, Fault};
use super::node::{Arithmetic, Operator, Order};
use super::number;
use super::value::{Evaluated, Val};

pub(super) fn binary<'a>(
    operator: Operator,
    left: &Val<'a>,
    right: &Val<'a>,
    budget: &mut Budget,
) -> Evaluated<'a> {
    match operator {
        Operator::Arithmetic(operator) => arithmetic(operator, left, right, budget),
        Operator::Order(order) => compare(order, left, right, budget),
        Operator::Equal => left.equals(right, budget).map(Val::Bool),
        Operator::NotEqual => left.equals(right, budget).map(|equal| Val::Bool(!equal)),
        Operator::In => contains(left, right, budget),
    }
}

fn arithmetic<'a>(
    operator: Arithmetic,
    left: &Val<'a>,
    right: &Val<'a>,
    budget: &mut Budget,
) -> Evaluated<'a> {
    let mismatched = || mismatch(operator.sign(), left, right);
    match (left, right) {
        (Val::Int(left), Val::Int(right)) => Ok(Val::Int(number::int(operator, *left, *right)?)),
        (Val::Double(left), Val::Double(right)) => number::double(operator, *left, *right)
            .map(Val::Double)
            .ok_or_else(mismatched),
        (Val::Text(left), Val::Text(right)) if operator == Arithmetic::Add => {
            budget.charge(ALLOCATION)?;
            budget.charge_text(left.len() + right.len())?;
            Ok(Val::text(&[&**left, &**right].concat()))
        }
        (Val::List(left), Val::List(right)) if operator == Arithmetic::Add => {
            budget.charge(left.len() + right.len())?;
            Ok(Val::list(left.iter().chain(right.iter()).collect()))
        }
        _ => Err(mismatched()),
    }
}

fn compare<'a>(
    order: Order,
    left: &Val<'a>,
    right: &Val<'a>,
    budget: &mut Budget,
) -> Evaluated<'a> {
    let ordering = match (left, right) {
        (Val::Text(left), Val::Text(right)) => {
            budget.charge_text(left.len().min(right.len()))?;
            Some(left.cmp(right))
        }
        (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
        // A NaN is in no order with any number, which is no error.
        (Val::Double(nan), other) | (other, Val::Double(nan))
            if nan.is_nan() && other.is_number() =>
        {
            return Ok(Val::Bool(false));
        }
        _ => left.compare_numbers(right),
    };
    let Some(ordering) = ordering else {
        return Err(mismatch(order.sign(), left, right));
    };
    Ok(Val::Bool(order.holds(ordering)))
}

fn contains<'a>(item: &Val<'a>, container: &Val<'a>, budget: &mut Budget) -> Evaluated<'a> {
    match (item, container) {
        (_, Val::List(items)) => {
            for candidate in items.iter() {
                budget.charge(1)?;
                if candidate.equals(item, budget)? {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
        (Val::Text(key), Val::Map(entries)) => {
            budget.charge_text(key.len())?;
            Ok(Val::Bool(entries.contains(key)))
        }
        // Keys of other types may be asked for; JSON has none.
        (Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_), Val::Map(_)) => {
            Ok(Val::Bool(false))
        }
        _ => Err(mismatch("in", item, container)),
    }
}

pub(super) fn negate<'a>(value: &Val<'a>) -> Evaluated<'a> {
    match value {
        Val::Int(value) => value
            .checked_neg()
            .map(Val::Int)
            .ok_or(number::OUT_OF_RANGE),
        Val::Double(value) => Ok(Val::Double(-value)),
        other => Err(unary("-", other)),
    }
}

pub(super) fn unary(operation: &'static str, value: &Val<'_>) -> Fault<'static> {
    Fault::Unary {
        operation,
        on: value.type_name(),
    }
}

pub(super) fn mismatch(operation: &'static str, left: &Val<'_>, right: &Val<'_>) -> Fault<'static> {
    Fault::Binary {
        operation,
        left: left.type_name(),
        right: right.type_name(),
    }
}
