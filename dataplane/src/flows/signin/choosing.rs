//! Which provider a token is for.

use std::sync::Arc;

use crate::failure::{Code, Failure};
use crate::runtime_config::{ActiveConfig, ActiveProvider};
use vestibule_idtoken::token::UnverifiedToken;

/// The provider that the request names, or the one that the token points to.
pub fn choose_provider<'l>(
    active: &'l ActiveConfig,
    token: &UnverifiedToken,
    named: Option<&str>,
) -> Result<&'l Arc<ActiveProvider>, Failure> {
    if let Some(name) = named {
        return active.provider(name).ok_or_else(|| {
            Code::ProviderUnknown
                .because("no provider of this name is served")
                .into()
        });
    }
    let matching = |provider: &&Arc<ActiveProvider>| {
        let audiences = &provider.spec.audiences;
        token
            .audiences
            .iter()
            .any(|audience| audiences.contains(audience))
    };
    let all: Vec<_> = active
        .providers_of(&token.issuer)
        .iter()
        .filter(matching)
        .collect();
    // What a tenant adds takes no sign-in from the release's own providers, however old each is.
    let has_own = all.iter().any(|provider| active.is_own(provider));
    let mut candidates = all
        .into_iter()
        .filter(|provider| !has_own || active.is_own(provider));
    let none = || Code::ProviderRequired.because("no provider has the token's issuer and audience");
    let mut chosen = candidates.next().ok_or_else(none)?;
    for other in candidates {
        chosen = older(chosen, other, token).ok_or_else(|| {
            Code::ProviderRequired.because("several providers have the token's issuer and audience")
        })?;
    }
    Ok(chosen)
}

/// Of two providers for the same audiences of a token the older one is meant; otherwise it is not
/// plain.
fn older<'l>(
    one: &'l Arc<ActiveProvider>,
    other: &'l Arc<ActiveProvider>,
    token: &UnverifiedToken,
) -> Option<&'l Arc<ActiveProvider>> {
    let same_audiences = token.audiences.iter().all(|audience| {
        one.spec.audiences.contains(audience) == other.spec.audiences.contains(audience)
    });
    let (Some(one_at), Some(other_at)) = (&one.spec.created_at, &other.spec.created_at) else {
        return None;
    };
    match one_at.cmp(other_at) {
        std::cmp::Ordering::Less if same_audiences => Some(one),
        std::cmp::Ordering::Greater if same_audiences => Some(other),
        _ => None,
    }
}
