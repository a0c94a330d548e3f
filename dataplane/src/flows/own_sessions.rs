//! A user's own sessions: seen, and ended one by one or all at once.

use std::sync::Arc;

use uuid::Uuid;

use crate::app::{App, Caller};
use crate::dto::{SessionInfo, Sessions};
use crate::failure::{Code, Failure};
use crate::flows::frame::Frame;
use crate::flows::session::{Bearer, Opens, authenticate, check_recent};
use crate::users::sessions::SessionRecord;
use vestibule_store::sessions::{PAGE_SESSIONS_MAX, SessionPage};
use vestibule_store::{EndSession, EventKind, ReadSession, RevokeSessions, Session};

/// A page of them, the newest first. `after`: the last one of the page before.
pub async fn list(
    app: &Arc<App>,
    caller: Caller<'_>,
    after: Option<&str>,
) -> Result<Sessions, Failure> {
    let mut frame = Frame::begin(app, EventKind::Signout, caller);
    let Bearer { session, user, .. } = authenticate(app, &mut frame, Opens::Account).await?;
    let after = after.map(str::parse::<Uuid>).transpose();
    let after = after.map_err(|_| Code::InvalidRequest.because("`after` is no id"))?;
    let page = SessionPage {
        user: user.id,
        after,
        limit: PAGE_SESSIONS_MAX,
        now: frame.now,
    };
    let found = app.store.run(page).await?;
    let is_full = found.len() == PAGE_SESSIONS_MAX as usize;
    let next = found.last().filter(|_| is_full);
    Ok(Sessions {
        next: next.map(|last| last.id.to_string()),
        sessions: found
            .into_iter()
            .map(|other| info(other, session.id))
            .collect(),
    })
}

/// Ends one of the user's own sessions; another user's session is answered as if it did not exist.
pub async fn end(app: &Arc<App>, id: Uuid, caller: Caller<'_>) -> Result<(), Failure> {
    let mut frame = Frame::begin(app, EventKind::Signout, caller);
    let bearer = authenticate(app, &mut frame, Opens::Account).await?;
    if id != bearer.session.id {
        check_recent(&bearer, frame.now)?;
    }
    let not_found = || Failure::from(Code::NotFound.because("the user has no such live session"));
    let found = app.store.run(ReadSession(id)).await?;
    let (session, user) = found
        .filter(|(_, owner)| owner.id == bearer.user.id)
        .ok_or_else(not_found)?;
    frame.audit.of_session(&session, &user);
    let (now, event) = (frame.now, frame.audit.success());
    if app
        .store
        .run(EndSession {
            id: session.id,
            now,
            event,
        })
        .await?
    {
        Ok(())
    } else {
        Err(not_found())
    }
}

/// Ends all of the user's sessions, this one too.
pub async fn end_all(app: &Arc<App>, caller: Caller<'_>) -> Result<(), Failure> {
    let mut frame = Frame::begin(app, EventKind::Signout, caller);
    let Bearer { user, .. } = authenticate(app, &mut frame, Opens::AccountChange).await?;
    let mut event = frame.audit.success();
    event.detail = "all sessions of the user".to_owned();
    let _found = app
        .store
        .run(RevokeSessions {
            user: user.id,
            now: frame.now,
            event,
        })
        .await?;
    Ok(())
}

fn info(session: Session, current: Uuid) -> SessionInfo {
    let SessionRecord {
        id,
        provider,
        created_at,
        last_used_at,
        expires_at,
        device,
        network,
    } = SessionRecord::of(session);
    let provider = provider.rsplit('/').next().unwrap_or_default();
    SessionInfo {
        id: id.to_string(),
        current: id == current,
        provider: provider.to_owned(),
        created_at,
        last_used_at,
        expires_at,
        device,
        network,
    }
}
