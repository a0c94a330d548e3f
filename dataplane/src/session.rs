//! What a local access token opens here: who one is, and the end of one's session.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;
use uuid::Uuid;
use vestibule_crds::verification_key::{KeySet, Lookup};

use crate::account::status_refusal;
use crate::app::{App, Caller};
use crate::dto::UserInfo;
use crate::failure::{Code, Failure};
use crate::live::Live;
use crate::oauth::door::{Admission, Door};
use crate::password::{self, CHANGE_SCOPE};
use crate::refresh::signout_event;
use crate::refresh_token::RefreshToken;
use crate::store::{Session, User};
use crate::token::UnverifiedToken;

pub mod own;

pub async fn userinfo(app: &Arc<App>, headers: &HeaderMap) -> Result<UserInfo, Failure> {
    let (_, user) = authenticate(app, headers).await?;
    let live = app.serving.live();
    let life = live
        .policy_of_key(&user.policy)
        .map(|policy| policy.spec.password)
        .unwrap_or_default();
    let standing = password::standing(user.password, &life, app.clock.now());
    Ok(UserInfo::of(&user, standing))
}

pub async fn signout(app: &Arc<App>, caller: Caller<'_>) -> Result<(), Failure> {
    let (session, user) = authenticate(app, caller.headers).await?;
    let event = signout_event(app, caller, &session, &user, None);
    let _was_live = app
        .store
        .end_session(session.id, app.clock.now(), event)
        .await?;
    Ok(())
}

/// Ends the session of a refresh or access token. A token that is not valid has no session to end: that is no error
/// (RFC 7009, section 2.2).
pub async fn revoke(app: &Arc<App>, token: &str, caller: Caller<'_>) -> Result<(), Failure> {
    revoke_at(app, &Door::Api, token, caller).await
}

/// The same through any door.
pub(crate) async fn revoke_at(
    app: &Arc<App>,
    door: &Door<'_>,
    token: &str,
    caller: Caller<'_>,
) -> Result<(), Failure> {
    let session = match RefreshToken::parse(token) {
        Some(refresh) => {
            let found = app.store.session(refresh.session()).await?;
            // Only a token that the session knows: its family id alone is no proof.
            found.filter(|(session, _)| {
                let digest = refresh.digest();
                session.refresh_digest == digest
                    || session.rotated.iter().any(|past| past.digest == digest)
            })
        }
        None => match verify_access_token(&app.serving.live(), token, app.clock.now()) {
            Ok(presented) => app.store.session(presented.session).await?,
            Err(_) => None,
        },
    };
    if let Some((session, user)) = session {
        match door.admit_revocation(&app.serving.live(), &session)? {
            Admission::Admitted => {}
            Admission::Unknown => return Ok(()),
        }
        let event = signout_event(app, caller, &session, &user, door.client_id());
        let _was_live = app
            .store
            .end_session(session.id, app.clock.now(), event)
            .await?;
    }
    Ok(())
}

/// What a token may be meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// Nothing that a token which only changes the password opens.
    Everything,
    PasswordChange,
}

/// The live session and active user of a request's Bearer token (RFC 6750).
pub(crate) async fn authenticate(
    app: &Arc<App>,
    headers: &HeaderMap,
) -> Result<(Session, User), Failure> {
    authenticate_for(app, headers, Opens::Everything).await
}

/// As [`authenticate`], for what the token is presented for.
pub async fn authenticate_for(
    app: &Arc<App>,
    headers: &HeaderMap,
    opens: Opens,
) -> Result<(Session, User), Failure> {
    let invalid = |why: &'static str| Failure::from(Code::AccessTokenInvalid.because(why));
    let token = bearer(headers).ok_or_else(|| invalid("no Bearer token"))?;
    let now = app.clock.now();
    let presented = verify_access_token(&app.serving.live(), token, now)
        .map_err(|why| Code::AccessTokenInvalid.because(why))?;
    if presented.only_changes_password && opens != Opens::PasswordChange {
        return Err(Code::PasswordChangeRequired
            .because("the token is for changing the password alone")
            .into());
    }
    let found = app.store.session(presented.session).await?;
    let (session, user) = found.ok_or_else(|| invalid("there is no such session"))?;
    if session.ended_at.is_some()
        || now >= session.ends_at
        || session.created_at < user.sessions_valid_from
    {
        return Err(invalid("the session is over"));
    }
    match status_refusal(user.status) {
        Some(refused) => Err(refused.into()),
        None => Ok((session, user)),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// One of our own access tokens, verified.
pub(crate) struct PresentedToken {
    pub(crate) session: Uuid,
    pub(crate) only_changes_password: bool,
    /// `namespace/name` of the policy whose key signed it.
    pub(crate) policy: String,
    pub(crate) claims: Value,
}

/// What one of our own access tokens says (RFC 9068, section 4).
pub(crate) fn verify_access_token(
    live: &Live,
    text: &str,
    now: i64,
) -> Result<PresentedToken, String> {
    let token = UnverifiedToken::parse(text).map_err(|malformed| malformed.to_string())?;
    if token.jws.header.typ.as_deref() != Some("at+jwt") {
        return Err("its type is not at+jwt".to_owned());
    }
    let policy = live
        .policy_of_issuer(&token.issuer)
        .ok_or("its issuer is no policy of ours")?;
    let kid = token.jws.header.kid.as_deref().unwrap_or_default();
    let key = policy.key_of(kid).ok_or("its key is none of ours")?;
    if token.jws.header.algorithm != Some(key.signing.algorithm) {
        return Err("its algorithm is not its key's".to_owned());
    }
    let verified = match key.public.find(Some(kid), key.signing.algorithm) {
        Lookup::Found(public) => {
            public.verify_sig(token.jws.signing_input.as_bytes(), &token.jws.signature)
        }
        Lookup::AlgorithmMismatch | Lookup::Unknown => {
            return Err("its key cannot verify".to_owned());
        }
    };
    verified.map_err(|_| "its signature does not verify")?;
    if now >= token.expires_at {
        return Err("it has expired".to_owned());
    }
    let claim = |name: &str| token.claims.get(name).and_then(Value::as_str);
    let session = claim("sid").and_then(|sid| sid.parse().ok());
    Ok(PresentedToken {
        session: session.ok_or("it names no session")?,
        only_changes_password: claim("scope") == Some(CHANGE_SCOPE),
        policy: policy.key.clone(),
        claims: token.claims,
    })
}

/// Our own published key, ready to verify.
pub fn public_half(jwk: &Value, algorithm: vestibule_crds::algorithm::Algorithm) -> KeySet {
    KeySet::parse(&serde_json::json!({"keys": [jwk]}), &[algorithm]).unwrap_or_default()
}
