//! How an administrator lists and ends a user's sessions.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, AskError, UserAdministration};
use crate::clock::rfc3339;
use vestibule_store::sessions::{PAGE_SESSIONS_MAX, SessionPage};
use vestibule_store::{EndSession, ReadSession, RevokeSessions, Session, User};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub id: Uuid,
    /// `namespace/name`.
    pub provider: String,
    /// RFC 3339, as the times below.
    pub created_at: String,
    pub last_used_at: String,
    /// Without another refresh until then.
    pub expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Where it was used last from: /24 of IPv4, /48 of IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl UserAdministration<'_> {
    pub(super) async fn sessions(
        &self,
        user: Uuid,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Answer, AskError> {
        if limit == 0 || limit > PAGE_SESSIONS_MAX {
            let message = format!("a page has 1 to {PAGE_SESSIONS_MAX} sessions");
            return Err(AskError::Wrong(message));
        }
        let user = self.user(user).await?.id;
        let page = SessionPage {
            user,
            after,
            limit,
            now: self.now,
        };
        let found = self.store.run(page).await?;
        Ok(Answer {
            sessions: found.into_iter().map(SessionRecord::of).collect(),
            ..Answer::default()
        })
    }

    /// One session, or all that the user has now.
    pub(super) async fn revoke_sessions(
        &self,
        user: Uuid,
        session: Option<Uuid>,
    ) -> Result<Answer, AskError> {
        let user = self.user(user).await?;
        match session {
            None => {
                let event = self.event(&user, "all sessions are ended");
                let revoking = self.store.run(RevokeSessions {
                    user: user.id,
                    now: self.now,
                    event,
                });
                if !revoking.await? {
                    return Err(AskError::NoUser);
                }
            }
            Some(id) => self.revoke_session(&user, id).await?,
        }
        self.one(user.id).await
    }

    async fn revoke_session(&self, user: &User, id: Uuid) -> Result<(), AskError> {
        let found = self.store.run(ReadSession(id)).await?;
        let (session, _) = found
            .filter(|(_, owner)| owner.id == user.id)
            .ok_or(AskError::NoSession)?;
        let mut event = self.event(user, "a session is ended");
        event.session_id = Some(session.id);
        event.provider = session.provider;
        if self
            .store
            .run(EndSession {
                id,
                now: self.now,
                event,
            })
            .await?
        {
            Ok(())
        } else {
            Err(AskError::NoSession)
        }
    }
}

impl SessionRecord {
    /// The part of a session that its user and an administrator may see.
    pub fn of(session: Session) -> Self {
        let Session {
            id,
            policy: _,
            provider,
            created_at,
            refresh_digest: _,
            refresh_expires_at,
            ends_at,
            ended_at: _,
            rotated: _,
            carried: _,
            last_used_at,
            device,
            network,
            origin: _,
        } = session;
        Self {
            id,
            provider,
            created_at: rfc3339(created_at),
            last_used_at: rfc3339(last_used_at.unwrap_or(created_at)),
            expires_at: rfc3339(refresh_expires_at.min(ends_at)),
            device,
            network: network.filter(|network| !network.is_empty()),
        }
    }
}
