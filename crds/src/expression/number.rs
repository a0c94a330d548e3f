//! Arithmetic and order of CEL numbers: nothing wraps, and numbers of different types compare by
//! value.

use std::cmp::Ordering;

use super::budget::Fault;
use super::node::Arithmetic;

pub(super) const OUT_OF_RANGE: Fault<'static> = Fault::Other("the number is out of range");

pub(super) fn int(operator: Arithmetic, left: i64, right: i64) -> Result<i64, Fault<'static>> {
    let result = match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide | Arithmetic::Remainder if right == 0 => {
            return Err(Fault::Other("division by zero"));
        }
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
    };
    result.ok_or(OUT_OF_RANGE)
}

/// IEEE 754, so it never fails; but CEL has no remainder of doubles.
pub(super) fn double(operator: Arithmetic, left: f64, right: f64) -> Option<f64> {
    match operator {
        Arithmetic::Add => Some(left + right),
        Arithmetic::Subtract => Some(left - right),
        Arithmetic::Multiply => Some(left * right),
        Arithmetic::Divide => Some(left / right),
        Arithmetic::Remainder => None,
    }
}

/// By value and without rounding: 2^53 + 1 differs from the double 2^53. `None` for a NaN.
pub(super) fn compare_with_double(left: i128, right: f64) -> Option<Ordering> {
    const BEYOND_EVERY_INTEGER: f64 = 1e20;
    if right.is_nan() {
        return None;
    }
    if right >= BEYOND_EVERY_INTEGER {
        return Some(Ordering::Less);
    }
    if right <= -BEYOND_EVERY_INTEGER {
        return Some(Ordering::Greater);
    }
    let whole = right.trunc() as i128;
    let fraction = 0.0_f64.partial_cmp(&right.fract())?;
    Some(left.cmp(&whole).then(fraction))
}

/// Towards zero, as CEL's `int(double)`.
pub(super) fn truncate(value: f64) -> Option<i64> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    // False for a NaN. The lower bound itself is an i64, yet CEL refuses it too.
    let fits = value > -TWO_TO_63 && value < TWO_TO_63;
    fits.then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_and_division_by_zero_are_faults() {
        assert_eq!(int(Arithmetic::Add, i64::MAX, 1), Err(OUT_OF_RANGE));
        assert_eq!(int(Arithmetic::Divide, i64::MIN, -1), Err(OUT_OF_RANGE));
        assert_eq!(int(Arithmetic::Remainder, i64::MIN, -1), Err(OUT_OF_RANGE));
        let by_zero = Err(Fault::Other("division by zero"));
        assert_eq!(int(Arithmetic::Remainder, 1, 0), by_zero);
        assert_eq!(int(Arithmetic::Divide, 7, 2), Ok(3));
    }

    #[test]
    fn integers_and_doubles_compare_by_value() {
        let two_to_53 = 9_007_199_254_740_992.0;
        for (left, right, order) in [
            (1, 1.0, Some(Ordering::Equal)),
            (1, 1.5, Some(Ordering::Less)),
            (-1, -1.5, Some(Ordering::Greater)),
            (9_007_199_254_740_993, two_to_53, Some(Ordering::Greater)),
            (i128::from(u64::MAX), f64::INFINITY, Some(Ordering::Less)),
            (0, f64::NEG_INFINITY, Some(Ordering::Greater)),
            (0, f64::NAN, None),
        ] {
            assert_eq!(compare_with_double(left, right), order, "{left} {right}");
        }
    }

    #[test]
    fn a_double_outside_the_integers_is_not_truncated() {
        assert_eq!(truncate(-1.9), Some(-1));
        assert_eq!(truncate(f64::NAN), None);
        assert_eq!(truncate(9_223_372_036_854_775_808.0), None);
    }
}
