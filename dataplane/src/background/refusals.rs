//! Writes the counts of refusals that are not audited one by one.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;

const EVERY: Duration = Duration::from_secs(5);

pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => app.record_counted(app.clock.now()),
            () = stop.cancelled() => return,
        }
    }
}
