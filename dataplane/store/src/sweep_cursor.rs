//! Sweeping over a table in the order of its keys, a bounded number of rows at a time: what both
//! stores' sweeps do with what they have looked at.

/// How long an expired session is still known, so that the reuse of its refresh tokens is recognised.
pub(super) const SESSION_KEPT_SECONDS: i64 = 24 * 3600;

/// Ids of sessions begin with the time of their making, in milliseconds: from this one on none can
/// have been over for long enough. So however fast sessions are made, a sweep need not keep up with
/// those of the last day.
pub(super) fn too_young(now: i64) -> [u8; 16] {
    let made = now.saturating_sub(SESSION_KEPT_SECONDS);
    let milliseconds = u64::try_from(made).unwrap_or(0).saturating_mul(1000);
    let mut id = [0; 16];
    id[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
    id
}

/// The rows to delete, at most `room`, and the row to go on after; none after the table's last. `looked_max` is how many rows one look
/// gives where there are as many.
pub(super) fn choose<R>(
    looked: &[R],
    looked_max: usize,
    room: usize,
    is_over: impl Fn(&R) -> bool,
) -> (Vec<&R>, Option<&R>) {
    let chosen: Vec<&R> = looked
        .iter()
        .filter(|row| is_over(row))
        .take(room)
        .collect();
    let next = if chosen.len() == room {
        // More of what was looked at may be over: go on from the last that is deleted.
        chosen.last().copied()
    } else {
        looked.get(looked_max.saturating_sub(1))
    };
    (chosen, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_the_last_day_are_too_young() {
        let now: i64 = 1_800_000_000;
        let made = |at: i64| {
            let milliseconds = u64::try_from(at).expect("after 1970") * 1000;
            uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
        };
        let bound = uuid::Uuid::from_bytes(too_young(now));
        assert!(made(now - SESSION_KEPT_SECONDS - 1) < bound);
        assert!(made(now - SESSION_KEPT_SECONDS) >= bound);
        assert!(made(now) >= bound);
        assert_eq!(too_young(0), [0; 16]);
    }

    #[test]
    fn a_round_goes_on_where_it_must_and_ends_at_the_last_row() {
        let is_odd = |row: &u8| row % 2 == 1;
        for (looked, room, chosen, next) in [
            // All that is over fits, and the look was full: after its last row.
            (&[1, 2, 3, 4][..], 3, &[1, 3][..], Some(4)),
            // It does not fit: after the last that is deleted.
            (&[1, 2, 3, 5], 2, &[1, 3], Some(3)),
            // The table's end.
            (&[1, 2], 3, &[1], None),
            (&[], 3, &[], None),
        ] {
            let (found, after) = choose(looked, 4, room, is_odd);
            assert_eq!(found, chosen.iter().collect::<Vec<_>>(), "{looked:?}");
            assert_eq!(after.copied(), next, "{looked:?}");
        }
    }
}
