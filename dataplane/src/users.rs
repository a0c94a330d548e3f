//! Users as an administrator sees and changes them: one list of operations, answered in the data
//! plane for holders of the admin token, and in the command itself where it reaches the database.

pub mod import;
pub mod sessions;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vestibule_crds::secret::Secret;

use self::import::{ImportLine, LineError};
use self::sessions::SessionRecord;
use crate::clock::rfc3339;
use crate::password::check_text;
use crate::password::hashing::Hashing;
use vestibule_store::passwords::{
    ChangeOutcome, ChangePassword, ChangedBy, ImportOutcome, PAGE_USERS_MAX, ReadUser,
    RequirePasswordChange, UserPage, UsersNamed,
};
use vestibule_store::{
    Event, EventClass, EventKind, SetUserStatus, Store, StoreError, User, UserStatus,
};

/// Lines that are imported at once.
pub const IMPORT_LINES_MAX: usize = 200;

/// One thing to ask. It may hold a password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Users in the order of their ids.
    List {
        policy: Option<String>,
        status: Option<String>,
        /// The last user of the page before.
        after: Option<Uuid>,
        limit: u32,
    },
    /// By id, or with a policy by user name or address.
    Find {
        policy: Option<String>,
        name: String,
    },
    SetStatus {
        user: Uuid,
        status: String,
    },
    RequirePasswordChange {
        user: Uuid,
    },
    SetPassword {
        user: Uuid,
        password: Secret,
        must_change: bool,
    },
    Import {
        policy: String,
        lines: Vec<ImportLine>,
    },
    /// The active ones, the newest first.
    Sessions {
        user: Uuid,
        /// The last session of the page before.
        after: Option<Uuid>,
        limit: u32,
    },
    RevokeSessions {
        user: Uuid,
        /// This one alone; without it all.
        session: Option<Uuid>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    pub id: Uuid,
    /// `namespace/name`.
    pub policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    pub email_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    pub status: String,
    /// RFC 3339.
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordRecord {
    /// RFC 3339.
    pub changed_at: String,
    pub must_change: bool,
}

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    pub added: usize,
    /// Were there already, and stay as they were.
    pub known: usize,
    pub errors: Vec<LineError>,
}

/// Why nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("{0}")]
    Wrong(String),
    #[error("there is no such user")]
    NoUser,
    #[error("the user has no local password")]
    NoPassword,
    #[error("the user has no such live session")]
    NoSession,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an administrator is answered.
pub struct UserAdministration<'a> {
    pub store: &'a Store,
    pub hashing: &'a Hashing,
    /// `namespace/name` of a policy that is named by it, or by its name alone where that is known.
    pub policy_key: &'a (dyn Fn(&str) -> Option<String> + Sync),
    pub now: i64,
}

impl UserAdministration<'_> {
    pub async fn answer(&self, ask: Ask) -> Result<Answer, AskError> {
        match ask {
            Ask::List {
                policy,
                status,
                after,
                limit,
            } => {
                if limit == 0 || limit > PAGE_USERS_MAX {
                    let message = format!("a page has 1 to {PAGE_USERS_MAX} users");
                    return Err(AskError::Wrong(message));
                }
                let page = UserPage {
                    policy: policy.map(|policy| self.policy(&policy)).transpose()?,
                    status: status.map(|status| status_named(&status)).transpose()?,
                    after,
                    limit,
                };
                Ok(of(self.store.run(page).await?))
            }
            Ask::Find { policy, name } => self.find(policy.as_deref(), name).await,
            Ask::SetStatus { user, status } => {
                let status = status_named(&status)?;
                let found = self.user(user).await?;
                if !self
                    .store
                    .run(SetUserStatus {
                        user,
                        status,
                        now: self.now,
                    })
                    .await?
                {
                    return Err(AskError::NoUser);
                }
                let event = self.event(&found, format!("status: {}", status.as_str()));
                let _queued = self.store.record(event);
                self.one(user).await
            }
            Ask::RequirePasswordChange { user } => {
                let found = self.user(user).await?;
                let event = self.event(&found, "a password change is demanded");
                if !self
                    .store
                    .run(RequirePasswordChange { user, event })
                    .await?
                {
                    return Err(AskError::NoPassword);
                }
                self.one(user).await
            }
            Ask::SetPassword {
                user,
                password,
                must_change,
            } => {
                check_text(&password).map_err(|why| AskError::Wrong(why.to_owned()))?;
                let found = self.user(user).await?;
                let mut salt = [0; 16];
                let random = SystemRandom::new().fill(&mut salt);
                let no_hash = |why: &str| StoreError::Unavailable(why.to_owned());
                random.map_err(|_| no_hash("the system gives no random bytes"))?;
                let hash = self.hashing.hash(password, salt).await;
                let change = ChangePassword {
                    user,
                    by: ChangedBy::Administrator,
                    hash: hash.map_err(|error| no_hash(&error.to_string()))?,
                    must_change,
                    event: self.event(&found, "a password is set"),
                    now: self.now,
                };
                match self.store.run(change).await? {
                    ChangeOutcome::Changed => self.one(user).await,
                    ChangeOutcome::Gone | ChangeOutcome::UserNotActive(_) => Err(AskError::NoUser),
                }
            }
            Ask::Sessions { user, after, limit } => self.sessions(user, after, limit).await,
            Ask::RevokeSessions { user, session } => self.revoke_sessions(user, session).await,
            Ask::Import { policy, lines } => {
                let policy = self.policy(&policy)?;
                self.import(&policy, &lines).await
            }
        }
    }

    async fn find(&self, policy: Option<&str>, name: String) -> Result<Answer, AskError> {
        if let Ok(id) = name.parse() {
            return self.one(id).await;
        }
        let Some(policy) = policy else {
            let message = "name the policy with --policy, or the user by id";
            return Err(AskError::Wrong(message.to_owned()));
        };
        // Addresses are kept in lower case.
        let name = if name.contains('@') {
            name.to_lowercase()
        } else {
            name
        };
        let found = self
            .store
            .run(UsersNamed {
                policy: self.policy(policy)?,
                name,
            })
            .await?;
        if found.is_empty() {
            return Err(AskError::NoUser);
        }
        Ok(of(found))
    }

    async fn import(&self, policy: &str, lines: &[ImportLine]) -> Result<Answer, AskError> {
        if lines.len() > IMPORT_LINES_MAX {
            let message = format!("at most {IMPORT_LINES_MAX} lines at once");
            return Err(AskError::Wrong(message));
        }
        let mut imported = Imported::default();
        let mut good = Vec::with_capacity(lines.len());
        for line in lines {
            match import::read(policy, line, self.now) {
                Ok(user) => good.push((line.number, user)),
                Err(error) => imported.errors.push(error),
            }
        }
        // Nothing of what is not whole.
        if imported.errors.is_empty() {
            for (number, mut import) in good {
                import.event = self.event(&import.user, "imported");
                match self.store.run(import).await? {
                    ImportOutcome::Added => imported.added += 1,
                    ImportOutcome::Known => imported.known += 1,
                    taken @ ImportOutcome::IdentityTaken => imported.errors.push(LineError {
                        line: number,
                        error: taken.to_string(),
                    }),
                }
            }
        }
        Ok(Answer {
            imported: Some(imported),
            ..Answer::default()
        })
    }

    fn policy(&self, name: &str) -> Result<String, AskError> {
        (self.policy_key)(name).ok_or_else(|| {
            AskError::Wrong(format!(
                "there is no policy {name}: write namespace/name of a SigninPolicy that is served"
            ))
        })
    }

    async fn user(&self, id: Uuid) -> Result<User, AskError> {
        self.store.run(ReadUser(id)).await?.ok_or(AskError::NoUser)
    }

    async fn one(&self, id: Uuid) -> Result<Answer, AskError> {
        Ok(of([self.user(id).await?]))
    }

    fn event(&self, user: &User, detail: impl Into<String>) -> Event {
        change_event(self.now, &user.policy, user.id, detail.into())
    }
}

/// The audit event of a change by an administrator.
fn change_event(now: i64, policy: &str, user: Uuid, detail: String) -> Event {
    Event {
        at: now,
        kind: EventKind::UserChange,
        outcome: "ok",
        class: EventClass::Accepted,
        policy: policy.to_owned(),
        provider: String::new(),
        user_id: Some(user),
        session_id: None,
        request_id: String::new(),
        network: String::new(),
        detail,
        count: 1,
    }
}

fn of(users: impl IntoIterator<Item = User>) -> Answer {
    Answer {
        users: users.into_iter().map(UserRecord::of).collect(),
        ..Answer::default()
    }
}

fn status_named(name: &str) -> Result<UserStatus, AskError> {
    UserStatus::parse(name)
        .ok_or_else(|| AskError::Wrong("a status is active, disabled or locked".to_owned()))
}

impl UserRecord {
    fn of(user: User) -> Self {
        let User {
            id,
            policy,
            profile,
            status,
            created_at,
            sessions_valid_from: _,
            password,
        } = user;
        Self {
            id,
            policy,
            username: profile.username,
            email: profile.email,
            email_verified: profile.email_verified,
            phone: profile.phone,
            status: status.as_str().to_owned(),
            created_at: rfc3339(created_at),
            password: password.map(|password| PasswordRecord {
                changed_at: rfc3339(password.changed_at),
                must_change: password.must_change,
            }),
        }
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

impl std::fmt::Debug for UserAdministration<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}
