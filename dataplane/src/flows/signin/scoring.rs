//! What a sign-in shows, as the risk engine takes it, and what is remembered of it.

use std::net::IpAddr;

use vestibule_crds::snapshot::{Provider, Risk};

use crate::app::App;
use crate::flows::issue::Upstream;
use crate::flows::signin::VerifiedIdentity;
use crate::geography::Location;
use crate::limits::of_address;
use vestibule_idtoken::keys::egress::is_public;
use vestibule_risk::facts::Facts;
use vestibule_risk::history::{Population, UserHistory};
use vestibule_risk::{self as risk, Assessment, Context, History, Listed};
use vestibule_store::{NewHistory, StoredHistory};

/// What is asked of a sign-in: from where, with what, at which provider, by which user.
pub(super) struct Sign<'s> {
    pub(super) client: IpAddr,
    pub(super) agent: Option<&'s str>,
    pub(super) provider: &'s Provider,
    /// `namespace/name`.
    pub(super) policy: &'s str,
    pub(super) risk: &'s Risk,
    pub(super) identity: &'s VerifiedIdentity<'s>,
}

pub(super) fn context(app: &App, sign: Sign<'_>, now: i64) -> Context {
    let Sign {
        client,
        agent,
        provider,
        policy,
        risk,
        identity,
    } = sign;
    let recent = &app.recent_failures;
    // Behind a private address may stand anybody: it is no evidence.
    let (address_failures, location) = if is_public(client) {
        let window = risk.signals.ip_failures.window.as_secs();
        let failures = recent.recent((policy, of_address(client)), window, now);
        (failures, app.geography.locate(client))
    } else {
        (0, Location::default())
    };
    let window = risk.signals.user_failures.window.as_secs();
    Context {
        now,
        values: app.hashing.values(client, &location, agent),
        place: location.place,
        listed: Listed::of(client, risk),
        auth_time: auth_time(&identity.claims),
        provider_mfa: provider_mfa(provider, &identity.claims, now),
        // Not known before the user is.
        remembered_device: false,
        user_failures: recent.recent(&identity.identity, window, now),
        address_failures,
    }
}

/// An assessment, what it was made from, and the user's history should the sign-in succeed.
pub(super) struct Scored {
    pub(super) assessment: Assessment,
    /// None where it could not be scored.
    pub(super) facts: Option<Facts>,
    pub(super) new_history: NewHistory,
}

pub(super) fn assess(
    risk: &Risk,
    context: &Context,
    stored: Option<&StoredHistory>,
    population: Option<Population>,
) -> Scored {
    let known = match stored {
        None => Some(UserHistory::default()),
        Some(stored) => UserHistory::decode(&stored.content),
    };
    let (assessment, facts, known) = match known {
        Some(known) => {
            let history = History {
                user: Some(known),
                population,
            };
            let facts = Facts::of(context, &history);
            let assessment = risk::assess_facts(&facts, risk);
            (assessment, Some(facts), history.user.unwrap_or_default())
        }
        // A new history begins with what is seen now.
        None => (risk::unscored(context, risk), None, UserHistory::default()),
    };
    let new_history = NewHistory {
        replaces: stored.map(|stored| stored.version),
        content: known.with(context).encode(),
    };
    Scored {
        assessment,
        facts,
        new_history,
    }
}

pub(super) fn auth_time(claims: &serde_json::Value) -> Option<i64> {
    claims.get("auth_time").and_then(serde_json::Value::as_i64)
}

/// What the provider says of its own factors, as far as the operator honours it.
pub(super) fn upstream(provider: &Provider, claims: &serde_json::Value) -> Option<Upstream> {
    let said = claims.get("amr").and_then(serde_json::Value::as_array);
    let said = said.into_iter().flatten();
    let amr = said
        .filter_map(serde_json::Value::as_str)
        .map(str::to_owned);
    let acr = claims.get("acr").and_then(serde_json::Value::as_str);
    let upstream = Upstream {
        amr: amr.collect(),
        acr: acr.map(str::to_owned),
        auth_time: auth_time(claims)?,
    };
    upstream.honoured(provider)
}

/// Whether the provider asked for a second factor that the operator honours, recently enough. A
/// token that does not say when is not recent.
pub(super) fn provider_mfa(provider: &Provider, claims: &serde_json::Value, now: i64) -> bool {
    upstream(provider, claims).is_some_and(|upstream| upstream.is_recent(provider, now))
}
