//! How each operation is carried out here: what reads on the caller's thread, what writes on the writer's.

use super::job::Read as _;
use super::{SqliteStore, sweep};
use crate::mfa::{
    Confirming, Enrollment, ForgetDevices, KnowsDevice, OpenChallenge, ReadChallenge, ReadFactors,
    Removal, Try, Waiting,
};
use crate::passwords::{
    ChangePassword, CountPasswordTry, ImportUser, ReadPasswordHash, ReadUser,
    RequirePasswordChange, UserPage, UsersNamed,
};
use crate::population::{AddToPopulation, ReadPopulations};
use crate::sessions::{ProviderLogout, SessionPage};
use crate::{
    EndSession, Gather, Operation, Probe, ReadSession, RevokeSessions, Rotation, RunOn,
    SetUserStatus, Signin, StoreFuture, Sweep, UseOnce,
};

macro_rules! read {
    ($($operation:ty),* $(,)?) => {$(
        impl RunOn<SqliteStore> for $operation {
            fn run_on(self, store: &SqliteStore) -> StoreFuture<'_, Self::Answer> {
                store.read(|db| self.read(db))
            }
        }
    )*};
}

macro_rules! write {
    ($($operation:ty),* $(,)?) => {$(
        impl RunOn<SqliteStore> for $operation {
            fn run_on(self, store: &SqliteStore) -> StoreFuture<'_, <Self as Operation>::Answer> {
                store.submit(self)
            }
        }
    )*};
}

read!(
    Gather,
    ReadSession,
    SessionPage,
    ReadUser,
    UserPage,
    UsersNamed,
    ReadPasswordHash,
    ReadFactors,
    KnowsDevice,
    ReadChallenge,
    ReadPopulations,
);

write!(
    Signin,
    UseOnce,
    Rotation,
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
    AddToPopulation,
);

impl RunOn<SqliteStore> for Sweep {
    fn run_on(self, store: &SqliteStore) -> StoreFuture<'_, usize> {
        Box::pin(async move { sweep::sweep(store, &self).await })
    }
}

impl RunOn<SqliteStore> for Probe {
    fn run_on(self, store: &SqliteStore) -> StoreFuture<'_, ()> {
        if let Err(error) = store.setup.unmoved() {
            return Box::pin(std::future::ready(Err(store.health.write_failed(&error))));
        }
        store.submit(self)
    }
}
