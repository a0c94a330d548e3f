//! What a store is asked to do: each operation is a type, with its answer and the audit event that goes with it.

use vestibule_crds::secret::Secret;

use crate::mfa::{
    ConfirmOutcome, Confirming, Enrollment, Factors, ForgetDevices, FoundChallenge, KnowsDevice,
    OpenChallenge, ReadChallenge, ReadFactors, Removal, Try, TryOutcome, Waiting,
};
use crate::passwords::{
    ChangeOutcome, ChangePassword, CountPasswordTry, ImportOutcome, ImportUser, PasswordTry,
    ReadPasswordHash, ReadUser, RequirePasswordChange, UserPage, UsersNamed,
};
use crate::population::{AddToPopulation, Populations, ReadPopulations};
use crate::sessions::{LogoutOutcome, ProviderLogout, SessionPage};
use crate::{
    EndSession, Event, Gather, Gathered, Probe, ReadSession, RevokeSessions, Rotation,
    RotationOutcome, Session, SetUserStatus, Signin, SigninOutcome, StoreFuture, Sweep, UseOnce,
    User,
};

/// Something to read or to write.
pub trait Operation: Send + Sync + Sized + 'static {
    type Answer: Send + 'static;

    /// The audit event that is written in the same transaction, if the operation writes one.
    fn event(&self) -> Option<&Event> {
        None
    }

    /// Whether the answer says that the operation was done, and its event was written.
    fn is_done(_: &Self::Answer) -> bool {
        true
    }
}

/// How a database carries an operation out.
pub trait RunOn<Database>: Operation {
    fn run_on(self, database: &Database) -> StoreFuture<'_, Self::Answer>;
}

macro_rules! operations {
    ($($operation:ty => $answer:ty $(, audited if $is_done:expr)?;)*) => {$(
        impl Operation for $operation {
            type Answer = $answer;
            $(
                fn event(&self) -> Option<&Event> {
                    Some(&self.event)
                }

                fn is_done(answer: &$answer) -> bool {
                    let is_done: fn(&$answer) -> bool = $is_done;
                    is_done(answer)
                }
            )?
        }
    )*};
}

operations! {
    Gather => Gathered;
    Signin => SigninOutcome, audited if |outcome| *outcome == SigninOutcome::Committed;
    UseOnce => bool;
    Sweep => usize;
    Probe => ();

    ReadSession => Option<(Session, User)>;
    SessionPage => Vec<Session>;
    Rotation => RotationOutcome, audited if |outcome| *outcome == RotationOutcome::Rotated;
    EndSession => bool, audited if |ended| *ended;
    ProviderLogout => LogoutOutcome, audited if |outcome| matches!(outcome, LogoutOutcome::Ended(_));

    ReadUser => Option<User>;
    UserPage => Vec<User>;
    UsersNamed => Vec<User>;
    SetUserStatus => bool;
    RevokeSessions => bool, audited if |found| *found;
    ImportUser => ImportOutcome, audited if |outcome| *outcome == ImportOutcome::Added;

    ReadPasswordHash => Option<Secret>;
    CountPasswordTry => PasswordTry;
    ChangePassword => ChangeOutcome, audited if |outcome| *outcome == ChangeOutcome::Changed;
    RequirePasswordChange => bool, audited if |found| *found;

    ReadFactors => Factors;
    KnowsDevice => bool;
    ForgetDevices => ();
    OpenChallenge => SigninOutcome, audited if |outcome| *outcome == SigninOutcome::Committed;
    ReadChallenge => Option<FoundChallenge>;
    Try => TryOutcome;
    Waiting => TryOutcome;
    Enrollment => bool;
    Confirming => ConfirmOutcome, audited if |outcome| matches!(outcome, ConfirmOutcome::Confirmed { .. });
    Removal => bool, audited if |found| *found;

    AddToPopulation => ();
    ReadPopulations => Populations;
}
