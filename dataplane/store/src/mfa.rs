//! Second factors in the store: challenges and what answers them, factors, recovery codes, remembered devices.
//!
//! Whatever may happen once is compared and set in one transaction, under the lock of the user's counters: a challenge is
//! answered once, a code of a time step and a recovery code are used once, and a try counts before it is looked at.

use std::fmt;

use uuid::Uuid;
use vestibule_crds::signin_policy::MfaMethod;

use super::attempts::{Tried, TryLimits};
use super::sessions::Login;
use super::{Account, Event, ReplayKey, User};

/// Confirmed factors that one user may have.
pub const FACTORS_MAX: usize = 10;
/// Devices that are remembered for one user; the oldest goes when one more comes.
pub const DEVICES_MAX: usize = 20;
/// Challenges of one user that can be answered at the same time.
pub const CHALLENGES_MAX: usize = 5;

pub type Digest = [u8; 32];

/// What a user has enrolled.
#[derive(Debug, Clone, Copy)]
pub struct ReadFactors(pub Uuid);

/// Whether this device is remembered for this user.
#[derive(Debug, Clone, Copy)]
pub struct KnowsDevice {
    pub user: Uuid,
    pub device: DeviceKey,
    pub now: i64,
}

/// The user's remembered devices are forgotten.
#[derive(Debug, Clone, Copy)]
pub struct ForgetDevices(pub Uuid);

/// A challenge with its user and the user's factors, whether or not it can still be answered.
#[derive(Debug, Clone, Copy)]
pub struct ReadChallenge(pub Digest);

/// What a user has enrolled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Factors {
    /// In the order of their making, those that are not confirmed yet included.
    pub all: Vec<Factor>,
    pub recovery_codes_left: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Factor {
    pub id: Uuid,
    pub method: MfaMethod,
    pub name: Option<String>,
    /// Sealed, or a public credential, or what a registration waits for.
    pub secret: Vec<u8>,
    pub last_step: i64,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
    /// Until it is confirmed: when that is too late.
    pub expires_at: Option<i64>,
}

/// What a caller shows of a remembered device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceKey {
    pub id: Uuid,
    /// SHA-256 of its secret.
    pub digest: Digest,
}

/// Keeps a sign-in until its challenge is answered, with the user's other challenges: of more than [`CHALLENGES_MAX`]
/// the oldest from the same network is void, or else the oldest of all. A user who is new is created without a profile:
/// what the provider says of a person is kept once the sign-in is complete.
#[derive(Debug)]
pub struct OpenChallenge {
    /// [`Account::Link`] is only checked: it becomes a link when the sign-in is complete.
    pub account: Account,
    /// At the provider: a login that has ended there signs no user in.
    pub login: Option<Login>,
    pub replay: Option<ReplayKey>,
    pub digest: Digest,
    /// `namespace/name`.
    pub provider: String,
    pub expires_at: i64,
    pub content: String,
    pub event: Event,
    pub now: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub digest: Digest,
    /// `namespace/name`.
    pub provider: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub consumed_at: Option<i64>,
    pub tries: u32,
    pub content: String,
    pub pending: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundChallenge {
    pub challenge: Challenge,
    pub user: User,
    pub factors: Factors,
}

/// Counts one more try, and takes what was pending where it may be looked at once only.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    pub user: Uuid,
    pub challenge: Digest,
    pub limits: TryLimits,
    /// The method, where its codes can be guessed.
    pub guesses: Option<MfaMethod>,
    /// Whether what is pending may be looked at once only.
    pub takes_pending: bool,
    pub now: i64,
}

/// Has the challenge wait for the answer of a method. A code that is sent counts.
#[derive(Debug)]
pub struct Waiting {
    pub user: Uuid,
    pub challenge: Digest,
    pub pending: Vec<u8>,
    /// The way in which something is sent to the user.
    pub sends: Option<MfaMethod>,
    pub now: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryOutcome {
    /// With what was pending.
    Counted(Option<Vec<u8>>),
    /// It is unknown, used, void or expired, or its tries are used up.
    Gone,
    /// Too many tries, or codes, of the user: seconds until the next one.
    Locked(u32),
}

/// Keeps a factor until it is confirmed, in the place of others of the method that never were; false when the user has
/// [`FACTORS_MAX`].
#[derive(Debug)]
pub struct Enrollment {
    pub user: Uuid,
    pub factor: Factor,
}

/// A factor that was proved for the first time.
#[derive(Debug, Clone)]
pub struct Confirmation {
    pub factor: Uuid,
    /// The step of the code that proved it.
    pub step: i64,
    /// What takes the place of the secret.
    pub secret: Option<Vec<u8>>,
    /// SHA-256 of the recovery codes that come with a user's first factor.
    pub recovery_codes: Vec<Digest>,
}

/// Confirms a factor of a user who is signed in.
#[derive(Debug)]
pub struct Confirming {
    pub user: Uuid,
    pub confirmation: Confirmation,
    pub event: Event,
    pub now: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// `first`: the user had no factor before, and the recovery codes are good.
    Confirmed { first: bool },
    /// No such factor waits to be confirmed, or too many are.
    Gone,
}

/// False when the user has no such factor. With the last one go the recovery codes; with any, the remembered devices.
#[derive(Debug)]
pub struct Removal {
    pub user: Uuid,
    pub factor: Uuid,
    pub event: Event,
}

/// What completes a sign-in that was challenged. It goes with the session's commit or not at all.
#[derive(Debug, Clone)]
pub struct Completion {
    pub challenge: Digest,
    pub proof: Proof,
    /// The try that was right; none where none was counted.
    pub tried: Option<Tried>,
    pub device: Option<NewDevice>,
}

/// What must not have been used before.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The code of a time step.
    Step { factor: Uuid, step: i64 },
    /// A credential, as it is after its use.
    Credential { factor: Uuid, secret: Vec<u8> },
    /// SHA-256 of a recovery code.
    RecoveryCode(Digest),
    /// The challenge's own code: used with the challenge.
    SentCode,
    /// A first factor.
    Enrolled(Confirmation),
}

#[derive(Debug, Clone)]
pub struct NewDevice {
    pub key: DeviceKey,
    pub expires_at: i64,
}

impl Factors {
    pub fn confirmed(&self) -> impl Iterator<Item = &Factor> {
        self.all.iter().filter(|factor| factor.expires_at.is_none())
    }
}

impl fmt::Debug for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factor({}, {})", self.id, self.method.name())
    }
}
