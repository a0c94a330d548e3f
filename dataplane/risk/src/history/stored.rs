//! A user's history as the store keeps it: a version, fixed fields, and the values of each kind.
//! Numbers are big-endian.

use super::{Kind, PlaceAt, Seen, UserHistory, VALUES_MAX};
use crate::Place;

const VERSION: u8 = 1;
/// The version, the number of sign-ins, and the time of the last.
pub(super) const HEAD_BYTES: usize = 1 + 4 + 8;

/// When the user signed in last; none for what this version cannot read.
pub(super) fn last_at(head: &[u8]) -> Option<i64> {
    let mut bytes = Bytes(head);
    let [VERSION] = bytes.take()? else {
        return None;
    };
    let _signins: [u8; 4] = bytes.take()?;
    Some(i64::from_be_bytes(bytes.take()?))
}

pub(super) fn encode(history: &UserHistory) -> Vec<u8> {
    let UserHistory {
        signins,
        last_at,
        hours,
        last_place,
        seen,
    } = history;
    let mut bytes = Vec::with_capacity(512);
    bytes.push(VERSION);
    bytes.extend(signins.to_be_bytes());
    bytes.extend(last_at.to_be_bytes());
    for hour in hours {
        bytes.extend(hour.to_be_bytes());
    }
    bytes.push(u8::from(last_place.is_some()));
    if let Some(PlaceAt { place, at }) = last_place {
        bytes.extend(place.latitude.to_be_bytes());
        bytes.extend(place.longitude.to_be_bytes());
        bytes.extend(at.to_be_bytes());
    }
    for values in seen {
        let values = &values[..values.len().min(VALUES_MAX)];
        bytes.push(u8::try_from(values.len()).unwrap_or(0));
        for Seen {
            value,
            count,
            last_at,
        } in values
        {
            bytes.extend(value.to_be_bytes());
            bytes.extend(count.to_be_bytes());
            bytes.extend(last_at.to_be_bytes());
        }
    }
    bytes
}

/// None for what this version cannot read.
pub(super) fn decode(bytes: &[u8]) -> Option<UserHistory> {
    let mut bytes = Bytes(bytes);
    let [VERSION] = bytes.take()? else {
        return None;
    };
    let mut history = UserHistory {
        signins: u32::from_be_bytes(bytes.take()?),
        last_at: i64::from_be_bytes(bytes.take()?),
        ..UserHistory::default()
    };
    for hour in &mut history.hours {
        *hour = u32::from_be_bytes(bytes.take()?);
    }
    history.last_place = match bytes.take()? {
        [0] => None,
        [1] => Some(PlaceAt {
            place: Place {
                latitude: f64::from_be_bytes(bytes.take()?),
                longitude: f64::from_be_bytes(bytes.take()?),
            },
            at: i64::from_be_bytes(bytes.take()?),
        }),
        [_] => return None,
    };
    for kind in Kind::ALL {
        let [count] = bytes.take()?;
        for _ in 0..count {
            history.seen[kind as usize].push(Seen {
                value: u64::from_be_bytes(bytes.take()?),
                count: u32::from_be_bytes(bytes.take()?),
                last_at: i64::from_be_bytes(bytes.take()?),
            });
        }
    }
    bytes.0.is_empty().then_some(history)
}

struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }
}
