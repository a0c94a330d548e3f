//! A store whose audit events go to a stream as well, once they are durable.

use std::sync::Arc;

use uuid::Uuid;
use vestibule_crds::secret::Secret;

use crate::audit::AuditStream;
use vestibule_store::mfa::{
    ConfirmOutcome, Confirming, DeviceKey, Enrollment, Factors, FoundChallenge, MfaStore,
    OpenChallenge, Removal, Try, TryOutcome, Waiting,
};
use vestibule_store::passwords::{
    ChangeOutcome, ChangePassword, ImportOutcome, ImportUser, PasswordStore, PasswordTry, UserPage,
};
use vestibule_store::population::{Addition, Populations, ReadPopulations};
use vestibule_store::sessions::{LogoutOutcome, ProviderLogout, SessionPage, SessionStore};
use vestibule_store::{
    Event, Gather, Gathered, HashKey, ReplayKey, Rotation, RotationOutcome, Session, Signin,
    SigninOutcome, Store, StoreError, StoreFuture, Sweep, User, UserStatus, Work,
};

#[derive(Debug)]
pub struct Audited {
    store: Arc<dyn Store>,
    stream: AuditStream,
}

impl Audited {
    pub fn new(store: Arc<dyn Store>, stream: AuditStream) -> Self {
        Self { store, stream }
    }

    /// Tells of it if it was done.
    fn once<'a, T: Send + 'a>(
        &'a self,
        event: Event,
        writing: StoreFuture<'a, T>,
        is_done: impl Fn(&T) -> bool + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let outcome: Result<T, StoreError> = writing.await;
            if outcome.as_ref().is_ok_and(is_done) {
                self.stream.tell(&event);
            }
            outcome
        })
    }
}

fn committed(outcome: &SigninOutcome) -> bool {
    *outcome == SigninOutcome::Committed
}

impl Store for Audited {
    fn gather(&self, question: Gather) -> StoreFuture<'_, Gathered> {
        self.store.gather(question)
    }

    fn commit_signin(&self, signin: Signin) -> StoreFuture<'_, SigninOutcome> {
        let event = signin.event.clone();
        self.once(event, self.store.commit_signin(signin), committed)
    }

    fn session(&self, id: Uuid) -> StoreFuture<'_, Option<(Session, User)>> {
        self.store.session(id)
    }

    fn rotate(&self, rotation: Rotation) -> StoreFuture<'_, RotationOutcome> {
        let event = rotation.event.clone();
        self.once(event, self.store.rotate(rotation), |outcome| {
            *outcome == RotationOutcome::Rotated
        })
    }

    fn end_session(&self, id: Uuid, now: i64, event: Event) -> StoreFuture<'_, bool> {
        let ending = self.store.end_session(id, now, event.clone());
        self.once(event, ending, |ended| *ended)
    }

    fn use_once(&self, key: ReplayKey) -> StoreFuture<'_, bool> {
        self.store.use_once(key)
    }

    /// Audited even when the store has no room for it: better there than nowhere.
    fn record(&self, event: Event) -> bool {
        self.stream.tell(&event);
        self.store.record(event)
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        self.store.flush()
    }

    fn sweep(&self, sweep: Sweep) -> StoreFuture<'_, usize> {
        self.store.sweep(sweep)
    }

    fn probe(&self) -> StoreFuture<'_, ()> {
        self.store.probe()
    }

    fn work(&self) -> Work {
        self.store.work()
    }

    fn hash_key(&self) -> HashKey {
        self.store.hash_key()
    }

    fn add_to_population(&self, part: Addition, now: i64) -> StoreFuture<'_, ()> {
        self.store.add_to_population(part, now)
    }

    fn populations(&self, question: ReadPopulations) -> StoreFuture<'_, Populations> {
        self.store.populations(question)
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn set_user_status(&self, user: Uuid, status: UserStatus, now: i64) -> StoreFuture<'_, bool> {
        self.store.set_user_status(user, status, now)
    }

    fn revoke_user_sessions(&self, user: Uuid, now: i64, event: Event) -> StoreFuture<'_, bool> {
        let revoking = self.store.revoke_user_sessions(user, now, event.clone());
        self.once(event, revoking, |found| *found)
    }
}

impl SessionStore for Audited {
    fn sessions_of(&self, page: SessionPage) -> StoreFuture<'_, Vec<Session>> {
        self.store.sessions_of(page)
    }

    fn log_out(&self, logout: ProviderLogout) -> StoreFuture<'_, LogoutOutcome> {
        let event = logout.event.clone();
        self.once(event, self.store.log_out(logout), |outcome| {
            matches!(outcome, LogoutOutcome::Ended(_))
        })
    }
}

impl MfaStore for Audited {
    fn factors(&self, user: Uuid) -> StoreFuture<'_, Factors> {
        self.store.factors(user)
    }

    fn knows_device(&self, user: Uuid, device: DeviceKey, now: i64) -> StoreFuture<'_, bool> {
        self.store.knows_device(user, device, now)
    }

    fn open_challenge(&self, opening: OpenChallenge) -> StoreFuture<'_, SigninOutcome> {
        let event = opening.event.clone();
        self.once(event, self.store.open_challenge(opening), committed)
    }

    fn challenge(&self, digest: [u8; 32]) -> StoreFuture<'_, Option<FoundChallenge>> {
        self.store.challenge(digest)
    }

    fn count_try(&self, attempt: Try) -> StoreFuture<'_, TryOutcome> {
        self.store.count_try(attempt)
    }

    fn await_answer(&self, waiting: Waiting) -> StoreFuture<'_, TryOutcome> {
        self.store.await_answer(waiting)
    }

    fn begin_enrollment(&self, enrollment: Enrollment) -> StoreFuture<'_, bool> {
        self.store.begin_enrollment(enrollment)
    }

    fn confirm_enrollment(&self, confirming: Confirming) -> StoreFuture<'_, ConfirmOutcome> {
        let event = confirming.event.clone();
        self.once(
            event,
            self.store.confirm_enrollment(confirming),
            |outcome| matches!(outcome, ConfirmOutcome::Confirmed { .. }),
        )
    }

    fn remove_factor(&self, removal: Removal) -> StoreFuture<'_, bool> {
        let event = removal.event.clone();
        self.once(event, self.store.remove_factor(removal), |found| *found)
    }

    fn forget_devices(&self, user: Uuid) -> StoreFuture<'_, ()> {
        self.store.forget_devices(user)
    }
}

impl PasswordStore for Audited {
    fn password_hash(&self, user: Uuid) -> StoreFuture<'_, Option<Secret>> {
        self.store.password_hash(user)
    }

    fn count_password_try(&self, user: Uuid, now: i64) -> StoreFuture<'_, PasswordTry> {
        self.store.count_password_try(user, now)
    }

    fn change_password(&self, change: ChangePassword) -> StoreFuture<'_, ChangeOutcome> {
        let event = change.event.clone();
        self.once(event, self.store.change_password(change), |outcome| {
            matches!(outcome, ChangeOutcome::Changed)
        })
    }

    fn require_password_change(&self, user: Uuid, event: Event) -> StoreFuture<'_, bool> {
        let requiring = self.store.require_password_change(user, event.clone());
        self.once(event, requiring, |found| *found)
    }

    fn import_user(&self, import: ImportUser) -> StoreFuture<'_, ImportOutcome> {
        let event = import.event.clone();
        self.once(event, self.store.import_user(import), |outcome| {
            matches!(outcome, ImportOutcome::Added)
        })
    }

    fn user(&self, id: Uuid) -> StoreFuture<'_, Option<User>> {
        self.store.user(id)
    }

    fn users(&self, page: UserPage) -> StoreFuture<'_, Vec<User>> {
        self.store.users(page)
    }

    fn users_named(&self, policy: String, name: String) -> StoreFuture<'_, Vec<User>> {
        self.store.users_named(policy, name)
    }
}
