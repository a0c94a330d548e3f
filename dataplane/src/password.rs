//! The life of a local password. Pure: what is stored, the policy and the time in, what follows
//! out.
//!
//! E is when it expires, `changed_at` + `max_age`; intervals are closed on the left.
//!
//! | state | when | must be changed | warning | sign-in |
//! |---|---|---|---|---|
//! | none | there is no local password, or no `max_age` | no | | yes |
//! | valid | now < E − `warning_window` | no | | yes |
//! | expiring | E − `warning_window` ≤ now < E | no | `expiring` | yes |
//! | in grace | E ≤ now < E + `grace_period` | no | `expired_grace` | yes |
//! | expired | E + `grace_period` ≤ now | yes | `expired` | to change it |
//!
//! An administrator can require a change: then it must be changed, whatever the time says, and
//! there is no grace. In a policy without `spec.password` no user has a password, whatever is
//! stored.

pub mod hashing;

use vestibule_crds::duration::Duration;
use vestibule_crds::secret::Secret;
use vestibule_crds::snapshot::PasswordLife;

use vestibule_store::LocalPassword;

/// The shortest password (NIST SP 800-63B-4, section 3.1.1.2, for one that is not the only factor).
pub const CHARS_MIN: usize = 8;
/// The longest password, which bounds what is hashed.
pub const BYTES_MAX: usize = 256;
const DAY_SECONDS: i64 = 24 * 3600;

/// What a user's password allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub must_change: bool,
    /// Days, rounded up: 0 or less once it has expired.
    pub expires_in: Option<i64>,
    pub warning: Option<Warning>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    Expiring,
    ExpiredGrace,
    Expired,
}

impl Warning {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expiring => "expiring",
            Self::ExpiredGrace => "expired_grace",
            Self::Expired => "expired",
        }
    }
}

/// `life`: none where the policy has no passwords; what is stored of one means nothing then.
pub fn standing(
    password: Option<LocalPassword>,
    life: Option<&PasswordLife>,
    now: i64,
) -> Standing {
    let Some((
        LocalPassword {
            changed_at,
            must_change: demanded,
        },
        life,
    )) = password.zip(life)
    else {
        return Standing::default();
    };
    let Some(max_age) = life.max_age else {
        return Standing {
            must_change: demanded,
            ..Standing::default()
        };
    };
    let expires_at = changed_at.saturating_add(seconds(max_age));
    let warns_at = expires_at.saturating_sub(seconds(life.warning_window));
    let grace_ends_at = expires_at.saturating_add(seconds(life.grace_period));
    let warning = if now >= grace_ends_at {
        Some(Warning::Expired)
    } else if now >= expires_at {
        Some(Warning::ExpiredGrace)
    } else if now >= warns_at {
        Some(Warning::Expiring)
    } else {
        None
    };
    Standing {
        must_change: demanded || warning == Some(Warning::Expired),
        expires_in: Some(days_rounded_up(expires_at.saturating_sub(now))),
        warning,
    }
}

fn days_rounded_up(seconds: i64) -> i64 {
    seconds.div_euclid(DAY_SECONDS) + i64::from(seconds.rem_euclid(DAY_SECONDS) > 0)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// What holds for every new password, whether a user or an administrator sets it.
pub fn check_text(new: &Secret) -> Result<(), &'static str> {
    let text = new.expose();
    if text.chars().count() < CHARS_MIN {
        Err("it has less than 8 characters")
    } else if text.len() > BYTES_MAX {
        Err("it is longer than 256 bytes")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: i64 = 1_900_000_000;
    const MAX_AGE: i64 = 90 * DAY_SECONDS;
    const WARNING: i64 = 14 * DAY_SECONDS;
    const GRACE: i64 = 7 * DAY_SECONDS;
    const EXPIRES: i64 = CHANGED + MAX_AGE;

    fn life(max_age: Option<i64>, warning: i64, grace: i64) -> PasswordLife {
        let duration = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        PasswordLife {
            max_age: max_age.map(duration),
            warning_window: duration(warning),
            grace_period: duration(grace),
        }
    }

    fn at(now: i64, must_change: bool, life: &PasswordLife) -> (bool, Option<i64>, &'static str) {
        let password = LocalPassword {
            changed_at: CHANGED,
            must_change,
        };
        let Standing {
            must_change,
            expires_in,
            warning,
        } = standing(Some(password), Some(life), now);
        (must_change, expires_in, warning.map_or("", Warning::name))
    }

    #[test]
    fn each_state_begins_at_its_instant() {
        let life = life(Some(MAX_AGE), WARNING, GRACE);
        for (now, expected) in [
            (CHANGED - 1, (false, Some(91), "")),
            (CHANGED, (false, Some(90), "")),
            (CHANGED + 1, (false, Some(90), "")),
            (EXPIRES - WARNING - 1, (false, Some(15), "")),
            (EXPIRES - WARNING, (false, Some(14), "expiring")),
            (EXPIRES - DAY_SECONDS, (false, Some(1), "expiring")),
            (EXPIRES - 1, (false, Some(1), "expiring")),
            (EXPIRES, (false, Some(0), "expired_grace")),
            (EXPIRES + 1, (false, Some(0), "expired_grace")),
            (EXPIRES + DAY_SECONDS, (false, Some(-1), "expired_grace")),
            (EXPIRES + GRACE - 1, (false, Some(-6), "expired_grace")),
            (EXPIRES + GRACE, (true, Some(-7), "expired")),
            (EXPIRES + 1000 * DAY_SECONDS, (true, Some(-1000), "expired")),
        ] {
            assert_eq!(at(now, false, &life), expected, "{}", now - EXPIRES);
        }
    }

    #[test]
    fn a_demanded_change_wins_and_has_no_grace() {
        let life = life(Some(MAX_AGE), WARNING, GRACE);
        for (now, expected) in [
            (CHANGED, (true, Some(90), "")),
            (EXPIRES - 1, (true, Some(1), "expiring")),
            (EXPIRES, (true, Some(0), "expired_grace")),
            (EXPIRES + GRACE, (true, Some(-7), "expired")),
        ] {
            assert_eq!(at(now, true, &life), expected, "{}", now - EXPIRES);
        }
    }

    #[test]
    fn without_an_age_nothing_expires_and_a_change_can_be_demanded() {
        let life = life(None, WARNING, GRACE);
        assert_eq!(at(i64::MAX, false, &life), (false, None, ""));
        assert_eq!(at(CHANGED, true, &life), (true, None, ""));
    }

    #[test]
    fn without_a_password_there_is_nothing_to_say() {
        let life = life(Some(MAX_AGE), WARNING, GRACE);
        assert_eq!(standing(None, Some(&life), i64::MAX), Standing::default());
        let demanded = LocalPassword {
            changed_at: CHANGED,
            must_change: true,
        };
        assert_eq!(standing(Some(demanded), None, CHANGED), Standing::default());
    }

    #[test]
    fn no_grace_skips_its_state_and_no_window_never_warns() {
        let life = life(Some(MAX_AGE), 0, 0);
        assert_eq!(at(EXPIRES - 1, false, &life), (false, Some(1), ""));
        assert_eq!(at(EXPIRES, false, &life), (true, Some(0), "expired"));
    }

    #[test]
    fn a_window_of_the_whole_age_warns_from_the_first_second() {
        let life = life(Some(MAX_AGE), MAX_AGE, GRACE);
        assert_eq!(at(CHANGED, false, &life), (false, Some(90), "expiring"));
        assert_eq!(at(CHANGED - 1, false, &life), (false, Some(91), ""));
    }

    #[test]
    fn no_time_overflows() {
        let life = life(Some(i64::MAX), i64::MAX, i64::MAX);
        for now in [i64::MIN, 0, i64::MAX] {
            let _any = at(now, false, &life);
        }
    }
}
