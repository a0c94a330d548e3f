//! What a token says, while it is active (RFC 7662): checked against the session, the user, the
//! provider and the policy as they are now, and not a token's own word. A token that is not active
//! is answered with `{"active": false}`, without a reason.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use vestibule_crds::signin_policy::ClientPermission;

use crate::app::{App, Caller};
use crate::body::form::{BODY_BYTES_MAX, Form};
use crate::clock::lifetime;
use crate::failure::{Code, Failure};
use crate::flows::client::AuthenticatedClient;
use crate::flows::issue::SessionClaims;
use crate::flows::refresh::{check_session, still_allowed};
use crate::flows::session::{is_over, session_of, verify_access_token};
use crate::oauth::{OauthFailure, client_of};
use crate::password;
use crate::protocol::CHANGE_SCOPE;
use crate::refresh_token::{RefreshToken, is_current};
use crate::runtime_config::ActiveConfig;
use vestibule_store::{ReadSession, Session, User};

/// `POST /oauth2/introspect`: for clients alone.
pub async fn introspect(
    app: &Arc<App>,
    mut form: Form,
    caller: Caller<'_>,
) -> Result<Value, OauthFailure> {
    let active = app.runtime_config.active();
    let client = client_of(app, &active, &mut form, caller).await?;
    let client = client
        .ok_or_else(|| Failure::from(Code::ClientInvalid.because("the request names no client")))?;
    client.check_may(ClientPermission::Introspection)?;
    let token = form.required("token", BODY_BYTES_MAX)?;
    let found = match RefreshToken::parse(&token) {
        Some(token) => of_refresh_token(app, &active, &client, &token).await,
        None => of_access_token(app, &active, &client, &token).await,
    };
    Ok(match found? {
        None => json!({"active": false}),
        Some(mut members) => {
            members.insert("active".to_owned(), true.into());
            Value::Object(members)
        }
    })
}

async fn of_access_token(
    app: &App,
    active: &ActiveConfig,
    client: &AuthenticatedClient,
    text: &str,
) -> Result<Option<Map<String, Value>>, Failure> {
    let now = app.clock.now();
    let Ok(presented) = verify_access_token(active, text, now) else {
        return Ok(None);
    };
    if presented.only_changes_password || presented.policy.key != client.policy.key {
        return Ok(None);
    }
    let Some((session, user)) = session_of(app, &presented).await? else {
        return Ok(None);
    };
    // An access token outlives the refresh token of its session, if that one is not used.
    if is_over(&session, &user, now) || !is_allowed(active, client, &session, &user)? {
        return Ok(None);
    }
    let Value::Object(mut members) = presented.claims else {
        return Ok(None);
    };
    members.insert("token_type".to_owned(), "Bearer".into());
    if let Some(username) = user.profile.username {
        members.entry("username").or_insert(username.into());
    }
    Ok(Some(members))
}

/// For the client that the session belongs to, or for any client where it belongs to none. Checking
/// a token that was used before ends no session.
async fn of_refresh_token(
    app: &App,
    active: &ActiveConfig,
    client: &AuthenticatedClient,
    token: &RefreshToken,
) -> Result<Option<Map<String, Value>>, Failure> {
    let now = app.clock.now();
    let found = app.store.run(ReadSession(token.session())).await?;
    let Some((session, user)) = found else {
        return Ok(None);
    };
    if check_session(&session, &user, now).is_err() || !is_allowed(active, client, &session, &user)?
    {
        return Ok(None);
    }
    let spec = &client.policy.spec;
    let grace = lifetime(spec.token.refresh_reuse_grace);
    if !is_current(token, &session, grace, now) {
        return Ok(None);
    }
    let carried = SessionClaims::read(&session.carried)?;
    let standing = password::standing(user.password, spec.password.as_ref(), now);
    let is_anothers = carried
        .client_id
        .as_ref()
        .is_some_and(|owner| *owner != client.client.id);
    if standing.must_change || carried.scope == CHANGE_SCOPE || is_anothers {
        return Ok(None);
    }
    let mut members = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    say("iss", Some(spec.token.issuer.as_str().into()));
    say("sub", Some(user.id.to_string().into()));
    say("sid", Some(session.id.to_string().into()));
    say("scope", Some(carried.scope.into()));
    say("client_id", carried.client_id.map(Value::from));
    say(
        "exp",
        Some(session.refresh_expires_at.min(session.ends_at).into()),
    );
    say("username", user.profile.username.map(Value::from));
    Ok(Some(members))
}

/// Whether user, provider and policy still let this session go on, and it is one of the client's
/// policy.
fn is_allowed(
    active: &ActiveConfig,
    client: &AuthenticatedClient,
    session: &Session,
    user: &User,
) -> Result<bool, Failure> {
    if session.policy != client.policy.key {
        return Ok(false);
    }
    match still_allowed(active, &session.policy, &session.provider, user) {
        Ok(_) => Ok(true),
        Err(Failure::Refused(_)) => Ok(false),
        Err(again @ Failure::TryAgain(_)) => Err(again),
    }
}
