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

pub(super) mod batch;
pub(super) mod text;

use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use self::text::{Parts, Shape};
use super::connect::Connection;
use super::fault::Fault;
use super::mfa::{Completing, begin};
use super::passwords::{EVICT, evict_unverified};
use super::pool::Ask;
use super::users::status_of;
use crate::statements::value::{Value, parameters};
use crate::statements::{events, sessions, users};
use crate::{Account, IdentityKey, Profile, Signin, SigninOutcome, UseOnce, User, UserStatus};

/// Room for the values of any sign-in.
const VALUES_MAX: usize = 48;

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
                self.write(&db.client, &statement, *user_id, &[]).await
            }
            Account::Existing {
                user_id,
                profile: Some(profile),
            } => {
                let statement = db.prepared(Shape::Changed.text(parts)).await?;
                let own = users::profile_row(profile);
                match proved_address(profile) {
                    None => self.write(&db.client, &statement, *user_id, &own).await,
                    Some(email) => {
                        let evict = db.prepared(EVICT).await?;
                        // Dropped without a commit it is rolled back.
                        let transaction = begin(db).await?;
                        let client = transaction.client();
                        let written = self.write(client, &statement, *user_id, &own).await;
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
                // Dropped without a commit it is rolled back.
                let transaction = begin(db).await?;
                let owner = sole_owner(transaction.client(), &owners, *user_id, identity, email);
                if let Err(outcome) = owner.await? {
                    return Ok(outcome);
                }
                if !recheck() {
                    return Ok(SigninOutcome::LinkRefused);
                }
                let own = named(identity);
                let written = self
                    .write(transaction.client(), &statement, *user_id, &own)
                    .await;
                if written.is_ok() {
                    transaction.commit().await?;
                }
                written
            }
        };
        match result {
            // A user with this identity was created or linked while this ran.
            Err(fault) if fault.takes("identities") => Ok(SigninOutcome::Changed),
            result => result,
        }
    }
}

/// The address that a sign-in proves its user to own, by a provider whose linking covers it.
fn proved_address(profile: &Profile) -> Option<&str> {
    profile.link_email().map(String::as_str)
}

/// Locks the users who have the address, and says whether the identity is known already.
pub(super) const OWNERS: &str = "\
    SELECT id, status, EXISTS (SELECT 1 FROM identities WHERE policy = $1 AND issuer = $3 AND subject = $4) \
    FROM users WHERE policy = $1 AND email = $2 AND email_verified AND link_email = $2 LIMIT 2 FOR SHARE";

/// Whether the user alone has the address and may get the identity; from here on no other user gets
/// either.
pub(super) async fn sole_owner(
    client: &Client,
    owners: &Statement,
    user_id: Uuid,
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
    if owner.try_get::<_, Uuid>(0)? != user_id || owner.try_get(2)? {
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
        let mut own = Vec::new();
        match account {
            Account::Existing { profile: None, .. } | Account::Create { .. } => {}
            Account::Existing {
                profile: Some(profile),
                ..
            } => own.extend(users::profile_row(profile)),
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
                own.extend(named(identity));
            }
        }
        let written = self.write(client, &statement, *user_id, &own).await?;
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
        let mut own = users::row(user).to_vec();
        own.extend(named(identity));
        self.write(client, statement, user.id, &own).await
    }

    /// `own`: the parameters of the statement's shape.
    async fn write(
        &self,
        client: &Client,
        statement: &Statement,
        user_id: Uuid,
        own: &[Value<'_>],
    ) -> Result<SigninOutcome, Fault> {
        let parts = Parts::new(self.replay.is_some(), self.history.is_some());
        let mut values = self.values(user_id, parts);
        values.extend(own);
        let row = client.query_opt(statement, &parameters(&values)).await?;
        row.map_or(Ok(SigninOutcome::Changed), |row| outcome_of(&row))
    }

    /// What is asked of every sign-in, in the order of its columns.
    fn values(&self, user_id: Uuid, parts: Parts) -> Vec<Value<'_>> {
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
        let mut values = Vec::with_capacity(VALUES_MAX);
        values.extend(sessions::row(session, user_id, *now, &event.network));
        values.extend(events::row(event));
        let login = login.as_ref();
        let [all, this] = [0, 1].map(|at| Value::from(login.map(|login| &login.ended_by[at])));
        values.extend([all, this, login.map(|login| login.issued_at).into()]);
        if parts.replay_guarded {
            let replay = replay.as_ref();
            values.push(replay.map(|key| key.expires_at).into());
            values.push(replay.map(|key| &key.digest).into());
        }
        if parts.learns {
            let history = history.as_ref();
            values.push(history.map(|new| new.content.as_slice()).into());
            values.push(history.and_then(|new| new.replaces).into());
        }
        values
    }
}

/// The parameters of an identity that becomes the user's.
fn named(identity: &IdentityKey) -> [Value<'_>; 3] {
    let IdentityKey {
        policy,
        issuer,
        subject,
    } = identity;
    [policy.into(), issuer.into(), subject.into()]
}

/// What a row of the statement says of its sign-in.
fn outcome_of(row: &Row) -> Result<SigninOutcome, Fault> {
    let status = status_of(row.try_get(1)?)?;
    Ok(outcome(status, row.try_get(2)?, row.try_get(3)?))
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
