//! Deletes what has expired.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vestibule_store::{StaleHistories, Sweep};

use crate::app::App;
use vestibule_risk::history::{HEAD_BYTES, is_forgotten};

const EVERY: Duration = Duration::from_secs(30);
/// Rows that one sweep deletes: a commit of this size delays others by milliseconds.
const ROWS_MAX: usize = 500;

pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        // The next sweep tries again; the store has logged why it cannot be used.
        while let Ok(rows) = app.store.run(due(app.clock.now())).await {
            app.metrics.rows_swept(rows);
            if rows < ROWS_MAX {
                break;
            }
        }
    }
}

fn due(now: i64) -> Sweep {
    Sweep {
        now,
        rows_max: ROWS_MAX,
        histories: StaleHistories {
            head_bytes: HEAD_BYTES,
            is_stale: is_forgotten,
        },
    }
}
