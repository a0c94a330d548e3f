//! Which keys of providers this pod has seen, a page at a time.

use vestibule_crds::report::{DISCOVERY_PAGE_BYTES, DiscoveryReport, ProviderKeysReport};

use crate::app::App;
use crate::runtime_config::ActiveProvider;
use vestibule_idtoken::keys::Known;
use vestibule_idtoken::keys::ProviderKeys;

/// What changed after `since`, the oldest change first.
pub(super) fn report(app: &App, since: u64) -> DiscoveryReport {
    // A change that is numbered while this reads is for the next report: of two, only the second
    // might be seen.
    let until = app.runtime_config.changes();
    let active = app.runtime_config.active();
    let mut changed: Vec<(Known, &ActiveProvider)> = active
        .providers()
        .filter_map(|provider| match &provider.keys {
            ProviderKeys::Static(_) => None,
            ProviderKeys::Remote(remote) => Some((remote.known(), provider.as_ref())),
        })
        .filter(|(known, _)| known.changed > since && known.changed <= until)
        .collect();
    changed.sort_by_key(|(known, _)| known.changed);

    let mut page = DiscoveryReport {
        process: app.process_id().to_owned(),
        sequence: until,
        more: false,
        providers: Vec::new(),
    };
    let (mut bytes, mut last) = (0, since);
    for (known, provider) in changed {
        if bytes > DISCOVERY_PAGE_BYTES {
            page.more = true;
            page.sequence = last;
            break;
        }
        last = known.changed;
        let entry = entry(known, provider);
        bytes += serde_json::to_vec(&entry).map_or(0, |entry| entry.len());
        page.providers.push(entry);
    }
    page
}

fn entry(known: Known, provider: &ActiveProvider) -> ProviderKeysReport {
    let Known {
        changed: _,
        state,
        error,
        fetched,
    } = known;
    ProviderKeysReport {
        namespace: provider.spec.namespace.clone(),
        name: provider.spec.name.clone(),
        source: provider.spec.key_source_revision(),
        state,
        error: error.map(|error| error.to_string()),
        fetched_at: fetched.as_ref().map(|fetched| fetched.at),
        jwks: fetched.map(|fetched| fetched.keys.to_jwks()),
    }
}
