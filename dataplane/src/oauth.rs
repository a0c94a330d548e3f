//! The OAuth endpoints: token exchange (RFC 8693), refresh (RFC 6749, section 6), introspection
//! (RFC 7662) and revocation (RFC 7009). Each is a thin layer over what `/auth/…` does: the same
//! sign-in, the same sessions, the same limits.

use std::sync::Arc;

use vestibule_crds::signin_policy::ClientPermission;

use crate::app::{App, Caller};
use crate::body::form::{BODY_BYTES_MAX, Form};
use crate::dto::{LoginResponse, RefreshRequest, SigninRequest, TokenResponse};
use crate::failure::{Code, Failure};
use crate::flows::challenge::ChallengeToken;
use crate::flows::device::DeviceToken;
use crate::flows::frame::Frame;
use crate::flows::issue::Wanted;
use crate::flows::refresh::refresh_at;
use crate::flows::session::revoke_at;
use crate::flows::signin::signin_at;
use crate::runtime_config::ActiveConfig;
use crate::runtime_config::documents::endpoint;
use vestibule_store::EventKind;

pub mod assertion;
pub mod client;
pub mod credentials;
pub mod introspection;

use crate::flows::client::AuthenticatedClient;
use crate::flows::client::ClientContext;
use crate::protocol::{REFRESH_TOKEN, TOKEN_EXCHANGE};
use client::authenticate;
pub use introspection::introspect;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// For what is one of a few short values.
const NAME_CHARS_MAX: usize = 128;

/// Why a request did not succeed.
#[derive(Debug)]
pub enum OauthFailure {
    /// The request, its client, or what it brings.
    Request(Failure),
    /// The refresh token, or whose it is: `invalid_grant`.
    Grant(Failure),
    /// The person must do something first.
    Interaction(Interaction),
}

/// What the person must do.
#[derive(Debug)]
pub enum Interaction {
    /// Prove a second factor: what `/auth/mfa/verify` wants, and the page on which a person can.
    SecondFactor {
        response: Box<LoginResponse>,
        page: String,
    },
    /// Change the local password.
    PasswordChange,
}

impl OauthFailure {
    /// Our own code, as everywhere.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(failure) | Self::Grant(failure) => failure.code(),
            Self::Interaction(interaction) => match interaction {
                Interaction::SecondFactor { .. } => Code::MfaRequired.as_str(),
                Interaction::PasswordChange => Code::PasswordChangeRequired.as_str(),
            },
        }
    }
}

impl From<Failure> for OauthFailure {
    fn from(failure: Failure) -> Self {
        Self::Request(failure)
    }
}

/// `POST /oauth2/token`.
pub async fn token(
    app: &Arc<App>,
    mut form: Form,
    caller: Caller<'_>,
) -> Result<TokenResponse, OauthFailure> {
    let active = app.runtime_config.active();
    let client = client_of(app, &active, &mut form, caller).await?;
    let grant_type = form.required("grant_type", NAME_CHARS_MAX)?;
    match grant_type.as_str() {
        TOKEN_EXCHANGE => exchange(app, &active, client.as_ref(), form, caller).await,
        REFRESH_TOKEN => refresh(app, client.as_ref(), form, caller).await,
        _ => Err(Failure::from(Code::GrantTypeUnsupported).into()),
    }
}

async fn exchange(
    app: &Arc<App>,
    active: &ActiveConfig,
    client: Option<&AuthenticatedClient>,
    mut form: Form,
    caller: Caller<'_>,
) -> Result<TokenResponse, OauthFailure> {
    if let Some(client) = client {
        client.check_may(ClientPermission::TokenExchange)?;
    }
    let subject_token = form.required("subject_token", BODY_BYTES_MAX)?;
    if form.required("subject_token_type", NAME_CHARS_MAX)? != ID_TOKEN {
        return Err(invalid("subject_token_type is not an ID token's"));
    }
    let requested = form.text("requested_token_type", NAME_CHARS_MAX)?;
    if requested.is_some_and(|requested| requested != ACCESS_TOKEN) {
        return Err(invalid("requested_token_type is not an access token's"));
    }
    let actor = form.text("actor_token", BODY_BYTES_MAX)?;
    let actor_type = form.text("actor_token_type", BODY_BYTES_MAX)?;
    if actor.is_some() || actor_type.is_some() {
        return Err(invalid("delegation (actor_token) is not supported"));
    }
    let scope = scope(&mut form)?;
    let targets = targets(&mut form);
    let request = SigninRequest {
        scope,
        id_token: Some(subject_token),
        provider: form.text("provider", crate::dto::PROVIDER_CHARS_MAX)?,
        nonce: form.text("nonce", crate::dto::NONCE_CHARS_MAX)?,
        device_token: form.text("device_token", crate::dto::OPAQUE_TOKEN_CHARS_MAX)?,
    };
    let client_context = ClientContext::Oauth {
        client,
        targets: &targets,
    };
    let (response, policy) = signin_at(app, &client_context, &request, caller).await?;
    if response.requires_mfa == Some(true) {
        let policy = active.policy_of_key(&policy);
        let issuer = policy.map_or("", |policy| policy.spec.token.issuer.as_str());
        let page = endpoint(issuer, "/auth/mfa");
        let response = Box::new(response);
        let interaction = Interaction::SecondFactor { response, page };
        return Err(OauthFailure::Interaction(interaction));
    }
    if response.must_change_password == Some(true) {
        return Err(OauthFailure::Interaction(Interaction::PasswordChange));
    }
    Ok(TokenResponse {
        issued_token_type: Some(ACCESS_TOKEN),
        ..tokens(
            response,
            Wanted::parse(request.scope.as_deref()).map_err(Failure::from)?,
        )
    })
}

async fn refresh(
    app: &Arc<App>,
    client: Option<&AuthenticatedClient>,
    mut form: Form,
    caller: Caller<'_>,
) -> Result<TokenResponse, OauthFailure> {
    if let Some(client) = client {
        client.check_may(ClientPermission::RefreshToken)?;
    }
    let request = RefreshRequest {
        refresh_token: form.required("refresh_token", BODY_BYTES_MAX)?,
        scope: scope(&mut form)?,
    };
    let wanted = Wanted::parse(request.scope.as_deref()).map_err(Failure::from)?;
    let targets = targets(&mut form);
    let client_context = ClientContext::Oauth {
        client,
        targets: &targets,
    };
    let response = refresh_at(app, &client_context, &request, caller).await;
    response
        .map(|response| tokens(response, wanted))
        .map_err(OauthFailure::Grant)
}

/// `POST /oauth2/revoke`. A token that is not valid has no session to end: that is no error.
pub async fn revoke(
    app: &Arc<App>,
    mut form: Form,
    caller: Caller<'_>,
) -> Result<(), OauthFailure> {
    let active = app.runtime_config.active();
    let client = client_of(app, &active, &mut form, caller).await?;
    if let Some(client) = &client {
        client.check_may(ClientPermission::Revocation)?;
    }
    let token = form.required("token", BODY_BYTES_MAX)?;
    if ChallengeToken::parse(&token).is_some() || DeviceToken::parse(&token).is_some() {
        let why = "a challenge or device token";
        return Err(Failure::from(Code::TokenTypeUnsupported.because(why)).into());
    }
    let client_context = ClientContext::Oauth {
        client: client.as_ref(),
        targets: &[],
    };
    Ok(revoke_at(app, &client_context, &token, caller).await?)
}

/// Who asks. A request without a client is let through where a policy without clients is served;
/// which policy is meant shows later.
async fn client_of(
    app: &Arc<App>,
    active: &ActiveConfig,
    form: &mut Form,
    caller: Caller<'_>,
) -> Result<Option<AuthenticatedClient>, Failure> {
    let mut frame = Frame::begin(app, EventKind::ClientAuthentication, caller);
    let client = authenticate(app, &mut frame, form).await;
    let client = client.and_then(|client| match client {
        None if active.revision.is_some() && active.policies().all(|p| p.clients.is_some()) => {
            let why = "every policy has clients, and the request names none";
            Err(Code::ClientInvalid.because(why).into())
        }
        client => Ok(client),
    });
    frame.audit.client.take_if(|name| !is_client_id(name));
    frame.end(app, client)
}

/// Of the characters that a declared one may have: any other name that a caller uses is not
/// recorded.
fn is_client_id(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/@".contains(&byte))
}

fn scope(form: &mut Form) -> Result<Option<String>, Failure> {
    let scope = form.text("scope", NAME_CHARS_MAX)?;
    Wanted::parse(scope.as_deref())?;
    Ok(scope)
}

fn targets(form: &mut Form) -> Vec<String> {
    let mut targets = form.all("audience");
    targets.extend(form.all("resource"));
    targets
}

fn tokens(response: LoginResponse, wanted: Wanted) -> TokenResponse {
    TokenResponse {
        access_token: response.access_token.unwrap_or_default(),
        issued_token_type: None,
        token_type: "Bearer",
        expires_in: response.expires_in.unwrap_or_default(),
        scope: wanted.scope(),
        refresh_token: response.refresh_token,
    }
}

fn invalid(why: &'static str) -> OauthFailure {
    Failure::from(Code::InvalidRequest.because(why)).into()
}
