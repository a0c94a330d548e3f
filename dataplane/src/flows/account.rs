//! Which account does this identity sign in to? Pure: the store's rows in, a plan out.
//!
//! | identity | linking | owners of the verified address | provisioning | plan |
//! |---|---|---|---|---|
//! | known | any | any | any | its user, when active |
//! | unknown | Never, or the address is not verified or not of a listed domain | – | Create / Deny | new user / `user_not_provisioned` |
//! | unknown | VerifiedEmail | none that a provider which may link has verified | Create / Deny | new user / `user_not_provisioned` |
//! | unknown | VerifiedEmail | one | any | link, when that user is active |
//! | unknown | VerifiedEmail | several | any | `link_required` |
//!
//! A user name never links anything.

use uuid::Uuid;
use vestibule_crds::claims::MappedClaims;
use vestibule_crds::snapshot::{Linking, Provider, Provisioning};

use crate::failure::{Code, Refused};
use vestibule_store::{Gathered, Profile, User, UserStatus};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The identity's own user; with the attributes to store when the provider says something new.
    SignIn { user: User, changed: bool },
    /// A new user.
    Create { user: User },
    /// The identity becomes one more of this user.
    Link { user: User },
}

impl Plan {
    /// Whether the user is made by this sign-in.
    pub fn is_new(&self) -> bool {
        match self {
            Self::Create { .. } => true,
            Self::SignIn { .. } | Self::Link { .. } => false,
        }
    }

    pub fn user(&self) -> &User {
        match self {
            Self::SignIn { user, .. } | Self::Create { user } | Self::Link { user } => user,
        }
    }
}

/// The address by which this sign-in may find an existing account, and by which its own account may
/// be found: verified by a provider whose linking covers it. What another provider verified leads
/// nowhere.
pub fn linkable_email<'a>(provider: &Provider, claims: &'a MappedClaims) -> Option<&'a str> {
    let Linking::VerifiedEmail { email_domains } = &provider.linking else {
        return None;
    };
    let email = claims.email.as_deref().filter(|_| claims.email_verified)?;
    let (_, domain) = email.rsplit_once('@')?;
    let listed = email_domains.is_empty()
        || email_domains
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(domain));
    listed.then_some(email)
}

pub fn plan(
    provider: &Provider,
    policy: &str,
    claims: &MappedClaims,
    gathered: Gathered,
    new_user: Uuid,
    now: i64,
) -> Result<Plan, Refused> {
    let profile = profile_of(provider, claims);
    if let Some(user) = gathered.user {
        let user = active(user)?;
        let profile = merged(&user.profile, profile);
        let changed = user.profile != profile;
        return Ok(Plan::SignIn {
            user: User { profile, ..user },
            changed,
        });
    }
    let linkable = linkable_email(provider, claims);
    let mut owners = gathered.email_owners.into_iter();
    match (linkable, owners.next(), owners.next()) {
        (Some(_), Some(_), Some(_)) => {
            return Err(Code::LinkRequired.because("several users have this verified address"));
        }
        (Some(_), Some(owner), None) => {
            // A disabled user does not get in through another identity, nor gets a second account.
            return Ok(Plan::Link {
                user: active(owner)?,
            });
        }
        (_, _, _) => {}
    }
    match provider.provisioning {
        Provisioning::Deny => Err(Code::UserNotProvisioned.because("provisioning is Deny")),
        Provisioning::Create => Ok(Plan::Create {
            user: User {
                id: new_user,
                policy: policy.to_owned(),
                profile,
                status: UserStatus::Active,
                created_at: now,
                sessions_valid_from: 0,
                password: None,
            },
        }),
    }
}

/// Whether the user may sign in at all.
pub fn active(user: User) -> Result<User, Refused> {
    match status_refusal(user.status) {
        None => Ok(user),
        Some(refused) => Err(refused),
    }
}

pub fn status_refusal(status: UserStatus) -> Option<Refused> {
    match status {
        UserStatus::Active => None,
        UserStatus::Disabled => Some(Code::UserDisabled.because("the user is disabled")),
        UserStatus::Locked => Some(Code::UserLocked.because("the user is locked")),
    }
}

/// The provider's word replaces what is stored, but for what it leaves out, and but for a verified
/// address, which only another verified one replaces.
fn merged(stored: &Profile, said: Profile) -> Profile {
    let keep_email = said.email.is_none() || (stored.email_verified && !said.email_verified);
    let was_linkable = stored.email_linkable && (keep_email || stored.email == said.email);
    let (email, email_verified) = if keep_email {
        (stored.email.clone(), stored.email_verified)
    } else {
        (said.email, said.email_verified)
    };
    let (phone, phone_unverified) = match said.phone {
        Some(phone) => (Some(phone), said.phone_unverified),
        None => (stored.phone.clone(), stored.phone_unverified),
    };
    Profile {
        username: said.username.or_else(|| stored.username.clone()),
        email,
        email_verified,
        // A provider that may not link takes nothing from one that may.
        email_linkable: was_linkable || (!keep_email && said.email_linkable),
        phone,
        phone_unverified,
    }
}

fn profile_of(provider: &Provider, claims: &MappedClaims) -> Profile {
    Profile {
        email_linkable: linkable_email(provider, claims).is_some(),
        phone_unverified: claims.phone.is_some() && claims.phone_unverified,
        username: claims.username.clone(),
        email: claims.email.clone(),
        email_verified: claims.email.is_some() && claims.email_verified,
        phone: claims.phone.clone(),
    }
}
