//! The bound of refusals in the audit trail: the oldest go first, and what was accepted is never counted among them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Event;

/// How many refusals a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalBounds {
    pub rows_max: u64,
    /// Of the rows' contents; indices and pages that are not full come on top.
    pub bytes_max: u64,
}

impl Default for RefusalBounds {
    fn default() -> Self {
        Self {
            rows_max: 1_000_000,
            bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// Refusals are counted again when so small a part of the bound has been written.
const COUNT_PART: u64 = 64;
/// What a row takes apart from its texts: numbers, ids and what the database adds.
const ROW_BYTES: usize = 96;

impl Event {
    /// What a refusal takes in the table; none for what is kept.
    pub(super) fn refusal_bytes(&self) -> Option<i64> {
        if !self.is_refusal() {
            return None;
        }
        let texts = [
            self.kind.as_str(),
            self.outcome,
            &self.policy,
            &self.provider,
            &self.request_id,
            &self.network,
            &self.detail,
        ];
        let bytes = ROW_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        i64::try_from(bytes).ok()
    }
}

/// Refusals of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Kept {
    pub(super) fn exceeds(&self, bounds: &RefusalBounds) -> bool {
        self.rows > bounds.rows_max || self.bytes > bounds.bytes_max
    }

    /// How many rows to delete next, of at most `rows_max`: where the bytes are too many, rows of mean size.
    pub(super) fn excess(&self, bounds: &RefusalBounds, rows_max: usize) -> usize {
        let rows = self.rows.saturating_sub(bounds.rows_max);
        let mean = (self.bytes / self.rows.max(1)).max(1);
        let of_bytes = self.bytes.saturating_sub(bounds.bytes_max).div_ceil(mean);
        usize::try_from(rows.max(of_bytes))
            .unwrap_or(usize::MAX)
            .min(rows_max)
    }

    pub(super) fn less(&self, deleted: &Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(deleted.rows),
            bytes: self.bytes.saturating_sub(deleted.bytes),
        }
    }
}

/// What one process knows of the refusals between two counts.
#[derive(Debug)]
pub(super) struct Refusals {
    pub(super) bounds: RefusalBounds,
    rows: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Refusals {
    /// Counts at the first sweep: another process may have written before.
    pub(super) fn new(bounds: RefusalBounds) -> Self {
        Self {
            rows: AtomicU64::new(bounds.rows_max),
            bytes: AtomicU64::new(0),
            bounds,
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn written(&self, event: &Event) {
        if let Some(bytes) = event.refusal_bytes() {
            self.rows.fetch_add(1, Ordering::Relaxed);
            self.bytes
                .fetch_add(bytes.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// Whether enough was written to count again; the next count begins from nothing.
    pub(super) fn are_to_be_counted(&self) -> bool {
        let rows = self.rows.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let due =
            rows > self.bounds.rows_max / COUNT_PART || bytes > self.bounds.bytes_max / COUNT_PART;
        if due {
            self.rows.store(0, Ordering::Relaxed);
            self.bytes.store(0, Ordering::Relaxed);
        }
        due
    }

    /// The last count did not end within its bound: count again.
    pub(super) fn count_again(&self) {
        self.rows.store(u64::MAX / 2, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, rows: u64) {
        self.dropped.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn dropped_so_far(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::rows::{event, refusal};
    use crate::{EventClass, EventKind};

    #[test]
    fn refusals_alone_count() {
        for class in [EventClass::Accepted, EventClass::Incident] {
            let kept = Event { class, ..refusal() };
            assert_eq!((kept.is_refusal(), kept.refusal_bytes()), (false, None));
        }
        assert!(refusal().is_refusal());
    }

    #[test]
    fn the_excess_is_what_is_over_the_bound_of_rows_or_bytes() {
        let bounds = RefusalBounds {
            rows_max: 10,
            bytes_max: 1000,
        };
        for (rows, bytes, excess) in [
            (10, 1000, 0),
            (12, 900, 2),
            (10, 1250, 2),
            (500, 50_000, 100),
        ] {
            let kept = Kept { rows, bytes };
            assert_eq!(kept.excess(&bounds, 100), excess);
            assert_eq!(kept.exceeds(&bounds), excess > 0);
        }
    }

    #[test]
    fn refusals_are_counted_at_the_start_and_then_after_a_part_of_the_bound() {
        let refusals = Refusals::new(RefusalBounds {
            rows_max: 640,
            bytes_max: u64::MAX,
        });
        assert!(refusals.are_to_be_counted());
        assert!(!refusals.are_to_be_counted());
        for _ in 0..11 {
            refusals.written(&event(EventKind::Signin));
        }
        assert!(!refusals.are_to_be_counted(), "what is kept does not count");
        for _ in 0..11 {
            refusals.written(&refusal());
        }
        assert!(refusals.are_to_be_counted());
    }
}
