//! How each operation is carried out here: alone, or with others of its kind in one statement.

use super::{PostgresStore, population, sweep};
use crate::mfa::{
    Confirming, Enrollment, ForgetDevices, KnowsDevice, OpenChallenge, ReadChallenge, ReadFactors,
    Removal, Try, Waiting,
};
use crate::passwords::{
    ChangePassword, CountPasswordTry, ImportUser, ReadPasswordHash, ReadUser,
    RequirePasswordChange, UserPage, UsersNamed,
};
use crate::population::{AddToPopulation, Populations, ReadPopulations};
use crate::sessions::{ProviderLogout, SessionPage};
use crate::{
    DAY_SECONDS, EndSession, Gather, Operation, Probe, ReadSession, RevokeSessions, Rotation,
    RotationOutcome, RunOn, Session, SetUserStatus, Signin, SigninOutcome, StoreFuture, Sweep,
    UseOnce, User,
};

/// Not counted among the writes.
macro_rules! read {
    ($($operation:ty),* $(,)?) => {$(
        impl RunOn<PostgresStore> for $operation {
            fn run_on(
                self,
                store: &PostgresStore,
            ) -> StoreFuture<'_, <Self as Operation>::Answer> {
                Box::pin(async move { store.pool.ask(&self).await })
            }
        }
    )*};
}

macro_rules! write {
    ($($operation:ty),* $(,)?) => {$(
        impl RunOn<PostgresStore> for $operation {
            fn run_on(
                self,
                store: &PostgresStore,
            ) -> StoreFuture<'_, <Self as Operation>::Answer> {
                Box::pin(store.write(self))
            }
        }
    )*};
}

read!(
    Probe,
    SessionPage,
    ReadUser,
    UserPage,
    UsersNamed,
    ReadPasswordHash,
    ReadFactors,
    KnowsDevice,
    ReadChallenge,
);

write!(
    UseOnce,
    EndSession,
    ProviderLogout,
    SetUserStatus,
    RevokeSessions,
    ImportUser,
    CountPasswordTry,
    ChangePassword,
    RequirePasswordChange,
    ForgetDevices,
    OpenChallenge,
    Try,
    Waiting,
    Enrollment,
    Confirming,
    Removal,
);

impl RunOn<PostgresStore> for Gather {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, <Self as Operation>::Answer> {
        Box::pin(store.gathers.ask(self))
    }
}

impl RunOn<PostgresStore> for ReadSession {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, Option<(Session, User)>> {
        Box::pin(store.sessions.ask(self))
    }
}

impl RunOn<PostgresStore> for Signin {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, SigninOutcome> {
        Box::pin(async move {
            if self.goes_in_a_batch() {
                store.write_batched(&store.signins, self).await
            } else {
                store.write(self).await
            }
        })
    }
}

impl RunOn<PostgresStore> for Rotation {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, RotationOutcome> {
        Box::pin(store.write_batched(&store.rotations, self))
    }
}

impl RunOn<PostgresStore> for Sweep {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, usize> {
        Box::pin(
            async move { sweep::sweep(&store.pool, &store.cursors, &store.refusals, &self).await },
        )
    }
}

impl RunOn<PostgresStore> for AddToPopulation {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, ()> {
        let day = self.now.div_euclid(DAY_SECONDS);
        Box::pin(store.write(population::Add::new(self.part, day)))
    }
}

impl RunOn<PostgresStore> for ReadPopulations {
    fn run_on(self, store: &PostgresStore) -> StoreFuture<'_, Populations> {
        Box::pin(population::populations(&store.pool, self))
    }
}
