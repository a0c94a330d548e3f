//! How many connections the process has file descriptors for: without one left, no database, key or
//! probe is reached.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors of everything that is no connection of a listener: database, files, providers, logs.
const OTHERS: usize = 256;

/// Raises the limit of open files as far as the process may, and returns how many connections of
/// `wanted` fit in addition to those of other listeners.
pub fn connections_max(wanted: usize, other_listeners: usize) -> usize {
    let reserved = OTHERS + other_listeners;
    let files = raised(wanted.saturating_add(reserved));
    let fitting = fitting(wanted, reserved, files);
    if fitting < wanted {
        tracing::warn!(
            connections = fitting,
            files,
            "the limit of open files (RLIMIT_NOFILE) has no room for --max-connections: fewer are served"
        );
    }
    fitting
}

/// The limit in force; none where it is not known.
fn raised(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let Some(current) = limit.current else {
        return usize::MAX;
    };
    let reachable = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    if current < reachable {
        limit.current = Some(reachable);
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return usize::try_from(reachable).unwrap_or(usize::MAX);
        }
    }
    usize::try_from(current).unwrap_or(usize::MAX)
}

/// At least one in eight of the descriptors serves connections, however few there are.
fn fitting(wanted: usize, reserved: usize, files: usize) -> usize {
    wanted
        .min(files.saturating_sub(reserved).max(files / 8))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(fitting(10_000, 512, 1_048_576), 10_000);
        assert_eq!(fitting(10_000, 512, 10_512), 10_000);
        assert_eq!(fitting(10_000, 512, 1024), 512);
        assert_eq!(fitting(10_000, 512, 256), 32);
        assert_eq!(fitting(0, 512, 0), 1);
    }
}
