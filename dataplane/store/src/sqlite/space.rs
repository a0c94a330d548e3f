//! Free space of the disk: below a reserve, refusals are no longer written, so that sign-ins still are.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

/// What is left to sign-ins: this much, or an eighth of a small disk.
const RESERVE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const RESERVE_PART: u64 = 8;
/// The disk is asked at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    looked: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    pub(super) fn of(file: &Path) -> Self {
        Self {
            folder: file.parent().unwrap_or(Path::new(".")).to_owned(),
            looked: Mutex::new(None),
        }
    }

    /// How many bytes of the reserve are used up; 0 where there is enough, or where nothing is known.
    pub(super) fn missing(&self) -> u64 {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, missing)) = *looked
            && at.elapsed() < LOOK_EVERY
        {
            return missing;
        }
        let missing = statvfs(&self.folder).map_or(0, |disk| {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            missing_of(bytes(disk.f_blocks), bytes(disk.f_bavail))
        });
        *looked = Some((Instant::now(), missing));
        missing
    }
}

fn missing_of(total: u64, free: u64) -> u64 {
    (total / RESERVE_PART)
        .min(RESERVE_BYTES_MAX)
        .saturating_sub(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_an_eighth_of_a_small_disk_and_bounded_on_a_large_one() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(missing_of(400 * MIB, 50 * MIB), 0);
        assert_eq!(missing_of(400 * MIB, 40 * MIB), 10 * MIB);
        assert_eq!(missing_of(1024 * 1024 * MIB, 64 * MIB), 0);
        assert_eq!(missing_of(1024 * 1024 * MIB, 0), 64 * MIB);
    }

    #[test]
    fn a_disk_that_cannot_be_asked_keeps_nothing_out() {
        assert_eq!(
            Space::of(Path::new("/nowhere/at/all/store.db")).missing(),
            0
        );
    }
}
