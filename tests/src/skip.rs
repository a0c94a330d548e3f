//! A test that cannot run here writes so into the register that `make test` counts at its end
//! (`tests/tools/skips`).

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says that the test of this thread does not run, and why. `group` is `cargo` or `cluster`.
///
/// # Panics
/// When the register cannot be written: a skip that nothing counts is what it prevents.
pub fn skip(group: &str, reason: &str) {
    eprintln!("skipped: {reason}");
    let Some(register) = std::env::var_os("VESTIBULE_SKIPS") else {
        return;
    };
    let thread = std::thread::current();
    let line = format!("{group}\t{}\t{reason}\n", thread.name().unwrap_or("a test"));
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&register)
        .expect("the register of skips can be opened");
    file.write_all(line.as_bytes())
        .expect("the register of skips can be written");
}
