//! Keeps the keys of every provider at hand in a cluster, whether people sign in or not: the
//! operator reports from here which providers can be reached, and seeds fresh pods with the keys.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::app::App;
use vestibule_idtoken::keys::ProviderKeys;
use vestibule_idtoken::keys::RemoteKeys;

/// Fetches under way at once, of all providers.
const FETCHES_MAX: usize = 8;
/// At most one fetch begins in this time: 10 000 providers take a few minutes.
const PACE: Duration = Duration::from_millis(20);
/// Between two checks for what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Fetches what is due, for ever.
pub async fn run(app: Arc<App>) {
    let mut under_way = JoinSet::new();
    loop {
        let active = app.runtime_config.active();
        let remotes: Vec<Arc<RemoteKeys>> = active
            .providers()
            .filter_map(|provider| match &provider.keys {
                ProviderKeys::Remote(remote) => Some(Arc::clone(remote)),
                ProviderKeys::Static(_) => None,
            })
            .collect();
        drop(active);
        for remote in remotes {
            if !remote.is_due() {
                continue;
            }
            while under_way.len() >= FETCHES_MAX {
                under_way.join_next().await;
            }
            under_way.spawn(async move { remote.prefetch().await });
            tokio::time::sleep(PACE).await;
        }
        while under_way.try_join_next().is_some() {}
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
