//! Everything that one sign-in writes, or none of it: one statement, and so one transaction and one round trip.
//!
//! Isolation. Under READ COMMITTED all parts of the statement see what was committed when it began, so whatever must hold at
//! the commit is held by a lock or a unique key:
//!
//! | what must hold | by |
//! |---|---|
//! | the user is there and active | the user's row is locked, and its status is the one found under the lock |
//! | the token signs in once | primary key of `replay_guard`: a second insert waits for the first and comes to nothing |
//! | the provider has not ended the login | a logout looks for sessions again once it is committed ([`super::sessions`]) |
//! | of two sign-ins at once one history is kept whole | primary key of `risk_history`, and its version compared under the row's lock |
//! | the identity is new | primary key of `identities`: the second insert fails, and all of its statement with it |
//! | a second factor proves the sign-in once | the user's counters are locked, and all that is used up is compared and set under that lock ([`super::mfa`]) |
//! | the user alone owns the address | the owners' rows are locked before the provider is asked again (a transaction of its own) |
//!
//! What conflicts under a stricter isolation (compatible servers know only SERIALIZABLE) fails with 40001 or 40P01, has then
//! written nothing, and is asked again.

pub(super) mod together;

use std::sync::LazyLock;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::connect::Connection;
use super::events::{Line, text};
use super::fault::Fault;
use super::mfa::{Completing, begin};
use super::passwords::{EVICT, evict_unverified};
use super::pool::Ask;
use super::users::status_of;
use crate::sessions::Origin;
use crate::{
    Account, IdentityKey, NewHistory, Profile, Signin, SigninOutcome, UseOnce, User, UserStatus,
};

type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// The shapes of the statement.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Existing,
    /// With a profile that changed.
    Changed,
    Create,
    Link,
}

/// The first parameters of every shape: the session, its event, the user. The shape's own follow, the replay key's, the
/// history's, what is known of the session's origin, and the login at the provider.
const SHARED: usize = 18;

impl Shape {
    const ALL: [Self; 4] = [Self::Existing, Self::Changed, Self::Create, Self::Link];

    /// How many parameters of its own it has.
    fn parameters(self) -> usize {
        match self {
            Self::Existing => 0,
            Self::Changed => 6,
            Self::Create => 12,
            Self::Link => 3,
        }
    }

    fn text(self, parts: Parts) -> &'static str {
        static TEXTS: LazyLock<Vec<[String; 4]>> = LazyLock::new(|| {
            let texts = Shape::ALL.map(|shape| Parts::ALL.map(|parts| shape.build(parts)));
            texts.into()
        });
        &TEXTS[self as usize][parts.index()]
    }

    /// `owner` is whose session it will be; `may` has a row when everything that was checked holds, and all writes come from it.
    fn build(self, parts: Parts) -> String {
        let Parts {
            replay_guarded,
            learns,
        } = parts;
        let owner = match self {
            Self::Existing => {
                "owner AS MATERIALIZED (SELECT id, status, sessions_valid_from FROM users WHERE id = $18 FOR SHARE)"
            }
            Self::Changed => {
                "owner AS MATERIALIZED (SELECT id, status, sessions_valid_from FROM users WHERE id = $18 FOR NO KEY UPDATE)"
            }
            Self::Create => {
                "known AS MATERIALIZED (SELECT 1 FROM identities WHERE policy = $19 AND issuer = $26 AND subject = $27), \
                 owner AS MATERIALIZED (SELECT $18::uuid AS id, $24::text AS status, $28::bigint AS sessions_valid_from \
                 WHERE NOT EXISTS (SELECT 1 FROM known))"
            }
            Self::Link => {
                "known AS MATERIALIZED (SELECT 1 FROM identities WHERE policy = $19 AND issuer = $20 AND subject = $21), \
                 owner AS MATERIALIZED (SELECT id, status, sessions_valid_from FROM users WHERE id = $18 \
                 AND NOT EXISTS (SELECT 1 FROM known) FOR SHARE)"
            }
        };
        let (replay, first) = if replay_guarded {
            let at = SHARED + self.parameters() + 1;
            let digest = at + 1;
            let insert = format!(
                "first AS (INSERT INTO replay_guard (expires_at, digest) SELECT ${at}::bigint, ${digest}::bytea FROM owner \
                 WHERE status = 'active' AND NOT EXISTS (SELECT 1 FROM ended) ON CONFLICT DO NOTHING RETURNING 1), "
            );
            (insert, " AND EXISTS (SELECT 1 FROM first)")
        } else {
            (String::new(), "")
        };
        let learnt = if learns {
            let content = SHARED + self.parameters() + 1 + if replay_guarded { 2 } else { 0 };
            let replaces = content + 1;
            format!(
                "learnt AS (INSERT INTO risk_history (user_id, version, content) SELECT id, 1, ${content}::bytea FROM may \
                 ON CONFLICT (user_id) DO UPDATE SET version = risk_history.version + 1, content = excluded.content \
                 WHERE risk_history.version = ${replaces}::bigint), "
            )
        } else {
            String::new()
        };
        let device = SHARED
            + self.parameters()
            + 1
            + if replay_guarded { 2 } else { 0 }
            + if learns { 2 } else { 0 };
        let (subject, sid) = (device + 1, device + 2);
        let (all, this, issued_at) = (device + 3, device + 4, device + 5);
        let account = match self {
            Self::Existing => "",
            Self::Changed => {
                "kept AS (UPDATE users SET username = $19, email = $20, email_verified = $21, phone = $22, link_email = $23, \
                 unverified_phone = $24 FROM may WHERE users.id = may.id), "
            }
            Self::Create => {
                "person AS (INSERT INTO users (id, policy, username, email, email_verified, phone, status, created_at, \
                 sessions_valid_from, link_email, unverified_phone) SELECT id, $19::text, $20::text, $21::text, $22::boolean, \
                 $23::text, $24::text, $25::bigint, $28::bigint, $29::text, $30::text FROM may), \
                 named AS (INSERT INTO identities (policy, issuer, subject, user_id) \
                 SELECT $19::text, $26::text, $27::text, id FROM may), "
            }
            Self::Link => {
                "named AS (INSERT INTO identities (policy, issuer, subject, user_id) \
                 SELECT $19::text, $20::text, $21::text, id FROM may), "
            }
        };
        // Sessions may have been revoked within this very second; this one came after.
        format!(
            "WITH {owner}, \
             ended AS MATERIALIZED (SELECT 1 FROM ended_logins WHERE provider = $2 AND digest IN (${all}::bytea, ${this}::bytea) \
             AND issued_until >= ${issued_at}::bigint), {replay}\
             may AS MATERIALIZED (SELECT id, sessions_valid_from FROM owner WHERE status = 'active' \
             AND NOT EXISTS (SELECT 1 FROM ended){first}), \
             {account}{learnt}\
             made AS (INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, \
             carried, network, device, subject_digest, sid_digest) SELECT $1::uuid, id, $2::text, \
             greatest($7::bigint, sessions_valid_from), $3::bytea, $4::bigint, $5::bigint, $6::text, $16::text, ${device}::text, \
             ${subject}::bytea, ${sid}::bytea FROM may), \
             told AS (INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, \
             detail) SELECT $8::bigint, $9::text, $10::text, $11::text, $12::text, $13::uuid, $14::uuid, $15::text, \
             $16::text, $17::text FROM may) \
             SELECT (SELECT status FROM owner), EXISTS (SELECT 1 FROM may), EXISTS (SELECT 1 FROM ended)"
        )
    }
}

/// What comes with the session and its event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    replay_guarded: bool,
    /// Whether the user's history is written.
    learns: bool,
}

impl Parts {
    const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(true, true),
    ];

    pub(super) const fn new(replay_guarded: bool, learns: bool) -> Self {
        Self {
            replay_guarded,
            learns,
        }
    }

    fn index(self) -> usize {
        usize::from(self.replay_guarded) + 2 * usize::from(self.learns)
    }
}

impl Ask for Signin {
    type Answer = SigninOutcome;

    async fn ask(&self, db: &mut Connection) -> Result<SigninOutcome, Fault> {
        let parts = Parts::new(self.replay.is_some(), self.history.is_some());
        let result = match &self.account {
            account if self.completion.is_some() => self.complete(db, account, parts).await,
            Account::Existing {
                user_id,
                profile: None,
            } => {
                let statement = db.prepared(Shape::Existing.text(parts)).await?;
                self.write(&db.client, &statement, user_id, Vec::new())
                    .await
            }
            Account::Existing {
                user_id,
                profile: Some(profile),
            } => {
                let statement = db.prepared(Shape::Changed.text(parts)).await?;
                let Profile {
                    username,
                    email,
                    email_verified,
                    email_linkable: _,
                    phone,
                    phone_unverified: _,
                } = profile;
                let linked = (profile.link_email(), profile.unverified_phone());
                let own: Parameters<'_> =
                    vec![username, email, email_verified, phone, &linked.0, &linked.1];
                match proved_address(profile) {
                    None => self.write(&db.client, &statement, user_id, own).await,
                    Some(email) => {
                        let evict = db.prepared(EVICT).await?;
                        // Dropped without a commit it is rolled back.
                        let transaction = begin(db).await?;
                        let client = transaction.client();
                        let written = self.write(client, &statement, user_id, own).await;
                        if let Ok(SigninOutcome::Committed) = written {
                            evict_unverified(client, &evict, *user_id, email, self.now).await?;
                            transaction.commit().await?;
                        }
                        written
                    }
                }
            }
            Account::Create { user, identity } => {
                let statement = db.prepared(Shape::Create.text(parts)).await?;
                match proved_address(&user.profile) {
                    None => self.create(&db.client, &statement, user, identity).await,
                    Some(email) => {
                        let evict = db.prepared(EVICT).await?;
                        // Dropped without a commit it is rolled back.
                        let transaction = begin(db).await?;
                        let client = transaction.client();
                        let written = self.create(client, &statement, user, identity).await;
                        if let Ok(SigninOutcome::Committed) = written {
                            evict_unverified(client, &evict, user.id, email, self.now).await?;
                            transaction.commit().await?;
                        }
                        written
                    }
                }
            }
            Account::Link {
                user_id,
                identity,
                email,
                recheck,
            } => {
                let owners = db.prepared(OWNERS).await?;
                let statement = db.prepared(Shape::Link.text(parts)).await?;
                let IdentityKey {
                    policy,
                    issuer,
                    subject,
                } = identity;
                // Dropped without a commit it is rolled back.
                let transaction = begin(db).await?;
                let owner = sole_owner(transaction.client(), &owners, *user_id, identity, email);
                if let Err(outcome) = owner.await? {
                    return Ok(outcome);
                }
                if !recheck() {
                    return Ok(SigninOutcome::LinkRefused);
                }
                let own: Parameters<'_> = vec![policy, issuer, subject];
                let written = self
                    .write(transaction.client(), &statement, user_id, own)
                    .await;
                if written.is_ok() {
                    transaction.commit().await?;
                }
                written
            }
        };
        match result {
            // Somebody with this identity was created or linked while this ran.
            Err(fault) if fault.takes("identities") => Ok(SigninOutcome::Changed),
            result => result,
        }
    }
}

/// The address that a sign-in proves its user to own, by a provider whose linking covers it.
fn proved_address(profile: &Profile) -> Option<&str> {
    profile.link_email().map(String::as_str)
}

/// Locks whoever has the address, and says whether the identity is known already.
pub(super) const OWNERS: &str = "\
    SELECT id, status, EXISTS (SELECT 1 FROM identities WHERE policy = $1 AND issuer = $3 AND subject = $4) \
    FROM users WHERE policy = $1 AND email = $2 AND email_verified AND link_email = $2 LIMIT 2 FOR SHARE";

/// Whether the user alone has the address and may get the identity; from here on nobody else gets either.
pub(super) async fn sole_owner(
    client: &Client,
    owners: &Statement,
    user_id: uuid::Uuid,
    identity: &IdentityKey,
    email: &str,
) -> Result<Result<(), SigninOutcome>, Fault> {
    let IdentityKey {
        policy,
        issuer,
        subject,
    } = identity;
    let rows = client
        .query(owners, &[policy, &email, issuer, subject])
        .await?;
    let [owner] = rows.as_slice() else {
        return Ok(Err(SigninOutcome::Changed));
    };
    if owner.try_get::<_, uuid::Uuid>(0)? != user_id || owner.try_get(2)? {
        return Ok(Err(SigninOutcome::Changed));
    }
    Ok(match status_of(owner.try_get(1)?)? {
        UserStatus::Active => Ok(()),
        status @ (UserStatus::Disabled | UserStatus::Locked) => {
            Err(SigninOutcome::UserNotActive(status))
        }
    })
}

impl Signin {
    /// A sign-in that was challenged: what proves it and the sign-in in one transaction.
    async fn complete(
        &self,
        db: &mut Connection,
        account: &Account,
        parts: Parts,
    ) -> Result<SigninOutcome, Fault> {
        let Some(completion) = &self.completion else {
            return Ok(SigninOutcome::Changed);
        };
        let completing = Completing::prepare(db).await?;
        let owners = db.prepared(OWNERS).await?;
        let evict = db.prepared(EVICT).await?;
        let (shape, user_id) = match account {
            Account::Existing {
                user_id,
                profile: None,
            } => (Shape::Existing, user_id),
            Account::Existing {
                user_id,
                profile: Some(_),
            } => (Shape::Changed, user_id),
            // A challenge created its user.
            Account::Create { .. } => return Ok(SigninOutcome::Changed),
            Account::Link { user_id, .. } => (Shape::Link, user_id),
        };
        let statement = db.prepared(shape.text(parts)).await?;
        // Dropped without a commit it is rolled back.
        let transaction = begin(db).await?;
        let client = transaction.client();
        // The counters are locked before the user's row, everywhere.
        let completed = completing.complete(client, *user_id, completion, self.now);
        if let Err(outcome) = completed.await? {
            return Ok(outcome);
        }
        let linked;
        let mut own = Parameters::new();
        match account {
            Account::Existing { profile: None, .. } | Account::Create { .. } => {}
            Account::Existing {
                profile: Some(profile),
                ..
            } => {
                let Profile {
                    username,
                    email,
                    email_verified,
                    email_linkable: _,
                    phone,
                    phone_unverified: _,
                } = profile;
                linked = (profile.link_email(), profile.unverified_phone());
                own.extend([
                    username as &(dyn ToSql + Sync),
                    email,
                    email_verified,
                    phone,
                    &linked.0,
                    &linked.1,
                ]);
            }
            Account::Link {
                user_id,
                identity,
                email,
                recheck,
            } => {
                let owner = sole_owner(client, &owners, *user_id, identity, email);
                if let Err(outcome) = owner.await? {
                    return Ok(outcome);
                }
                if !recheck() {
                    return Ok(SigninOutcome::LinkRefused);
                }
                let IdentityKey {
                    policy,
                    issuer,
                    subject,
                } = identity;
                own.extend([policy as &(dyn ToSql + Sync), issuer, subject]);
            }
        }
        let written = self.write(client, &statement, user_id, own).await?;
        if written == SigninOutcome::Committed {
            if let Account::Existing {
                profile: Some(profile),
                ..
            } = account
                && let Some(email) = proved_address(profile)
            {
                evict_unverified(client, &evict, *user_id, email, self.now).await?;
            }
            transaction.commit().await?;
        }
        Ok(written)
    }

    async fn create(
        &self,
        client: &Client,
        statement: &Statement,
        user: &User,
        identity: &IdentityKey,
    ) -> Result<SigninOutcome, Fault> {
        let User {
            id,
            policy,
            profile,
            status,
            created_at,
            sessions_valid_from,
            // A sign-in gives nobody a password.
            password: _,
        } = user;
        let Profile {
            username,
            email,
            email_verified,
            email_linkable: _,
            phone,
            phone_unverified: _,
        } = profile;
        let IdentityKey {
            policy: _same,
            issuer,
            subject,
        } = identity;
        let status = status.name();
        let (link_email, unverified_phone) = (profile.link_email(), profile.unverified_phone());
        let own: Parameters<'_> = vec![
            policy,
            username,
            email,
            email_verified,
            phone,
            &status,
            created_at,
            issuer,
            subject,
            sessions_valid_from,
            &link_email,
            &unverified_phone,
        ];
        self.write(client, statement, id, own).await
    }

    async fn write(
        &self,
        client: &Client,
        statement: &Statement,
        user_id: &uuid::Uuid,
        own: Parameters<'_>,
    ) -> Result<SigninOutcome, Fault> {
        let Self {
            account: _,
            session,
            login,
            replay,
            history,
            completion: _,
            event,
            now,
        } = self;
        let line = Line::from(event);
        let refresh_digest = session.refresh_digest.as_slice();
        let carried = text(&session.carried);
        let (carried, kind) = (carried.as_ref(), event.kind.as_str());
        let (policy, provider) = (line.policy.as_ref(), line.provider.as_ref());
        let (request_id, network) = (line.request_id.as_ref(), line.network.as_ref());
        let detail = line.detail.as_ref();
        let replay = replay
            .as_ref()
            .map(|key| (key.expires_at, key.digest.as_slice()));
        let mut parameters: Parameters<'_> = vec![
            &session.id,
            &session.provider,
            &refresh_digest,
            &session.refresh_expires_at,
            &session.ends_at,
            &carried,
            now,
            &event.at,
            &kind,
            &event.outcome,
            &policy,
            &provider,
            &event.user_id,
            &event.session_id,
            &request_id,
            &network,
            &detail,
            user_id,
        ];
        parameters.extend(own);
        if let Some((expires_at, digest)) = &replay {
            parameters.extend([expires_at as &(dyn ToSql + Sync), digest]);
        }
        if let Some(NewHistory { replaces, content }) = history {
            parameters.extend([content as &(dyn ToSql + Sync), replaces]);
        }
        let Origin { subject, sid } = &session.origin;
        let (subject, sid) = (subject.as_ref(), sid.as_ref());
        let (subject, sid) = (subject.map(|of| of.as_slice()), sid.map(|of| of.as_slice()));
        parameters.extend([&session.device as &(dyn ToSql + Sync), &subject, &sid]);
        let login = login.as_ref();
        let ended_by = login.map(|login| login.ended_by.each_ref().map(|digest| digest.as_slice()));
        let (all, this) = ended_by.map(|[all, this]| (all, this)).unzip();
        let issued_at = login.map(|login| login.issued_at);
        parameters.extend([&all as &(dyn ToSql + Sync), &this, &issued_at]);
        let row = client.query_one(statement, &parameters).await?;
        let status: Option<&str> = row.try_get(0)?;
        Ok(match status {
            Some(status) => outcome(status_of(status)?, row.try_get(1)?, row.try_get(2)?),
            None => SigninOutcome::Changed,
        })
    }
}

/// With the status found under the lock.
fn outcome(status: UserStatus, written: bool, ended: bool) -> SigninOutcome {
    match status {
        UserStatus::Active if written => SigninOutcome::Committed,
        UserStatus::Active if ended => SigninOutcome::LoginEnded,
        // All else was checked before the token was.
        UserStatus::Active => SigninOutcome::Replayed,
        status @ (UserStatus::Disabled | UserStatus::Locked) => {
            SigninOutcome::UserNotActive(status)
        }
    }
}

impl Ask for UseOnce {
    type Answer = bool;

    /// Of two at once the second waits for the first and inserts nothing.
    async fn ask(&self, db: &mut Connection) -> Result<bool, Fault> {
        let statement = db
            .prepared("INSERT INTO replay_guard (expires_at, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .await?;
        let inserted = db
            .client
            .execute(&statement, &[&self.0.expires_at, &self.0.digest.as_slice()])
            .await?;
        Ok(inserted == 1)
    }
}
