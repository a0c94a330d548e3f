//! Account linking: what becomes of the account, and the link that is decided again inside the
//! transaction.

use std::sync::Arc;

use uuid::Uuid;
use vestibule_crds::claims::MappedClaims;
use vestibule_crds::snapshot::Provider;

use crate::app::App;
use crate::flows::account::{self, Plan};
use crate::flows::signin::VerifiedIdentity;
use crate::runtime_config::{ActiveConfig, ActiveProvider};
use vestibule_store::{Account, IdentityKey};

pub(super) fn account_of(
    plan: &Plan,
    identity: &VerifiedIdentity,
    app: &Arc<App>,
    provider: &ActiveProvider,
) -> Account {
    match plan {
        Plan::SignIn { user, changed } => Account::Existing {
            user_id: user.id,
            profile: changed.then(|| user.profile.clone()),
        },
        Plan::Create { user } => Account::Create {
            user: user.clone(),
            identity: identity.identity.clone(),
        },
        Plan::Link { user } => link_account(
            app,
            &provider.spec,
            &identity.mapped,
            identity.identity.clone(),
            user.id,
        ),
    }
}

/// A link to the user, to be decided again inside the transaction.
pub(crate) fn link_account(
    app: &Arc<App>,
    began_with: &Arc<Provider>,
    mapped: &MappedClaims,
    identity: IdentityKey,
    user_id: Uuid,
) -> Account {
    let (app, began_with) = (Arc::clone(app), Arc::clone(began_with));
    let mapped = mapped.clone();
    Account::Link {
        user_id,
        identity,
        email: mapped.email.clone().unwrap_or_default(),
        recheck: Arc::new(move || {
            may_still_link(&app.runtime_config.active(), &began_with, &mapped)
        }),
    }
}

/// Called inside the transaction: the configuration may have changed since the sign-in began.
fn may_still_link(active: &ActiveConfig, began_with: &Provider, mapped: &MappedClaims) -> bool {
    active.provider(&began_with.key()).is_some_and(|provider| {
        let now = &provider.spec;
        !now.suspended
            && now.issuer == began_with.issuer
            && now.policy == began_with.policy
            && account::linkable_email(now, mapped).is_some()
    })
}
