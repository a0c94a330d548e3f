//! What is remembered of sign-ins that succeeded: for each user, and for all users of a policy
//! together.

use super::{Context, Place};

mod stored;

/// Values of one kind that are remembered of a user: the ones seen last.
pub const VALUES_MAX: usize = 64;

/// How long a value is remembered that the user does not show again.
const KEPT_SECONDS: i64 = 366 * 86_400;

/// Bytes at the beginning of a stored history that hold its age.
pub const HEAD_BYTES: usize = stored::HEAD_BYTES;

/// Whether nothing of a stored history would be remembered any more, whatever its user showed;
/// `head` is how it begins. False for what this version cannot read.
pub fn is_forgotten(head: &[u8], now: i64) -> bool {
    stored::last_at(head).is_some_and(|last_at| last_at < now.saturating_sub(KEPT_SECONDS))
}

/// The kinds of values; the numbers are part of what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The address: all 32 bits of IPv4, the /64 of IPv6.
    Ip,
    /// The network's operator.
    Asn,
    Country,
    /// The user agent, letter for letter.
    Agent,
    /// With its major version.
    Browser,
    /// With its version.
    Os,
    DeviceType,
    /// Browser, system and type of device without their versions: a device stays itself through
    /// updates.
    Device,
}

impl Kind {
    pub const ALL: [Self; Self::COUNT] = [
        Self::Ip,
        Self::Asn,
        Self::Country,
        Self::Agent,
        Self::Browser,
        Self::Os,
        Self::DeviceType,
        Self::Device,
    ];
    pub const COUNT: usize = 8;

    /// None for what this version does not know.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserHistory {
    pub signins: u32,
    pub last_at: i64,
    /// Sign-ins by the hour of the day, UTC.
    pub hours: [u32; 24],
    pub last_place: Option<PlaceAt>,
    seen: [Vec<Seen>; Kind::COUNT],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaceAt {
    pub place: Place,
    pub at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    value: u64,
    count: u32,
    last_at: i64,
}

impl UserHistory {
    /// As the store keeps it.
    pub fn encode(&self) -> Vec<u8> {
        stored::encode(self)
    }

    /// None for what this version cannot read.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        stored::decode(bytes)
    }

    pub fn count(&self, kind: Kind, value: u64) -> u32 {
        let seen = self.seen[kind as usize].iter();
        seen.filter(|seen| seen.value == value)
            .map(|seen| seen.count)
            .sum()
    }

    pub fn has_any(&self, kind: Kind) -> bool {
        !self.seen[kind as usize].is_empty()
    }

    /// Whether the user signs in at about this time of the day: an hour more or less is the same
    /// habit.
    pub fn knows_hour(&self, now: i64) -> bool {
        let hour = hour(now);
        [23, 0, 1]
            .iter()
            .any(|offset| self.hours[(hour + offset) % 24] > 0)
    }

    /// The history after this sign-in.
    pub fn with(mut self, context: &Context) -> Self {
        self.signins = self.signins.saturating_add(1);
        self.last_at = self.last_at.max(context.now);
        let hour = &mut self.hours[hour(context.now)];
        *hour = hour.saturating_add(1);
        if let Some(place) = context.place {
            self.last_place = Some(PlaceAt {
                place,
                at: context.now,
            });
        }
        for (seen, value) in self.seen.iter_mut().zip(context.values.0) {
            if let Some(value) = value {
                see(seen, value, context.now);
            }
            seen.retain(|seen| seen.last_at >= context.now.saturating_sub(KEPT_SECONDS));
        }
        self
    }
}

/// What was seen longest ago makes room.
fn see(seen: &mut Vec<Seen>, value: u64, now: i64) {
    if let Some(known) = seen.iter_mut().find(|known| known.value == value) {
        known.count = known.count.saturating_add(1);
        known.last_at = known.last_at.max(now);
        return;
    }
    if seen.len() >= VALUES_MAX
        && let Some((oldest, _)) = seen.iter().enumerate().min_by_key(|(_, seen)| seen.last_at)
    {
        seen.swap_remove(oldest);
    }
    seen.push(Seen {
        value,
        count: 1,
        last_at: now,
    });
}

fn hour(now: i64) -> usize {
    usize::try_from(now.rem_euclid(86_400) / 3600).unwrap_or(0)
}

/// All users of a policy, as far as it concerns one sign-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Population {
    pub users: u64,
    pub signins: u64,
    /// By [`Kind`].
    pub popularity: [Popularity; Kind::COUNT],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Popularity {
    /// Sign-ins with the value of this sign-in.
    pub count: u64,
    /// Values that there were.
    pub distinct: u64,
}

impl Population {
    pub fn of(&self, kind: Kind) -> Popularity {
        self.popularity[kind as usize]
    }
}
