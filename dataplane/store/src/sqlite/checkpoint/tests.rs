//! The table of checkpoints, and each of its steps on a real log.

use tempfile::TempDir;

use super::super::open::{self, Opened};
use super::*;

#[test]
fn short_log_is_left_alone() {
    assert_eq!(step(COPY_AFTER - 1, COPY_AFTER - 1, 0), Step::Nothing);
    assert_eq!(step(RESTART_AFTER - 1, COPY_AFTER - 1, 0), Step::Nothing);
}

#[test]
fn uncopied_frames_are_copied_by_the_second_thread() {
    assert_eq!(step(COPY_AFTER, COPY_AFTER, 0), Step::Copy);
    assert_eq!(step(FRAMES_MAX - 1, COPY_AFTER + 1, 0), Step::Copy);
}

#[test]
fn long_log_is_restarted_once_little_is_left_to_copy() {
    assert_eq!(step(RESTART_AFTER, COPY_AFTER, 0), Step::Restart);
    assert_eq!(step(RESTART_AFTER, COPY_AFTER + 1, 0), Step::Copy);
}

#[test]
fn log_at_its_bound_is_truncated_however_much_is_left() {
    assert_eq!(step(FRAMES_MAX, FRAMES_MAX, 0), Step::Truncate);
}

#[test]
fn restart_that_a_reader_prevented_is_tried_again_only_later() {
    assert_eq!(step(RESTART_AFTER, 0, RESTART_AFTER + 1), Step::Nothing);
    assert_eq!(step(FRAMES_MAX, FRAMES_MAX, FRAMES_MAX + 1), Step::Copy);
    assert_eq!(
        step(FRAMES_MAX + 1, FRAMES_MAX, FRAMES_MAX + 1),
        Step::Truncate
    );
}

#[test]
fn log_that_began_again_by_itself_has_nothing_copied() {
    let log = Log::default();
    log.written(3000);
    log.copied.store(3000, Ordering::Relaxed);
    assert_eq!(log.left(), 0);
    log.written(12);
    assert_eq!(log.left(), 12);
}

/// A log longer than [`RESTART_AFTER`], and both sides of its checkpoints, run by hand.
struct LongLog {
    _directory: TempDir,
    opened: Opened,
    writers: Checkpoints,
    copier: Copier,
}

impl LongLog {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let opened =
            open::open(&directory.path().join("vestibule.db")).expect("an empty database opens");
        let health = Arc::new(Health::new(opened.setup.path.clone()));
        let (writers, copier) = checkpoints(&opened.setup, &health);
        let log = Self {
            _directory: directory,
            opened,
            writers,
            copier,
        };
        log.write(RESTART_AFTER);
        log
    }

    /// Commits at least so many pages at once.
    fn write(&self, pages: u32) {
        let sql = "INSERT INTO events (at, kind, outcome, policy, provider, request_id, network, detail) \
                   VALUES (0, '', '', '', '', '', '', CAST(zeroblob(?1) AS TEXT))";
        self.opened
            .db
            .execute(sql, [pages * 4096])
            .expect("it is written");
    }

    fn log(&self) -> &Log {
        &self.opened.setup.log
    }

    fn restarts(&self) -> u64 {
        self.log().restarts.load(Ordering::Relaxed)
    }
}

#[test]
fn long_log_is_copied_by_the_second_thread_and_restarted_by_the_writer() {
    let mut long = LongLog::new();
    assert!(long.log().frames() >= RESTART_AFTER);
    long.writers.after_commit(&long.opened.db);
    assert_eq!(long.copier.wanted.try_recv(), Ok(()));
    assert_eq!(long.restarts(), 0);
    long.copier.copy();
    assert_eq!(long.log().left(), 0);
    long.writers.after_commit(&long.opened.db);
    assert_eq!(long.restarts(), 1);
    long.write(1);
    assert!(long.log().frames() < 10, "{:?}", long.log());
}

#[test]
fn reader_only_puts_a_restart_off() {
    let mut long = LongLog::new();
    let reader = connection::open_reader(&long.opened.setup).expect("it opens");
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM users")
        .expect("it reads");
    long.write(10);
    long.copier.copy();
    long.writers.after_commit(&long.opened.db);
    assert_eq!(long.restarts(), 0);
    assert_eq!(long.writers.not_before, long.log().frames() + COPY_AFTER);
    long.write(COPY_AFTER);
    reader.execute_batch("COMMIT").expect("it ends");
    long.copier.copy();
    long.writers.after_commit(&long.opened.db);
    assert_eq!(long.restarts(), 1);
}

#[test]
fn log_at_its_bound_is_truncated_by_the_writer_alone() {
    let mut long = LongLog::new();
    long.write(FRAMES_MAX);
    long.writers.after_commit(&long.opened.db);
    assert_eq!(long.restarts(), 1);
    let log = long.opened.setup.path.with_extension("db-wal");
    assert_eq!(std::fs::metadata(log).expect("it is there").len(), 0);
}
