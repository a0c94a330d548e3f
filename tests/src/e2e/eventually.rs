//! Waiting for a condition, with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Far more than anything here takes on an idle machine: only a condition that never comes should meet it.
pub const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`, and panics with the last `Err` when the deadline has passed.
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> T {
    within(DEADLINE, LOOK_EVERY, what, ask).await
}

/// As [`eventually`], for what takes longer, or is dearer to ask.
pub async fn within<T, E: Debug, F: Future<Output = Result<T, E>>>(
    deadline: Duration,
    look_every: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(found) if began.elapsed() > deadline => {
                panic!("within {deadline:?} it did not come to this: {what}; at last: {found:?}")
            }
            Err(_) => tokio::time::sleep(look_every).await,
        }
    }
}

/// `Ok` when `found` is as wanted, and otherwise what was found.
pub fn is<T: PartialEq>(found: T, wanted: T) -> Result<T, T> {
    if found == wanted {
        Ok(found)
    } else {
        Err(found)
    }
}
