//! Which client asks, and whether it has proved to be this client. Guessing reveals nothing: an
//! unknown client, a wrong secret and a wrong key get the same answer.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::app::App;
use crate::body::form::Form;
use crate::encoding::sha256;
use crate::failure::{Code, Failure, TryAgainReason};
use crate::flows::client::AuthenticatedClient;
use crate::flows::frame::Frame;
use crate::oauth::assertion::{self, Unproved};
use crate::oauth::credentials::{Credentials, credentials};
use crate::runtime_config::ActiveConfig;
use crate::runtime_config::clients::{Declared, Proof, SecretDigest};

/// How many wrong secrets for one client are answered in a minute, from all addresses; more are
/// asked to try later.
const WRONG_SECRETS_PER_MINUTE: u32 = 60;

/// None where the request shows no proof of a client at all. The audit event has the name that
/// the client claims.
pub async fn authenticate(
    app: &App,
    frame: &mut Frame<'_>,
    form: &mut Form,
) -> Result<Option<AuthenticatedClient>, Failure> {
    let active = Arc::clone(&frame.active);
    let Some(shown) = credentials(frame.caller.headers, form)? else {
        return Ok(None);
    };
    match shown {
        Credentials::Secret { client_id, secrets } => {
            claimed(app, frame, &active, &client_id);
            let digests = secrets
                .iter()
                .map(|secret| sha256(secret.expose().as_bytes()));
            let digests: Vec<[u8; 32]> = digests.collect();
            let proved = by_secret(app, &active, &client_id, &digests, frame.now)?;
            Ok(Some(proved))
        }
        Credentials::Token { client_id, token } => {
            let token = assertion::Unverified::parse(&token.0).map_err(refused)?;
            let name = client_id.as_deref().unwrap_or(token.subject());
            claimed(app, frame, &active, name);
            let proved = by_token(app, frame, &active, name, &token).await?;
            Ok(Some(proved))
        }
    }
}

/// Limits and proxies are those of the policy that declares the client, where only one does.
fn claimed(app: &App, frame: &mut Frame<'_>, active: &ActiveConfig, name: &str) {
    if let [Declared { policy, .. }] = active.clients_named(name) {
        frame.client_of(app, policy);
    }
    frame.audit.client = Some(name.to_owned());
}

/// A secret has 32 bytes at least and is not guessed: wrong ones hold back no right one.
fn by_secret(
    app: &App,
    active: &ActiveConfig,
    client_id: &str,
    shown: &[[u8; 32]],
    now: i64,
) -> Result<AuthenticatedClient, Failure> {
    let mut why = "no client of this name";
    for declared in active.clients_named(client_id) {
        let client = &declared.client;
        // The subject of a service account is a name for its tokens alone.
        if client.id != client_id {
            continue;
        }
        match &client.proof {
            Proof::Secret(digests) => {
                let is =
                    |known: &SecretDigest, shown| verify_slices_are_equal(&known.0, shown).is_ok();
                if shown
                    .iter()
                    .any(|shown| digests.iter().any(|known| is(known, shown)))
                {
                    return Ok(declared.into());
                }
                why = "the secret is wrong";
            }
            Proof::Keys(_) | Proof::ServiceAccount { .. } => why = "the client has no secret",
        }
    }
    let failures = &app.client_failures;
    if let Some(seconds) = failures.count(client_id, WRONG_SECRETS_PER_MINUTE, now) {
        return Err(TryAgainReason::RateLimited
            .after(seconds, "too many wrong secrets for this client")
            .into());
    }
    Err(Code::ClientInvalid.because(why).into())
}

async fn by_token(
    app: &App,
    frame: &Frame<'_>,
    active: &ActiveConfig,
    name: &str,
    token: &assertion::Unverified<'_>,
) -> Result<AuthenticatedClient, Failure> {
    let now = frame.now;
    let mut last = Unproved::Unknown;
    for declared in active.clients_named(name) {
        let Declared { policy, client } = declared;
        let proved = match &client.proof {
            Proof::Keys(keys) => {
                assertion::by_own_key(app, policy, &client.id, keys, token, now).await
            }
            Proof::ServiceAccount { provider, subject } => {
                let key = format!("{}/{provider}", policy.spec.namespace);
                let provider = active.provider(&key);
                let fetching = frame.fetching();
                assertion::by_service_account(provider, subject, token, fetching, now).await
            }
            Proof::Secret(_) => Err(Unproved::NoKey),
        };
        match proved {
            Ok(()) => {
                return Ok(declared.into());
            }
            // It may be another policy's client of the same name.
            Err(Unproved::Later(again)) => return Err(again.into()),
            Err(why) => last = why,
        }
    }
    Err(refused(last))
}

fn refused(why: Unproved) -> Failure {
    match why {
        Unproved::Later(again) => again.into(),
        why => Code::ClientInvalid.because(why.to_string()).into(),
    }
}
