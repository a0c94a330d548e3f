//! Verifies an ID token by an OidcProvider manifest, without a data plane:
//!
//! ```sh
//! cargo run --package vestibule-idtoken --example verify -- examples/google.yaml < token.txt
//! ```

use std::io::Read as _;

use anyhow::{Context as _, bail};
use vestibule_crds::compile::{Inputs, compile};
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::manifests::{self, ManifestFile};
use vestibule_crds::snapshot::{KeySource, Provider};
use vestibule_crds::verification_key::KeySet;
use vestibule_idtoken::clock::Clock;
use vestibule_idtoken::keys::{
    Changes, Fetching, ProviderKeys, RemoteKeys, Settings, check_signature,
};
use vestibule_idtoken::refusal::{KeyError, Refused};
use vestibule_idtoken::token::UnverifiedToken;
use vestibule_idtoken::verify::{Facts, check_claims, check_header};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name a manifest file")?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let text = text.trim();
    let provider = provider(&path)?;
    let keys = keys(&provider);
    let now = Clock::System.now();
    let token = UnverifiedToken::parse(text)?;
    let facts = Facts {
        token: &token,
        provider: &provider,
        nonce: None,
        now,
    };
    check_header(&facts).map_err(refused)?;
    match check_signature(&keys, &token.jws, Fetching::Allowed).await {
        Ok(()) => {}
        Err(KeyError::Refused(why)) => return Err(refused(why)),
        Err(KeyError::Unavailable(why)) => bail!("try again: {}", why.detail),
    }
    check_claims(&facts).map_err(refused)?;
    println!("{} of {} signs in", token.subject, token.issuer);
    Ok(())
}

fn refused(why: Refused) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", why.reason.as_str(), why.detail)
}

/// The first provider of the manifests, compiled.
fn provider(path: &str) -> anyhow::Result<std::sync::Arc<Provider>> {
    let file = ManifestFile {
        path: path.to_owned(),
        text: std::fs::read_to_string(path).with_context(|| path.to_owned())?,
    };
    let (read, errors) = manifests::read(&[file]);
    if let Some(error) = errors.first() {
        bail!("{error:?}");
    }
    let compiled = compile(&Inputs {
        objects: read.objects,
        secrets: read.secrets,
        secret_uses: read.secret_uses,
        config_maps: read.config_maps,
        ..Inputs::default()
    });
    let provider = compiled.snapshot.providers.into_values().next();
    provider.context("no provider is accepted: see vestibule check")
}

fn keys(provider: &Provider) -> ProviderKeys {
    if let Some(settings) = Settings::of(provider, HttpIssuers::Refuse) {
        let remote = RemoteKeys::new(settings, Clock::System, &Changes::default());
        return ProviderKeys::Remote(remote);
    }
    let set = match &provider.keys {
        KeySource::Static { jwks } => KeySet::parse(jwks, &provider.algorithms),
        KeySource::Discovery { .. } | KeySource::JwksUri { .. } => Ok(KeySet::default()),
    };
    ProviderKeys::Static(set.unwrap_or_default())
}
