//! A SigninPolicy becomes a [`Policy`]: parse, resolve the signing keys.

use std::net::IpAddr;

use ipnet::IpNet;

use super::clients::clients;
use super::expressions::invalid_extra_claims;
use super::factors::factors;
use super::resolve::{Resolver, SecretUse};
use super::seal::seal_policy;
use super::spec::spec;
use super::verdict::{AcceptedReason, Problems, ResolvedRefsReason};
use crate::issuer::Issuer;
use crate::object::{NamespacedName, Object};
use crate::reference::SecretKeyRef;
use crate::rotation::Schedule;
use crate::signin_policy::{
    IpLists, Limits as LimitsSpec, LocalToken as LocalTokenSpec, Password, Risk, RiskMode,
    SigninPolicySpec, Signing,
};
use crate::signing_key::SigningKey;
use crate::snapshot::{
    self, Acting, KeyState, Limits, LocalToken, PasswordLife, Policy, PolicyKey, Revision,
};

/// Wider networks than these are unlikely to hold only the installer's own proxies.
const PROXIES_V4_BITS_MIN: u8 = 8;
const PROXIES_V6_BITS_MIN: u8 = 16;

/// The policy, or why it is none. Whether another has its issuer is asked when all objects are put
/// together.
pub(super) fn compile(object: &Object, resolver: &Resolver<'_>) -> (Option<Policy>, Problems) {
    let spec = match spec(object) {
        Ok(spec) => spec,
        Err(problems) => return (None, problems),
    };
    let mut problems = Problems::default();
    let policy = resolve(object, spec, resolver, &mut problems);
    (policy.filter(|_| problems.is_empty()), problems)
}

fn resolve(
    object: &Object,
    spec: SigninPolicySpec,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Option<Policy> {
    let SigninPolicySpec {
        token,
        extra_claims,
        signing,
        risk,
        mfa,
        account,
        password,
        limits,
        oauth,
    } = spec;

    let issuer = Issuer::parse_own(&token.issuer, resolver.http_issuers())
        .map_err(|error| problems.invalid("spec.token.issuer", error))
        .ok();
    for error in invalid_extra_claims(&extra_claims) {
        problems.refuse(
            AcceptedReason::ExpressionInvalid,
            &error.path,
            error.message,
        );
    }
    let (signing_keys, managed) = signing_keys(&object.id, signing, resolver, problems);
    let trusted_proxies = networks(&risk.trusted_proxies, "spec.risk.trustedProxies", problems);
    warn_of_wide_proxies(&trusted_proxies, problems);
    let scoring = scoring(&risk, problems);
    let mfa = factors(&object.id, mfa, &risk, issuer.as_ref(), resolver, problems);
    let mfa_methods = mfa.as_ref().map(|mfa| mfa.methods.clone());
    let scoring = scoring.map(|scoring| snapshot::Risk {
        mfa_methods: mfa_methods.unwrap_or_default(),
        ..scoring
    });

    let only_clients = oauth.only_clients;
    let clients = clients(oauth, resolver, problems);
    let LocalTokenSpec {
        issuer: _,
        audiences,
        access_ttl,
        refresh_ttl,
        session_max_ttl,
        refresh_reuse_grace,
    } = token;
    let LimitsSpec {
        failures_per_ip_per_minute,
        per_user_per_minute,
    } = limits;
    Some(seal_policy(Policy {
        namespace: object.id.namespace.clone(),
        name: object.id.name.clone(),
        revision: Revision::of(b""),
        token: LocalToken {
            issuer: issuer?,
            audiences,
            access_ttl,
            refresh_ttl,
            session_max_ttl,
            refresh_reuse_grace,
        },
        extra_claims,
        signing_keys,
        managed,
        mfa: mfa?,
        password: password.map(password_life),
        max_auth_age: account.max_auth_age,
        risk: scoring,
        trusted_proxies,
        egress: resolver.egress(),
        limits: Limits {
            failures_per_ip_per_minute,
            per_user_per_minute,
        },
        clients,
        only_clients,
    }))
}

/// How sign-ins are scored, if they are; which factors there are is known once those are compiled.
fn scoring(risk: &Risk, problems: &mut Problems) -> Option<snapshot::Risk> {
    let IpLists { deny, allow } = &risk.ip_lists;
    let deny = networks(deny, "spec.risk.ipLists.deny", problems);
    let allow = networks(allow, "spec.risk.ipLists.allow", problems);
    let acting = match risk.mode {
        RiskMode::Enforce => Acting::Enforce,
        RiskMode::Observe => Acting::Observe,
        RiskMode::Off => {
            if !(deny.is_empty() && allow.is_empty()) {
                problems.warn(
                    "spec.risk.ipLists",
                    "it has no effect while risk.mode is Off",
                );
            }
            return None;
        }
    };
    Some(snapshot::Risk {
        acting,
        thresholds: risk.thresholds.clone(),
        actions: risk.actions.clone(),
        on_error: risk.on_error,
        signals: risk.signals.clone(),
        deny,
        allow,
        mfa_methods: Vec::new(),
    })
}

fn password_life(password: Password) -> PasswordLife {
    let Password {
        max_age,
        warning_window,
        grace_period,
    } = password;
    PasswordLife {
        max_age,
        warning_window,
        grace_period,
    }
}

fn signing_keys(
    id: &NamespacedName,
    signing: Signing,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> (Vec<PolicyKey>, Option<Schedule>) {
    let Signing {
        managed,
        secret_refs,
    } = signing;
    if let Some(managed) = managed {
        let schedule = Schedule {
            algorithm: managed.algorithm,
            rotate_every: managed.rotate_every,
            pre_publish: managed.pre_publish,
        };
        return (managed_keys(id, resolver, problems), Some(schedule));
    }
    let mut keys: Vec<PolicyKey> = Vec::new();
    for (index, wanted) in secret_refs.unwrap_or_default().iter().enumerate() {
        let path = format!("spec.signing.secretRefs[{index}]");
        match secret_key(wanted, resolver) {
            Ok(key) if keys.iter().any(|other| other.kid == key.kid) => problems.unresolved(
                ResolvedRefsReason::KeyInvalid,
                &path,
                "the same key stands in the list already: remove one of them",
            ),
            Ok(key) => keys.push(PolicyKey {
                state: state_at(index),
                ..key
            }),
            Err((reason, message)) => problems.unresolved(reason, &path, message),
        }
    }
    (keys, None)
}

/// The first signs, the others are published for what they may have signed or will sign.
pub(super) const fn state_at(index: usize) -> KeyState {
    if index == 0 {
        KeyState::Current
    } else {
        KeyState::Previous
    }
}

/// The key of one Secret; its state is the caller's to say.
pub(super) fn secret_key(
    wanted: &SecretKeyRef,
    resolver: &Resolver<'_>,
) -> Result<PolicyKey, (ResolvedRefsReason, String)> {
    let pem = resolver
        .secret_for(SecretUse::Signing, wanted)
        .map_err(|error| (ResolvedRefsReason::RefNotFound, error.to_string()))?;
    let key = SigningKey::parse(pem, None)
        .map_err(|error| (ResolvedRefsReason::KeyInvalid, error.to_string()))?;
    Ok(PolicyKey {
        kid: key.kid,
        algorithm: key.algorithm,
        state: KeyState::Previous,
        pem: pem.clone(),
    })
}

/// The keys that the keeper made for a policy, as they stand now.
pub(super) fn managed_keys(
    id: &NamespacedName,
    resolver: &Resolver<'_>,
    problems: &mut Problems,
) -> Vec<PolicyKey> {
    let keys = resolver.managed_keys(id);
    let mut published = Vec::new();
    for (index, (key, state)) in keys.iter().enumerate() {
        match SigningKey::parse(&key.pem, Some(key.algorithm)) {
            Ok(parsed) => published.push(PolicyKey {
                kid: parsed.kid,
                algorithm: parsed.algorithm,
                state: *state,
                pem: key.pem.clone(),
            }),
            Err(error) => problems.unresolved(
                ResolvedRefsReason::KeyInvalid,
                "spec.signing.managed",
                format!("managed key {} cannot be read: {error}", index + 1),
            ),
        }
    }
    published
}

/// A proxy says for each request which address it comes from.
fn warn_of_wide_proxies(networks: &[IpNet], problems: &mut Problems) {
    for network in networks {
        let is_wide = match network {
            IpNet::V4(network) => network.prefix_len() < PROXIES_V4_BITS_MIN,
            IpNet::V6(network) => network.prefix_len() < PROXIES_V6_BITS_MIN,
        };
        if is_wide {
            problems.warn(
                "spec.risk.trustedProxies",
                format!(
                    "every host in {network} may make up the address that a request comes from: name the addresses of your proxies"
                ),
            );
        }
    }
}

/// An address is a network of its own.
fn networks(texts: &[String], path: &str, problems: &mut Problems) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(|_| address()) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => problems.invalid(
                &format!("{path}[{index}]"),
                format!("{text} is neither an address nor a network such as 10.0.0.0/8"),
            ),
        }
    }
    networks
}
