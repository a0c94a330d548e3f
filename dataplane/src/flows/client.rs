//! The client context of a sign-in, a refresh or a revocation: through which API it comes, for
//! which client, and what that requires of the policy and the session.
//!
//! | client context | the policy has clients | the session's client | |
//! |---|---|---|---|
//! | the API | any, `onlyClients` | any | `invalid_client` |
//! | the API | any | none | open |
//! | the API | any | a client | not refreshed, not revoked: it is that client's |
//! | OAuth, no client | no | none | open |
//! | OAuth, no client | yes | any | `invalid_client` |
//! | OAuth, a client of the policy | yes | none, or this client | open |
//! | OAuth, a client of the policy | yes | another client | not refreshed, not revoked |
//! | OAuth, a client of another policy | any | any | as if there were no such session |

use std::sync::Arc;

use vestibule_crds::signin_policy::ClientPermission;

use crate::failure::{Code, Failure};
use crate::flows::issue::SessionClaims;
use crate::runtime_config::clients::{ActiveClient, Declared};
use crate::runtime_config::{ActiveConfig, ActivePolicy};
use vestibule_store::Session;

/// A client that has proved itself, and the policy that declares it.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient {
    pub policy: Arc<ActivePolicy>,
    pub client: Arc<ActiveClient>,
}

impl From<&Declared> for AuthenticatedClient {
    fn from(declared: &Declared) -> Self {
        let Declared { policy, client } = declared.clone();
        Self { policy, client }
    }
}

impl AuthenticatedClient {
    pub fn check_may(&self, what: ClientPermission) -> Result<(), Failure> {
        if self.client.may(what) {
            Ok(())
        } else {
            Err(Code::ClientNotAllowed
                .because(format!("{what:?} is not allowed to it"))
                .into())
        }
    }
}

/// Where a request came in.
#[derive(Debug)]
pub enum ClientContext<'a> {
    /// `/auth/…`, which takes no client.
    Api,
    /// `/oauth2/…`.
    Oauth {
        client: Option<&'a AuthenticatedClient>,
        /// Who the tokens must be for: RFC 8693's `audience` and RFC 8707's `resource`.
        targets: &'a [String],
    },
}

/// Whether a session is there for who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    Unknown,
}

impl ClientContext<'_> {
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::Api | Self::Oauth { client: None, .. } => None,
            Self::Oauth {
                client: Some(proved),
                ..
            } => Some(&proved.client.id),
        }
    }

    /// To a sign-in for tokens of this policy.
    pub fn admit(&self, policy: &ActivePolicy) -> Result<(), Failure> {
        match self {
            Self::Api => admit_api(policy),
            Self::Oauth { client, targets } => {
                match client {
                    None => admit_nobody(policy)?,
                    Some(proved) if proved.policy.key == policy.key => {}
                    Some(_) => {
                        let why = "it is a client of another policy";
                        return Err(Code::ClientNotAllowed.because(why).into());
                    }
                }
                check_targets(targets, policy)
            }
        }
    }

    /// To the next tokens of a session that is `owner`'s, a client of the policy.
    pub fn admit_refresh(&self, policy: &ActivePolicy, owner: Option<&str>) -> Result<(), Failure> {
        let invalid = |why: &'static str| Failure::from(Code::RefreshTokenInvalid.because(why));
        match self {
            Self::Api => match owner {
                None => admit_api(policy),
                Some(_) => Err(invalid("the session is an OAuth client's")),
            },
            Self::Oauth { client, targets } => {
                match client {
                    None => {
                        admit_nobody(policy)?;
                        if owner.is_some() {
                            return Err(invalid("the session is an OAuth client's"));
                        }
                    }
                    Some(proved) => {
                        if proved.policy.key != policy.key {
                            return Err(invalid("it is a session of another policy"));
                        }
                        if owner.is_some_and(|owner| owner != proved.client.id) {
                            return Err(invalid("it is a session of another client"));
                        }
                    }
                }
                check_targets(targets, policy)
            }
        }
    }

    /// To more tokens of a session that its own user or a second factor has opened: the client's,
    /// where it has one.
    pub fn admit_session(&self, policy: &ActivePolicy, owner: Option<&str>) -> Result<(), Failure> {
        match (self, owner) {
            (Self::Api, None) => admit_api(policy),
            (Self::Api, Some(_)) | (Self::Oauth { .. }, _) => Ok(()),
        }
    }

    /// To the end of a session.
    pub fn admit_revocation(
        &self,
        active: &ActiveConfig,
        session: &Session,
    ) -> Result<Admission, Failure> {
        match self {
            Self::Api => admit_ownerless(session),
            Self::Oauth { client: None, .. } => {
                if let Some(policy) = active.policy_of_key(&session.policy) {
                    admit_nobody(policy)?;
                }
                admit_ownerless(session)
            }
            Self::Oauth {
                client: Some(proved),
                ..
            } => {
                if proved.policy.key != session.policy {
                    return Ok(Admission::Unknown);
                }
                match SessionClaims::read(&session.carried)?.client_id {
                    Some(owner) if owner != proved.client.id => Err(Code::ClientNotAllowed
                        .because("it is a session of another client")
                        .into()),
                    Some(_) | None => Ok(Admission::Admitted),
                }
            }
        }
    }
}

/// A session that is a client's is ended by that client, or by its user.
fn admit_ownerless(session: &Session) -> Result<Admission, Failure> {
    match SessionClaims::read(&session.carried)?.client_id {
        None => Ok(Admission::Admitted),
        Some(_) => Err(Code::ClientNotAllowed
            .because("it is a session of an OAuth client")
            .into()),
    }
}

fn admit_api(policy: &ActivePolicy) -> Result<(), Failure> {
    if policy.spec.only_clients {
        let why = "the policy's tokens go to its OAuth clients alone";
        return Err(Code::ClientInvalid.because(why).into());
    }
    Ok(())
}

fn admit_nobody(policy: &ActivePolicy) -> Result<(), Failure> {
    match policy.clients {
        None => Ok(()),
        Some(_) => Err(Code::ClientInvalid
            .because("the policy has clients, and the request names none")
            .into()),
    }
}

/// A token has all audiences of its policy and no other.
fn check_targets(targets: &[String], policy: &ActivePolicy) -> Result<(), Failure> {
    let audiences = &policy.spec.token.audiences;
    if targets.iter().all(|target| audiences.contains(target)) {
        Ok(())
    } else {
        Err(Code::TargetInvalid
            .because("it is no audience of the policy")
            .into())
    }
}
