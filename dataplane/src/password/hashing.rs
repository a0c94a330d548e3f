//! Hashing of passwords, which is slow on purpose: off the threads that serve and behind them, a
//! bounded number at once, and a bounded number that wait. What comes beyond is asked to come
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rustix::process::setpriority_process;
use tokio::sync::{Semaphore, oneshot};
use vestibule_crds::secret::Secret;

/// Memory and passes of new hashes (OWASP's first choice for argon2id).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Of hashes that come from elsewhere: one that asks for more costs more than anybody's sign-in is
/// worth.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
const BCRYPT_COST_MAX: u32 = 14;
const HASH_BYTES_MAX: usize = 256;
/// That wait for their turn: a second's worth.
const WAITING_MAX: usize = 32;
/// Of the threads that hash: a small part of the weight of the others, so that they do get on.
const NICENESS: i32 = 15;

/// Runs hashes.
#[derive(Debug)]
pub struct Hashing {
    running: Arc<Semaphore>,
    asked: AtomicUsize,
    asked_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    #[error("too many passwords are being hashed at once")]
    Busy,
    #[error("a password could not be hashed")]
    Failed,
}

/// Why a hash from elsewhere is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashRefused {
    #[error(
        "it is neither argon2id as a PHC string (`$argon2id$v=19$m=…`) nor bcrypt (`$2b$12$…`)"
    )]
    Unknown,
    #[error(
        "it is too dear to verify: at most 256 MiB, 16 passes and 16 lanes of argon2id, or a cost of 14 of bcrypt"
    )]
    TooDear,
}

impl Default for Hashing {
    /// Half of the cores at most: the others serve.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new((cores / 2).max(1), WAITING_MAX)
    }
}

impl Hashing {
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running_max)),
            asked: AtomicUsize::new(0),
            asked_max: running_max.saturating_add(waiting_max),
        }
    }

    /// argon2id, as a PHC string.
    pub async fn hash(&self, password: Secret, salt: [u8; 16]) -> Result<Secret, HashingError> {
        self.run(move || hash(&password, &salt)).await
    }

    pub async fn verify(&self, password: Secret, hash: Secret) -> Result<bool, HashingError> {
        self.run(move || Some(verify(&password, &hash))).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Result<T, HashingError> {
        let _place = Place::take(&self.asked, self.asked_max).ok_or(HashingError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        let permit = running.map_err(|_| HashingError::Failed)?;
        let (done, working) = oneshot::channel();
        let thread = std::thread::Builder::new().name("password".to_owned());
        let began = thread.spawn(move || {
            // Held until the work is done, also when the caller has gone away.
            let _permit = permit;
            step_back();
            let _gone = done.send(work());
        });
        began.map_err(|_| HashingError::Failed)?;
        working.await.ok().flatten().ok_or(HashingError::Failed)
    }
}

/// Lets the threads that serve go first where both want a core. A thread has a priority of its own
/// on Linux alone.
fn step_back() {
    if cfg!(target_os = "linux") {
        // Where it may not, it hashes all the same.
        let _refused = setpriority_process(None, NICENESS);
    }
}

/// A place among those that are asked for.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(asked: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(asked);
        (asked.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash(password: &Secret, salt: &[u8]) -> Option<Secret> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = SaltString::encode_b64(salt).ok()?;
    let hash = argon2.hash_password(password.expose().as_bytes(), &salt);
    Some(Secret::new(hash.ok()?.to_string()))
}

/// False too for a hash that cannot be read: no password matches it.
fn verify(password: &Secret, hash: &Secret) -> bool {
    let (password, hash) = (password.expose(), hash.expose());
    if check(hash).is_err() {
        return false;
    }
    if is_bcrypt(hash) {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    let Ok(parsed) = PasswordHash::new(hash) else {
        return false;
    };
    Argon2::default()
        .verify_password(password.as_bytes(), &parsed)
        .is_ok()
}

/// Whether a hash from elsewhere can be verified, and at a bounded price.
pub fn check(hash: &str) -> Result<(), HashRefused> {
    if hash.len() > HASH_BYTES_MAX {
        return Err(HashRefused::Unknown);
    }
    if is_bcrypt(hash) {
        let parts: bcrypt::HashParts = hash.parse().map_err(|_| HashRefused::Unknown)?;
        return if parts.get_cost() > BCRYPT_COST_MAX {
            Err(HashRefused::TooDear)
        } else {
            Ok(())
        };
    }
    let parsed = PasswordHash::new(hash).map_err(|_| HashRefused::Unknown)?;
    let is_whole = parsed.salt.is_some() && parsed.hash.is_some();
    if parsed.algorithm != Algorithm::Argon2id.ident() || !is_whole {
        return Err(HashRefused::Unknown);
    }
    let params = Params::try_from(&parsed).map_err(|_| HashRefused::Unknown)?;
    if params.m_cost() > MEMORY_KIB_MAX
        || params.t_cost() > PASSES_MAX
        || params.p_cost() > LANES_MAX
    {
        return Err(HashRefused::TooDear);
    }
    Ok(())
}

fn is_bcrypt(hash: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| hash.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `correct horse`, by other implementations: argon2-cffi 25.1 and Python's bcrypt 5.0.
    const ARGON2ID: &str = "$argon2id$v=19$m=65536,t=3,p=4$tkwXZWbulmPrAU5nfz4YjA$ZyKyjAljvFa0duwz0Xx7LTaLSMMxOplK6n4hNurZE88";
    const BCRYPT: &str = "$2b$04$rK07NaV7T.iN7p7wMdl3Pel0l.PIeKpDvm2Sq7zAjq9ZVcLavjXmy";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_alone() {
        let hashing = Hashing::default();
        let made = hashing.hash(secret("correct horse"), [7; 16]).await;
        let made = made.expect("a hash");
        assert!(made.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(check(made.expose()), Ok(()));
        for hash in [made, secret(ARGON2ID), secret(BCRYPT)] {
            let right = hashing.verify(secret("correct horse"), hash.clone()).await;
            assert_eq!(right, Ok(true), "{}", hash.expose());
            for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
                let verified = hashing.verify(secret(wrong), hash.clone()).await;
                assert_eq!(verified, Ok(false), "{wrong}");
            }
        }
    }

    #[tokio::test]
    async fn one_password_with_two_salts_has_two_hashes() {
        let hashing = Hashing::default();
        let one = hashing.hash(secret("correct horse"), [1; 16]).await;
        let other = hashing.hash(secret("correct horse"), [2; 16]).await;
        assert_ne!(one.expect("a hash"), other.expect("a hash"));
    }

    #[test]
    fn a_hash_from_elsewhere_is_known_whole_and_not_too_dear() {
        for good in [ARGON2ID, BCRYPT, &BCRYPT.replace("$2b$", "$2y$")] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let dear = ARGON2ID.replace("m=65536", "m=1048576");
        assert_eq!(check(&dear), Err(HashRefused::TooDear));
        let dear = ARGON2ID.replace("t=3", "t=100");
        assert_eq!(check(&dear), Err(HashRefused::TooDear));
        let dear = BCRYPT.replacen("$04$", "$31$", 1);
        assert_eq!(check(&dear), Err(HashRefused::TooDear));
        for other in [
            "",
            "hunter2",
            "$argon2id$",
            "$argon2id$v=19$m=65536,t=3,p=4",
            "$2b$12$short",
            "$1$salt$xxxxxxxx",
            "$5$rounds=5000$salt$xxxxxxxx",
            &ARGON2ID.replace("argon2id", "argon2i"),
            &ARGON2ID.replace("argon2id", "argon2d"),
            &format!("{ARGON2ID}{}", "A".repeat(300)),
        ] {
            assert_eq!(check(other), Err(HashRefused::Unknown), "{other}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_nobodys_hash() {
        let verified = Hashing::default().verify(secret(""), secret("")).await;
        assert_eq!(verified, Ok(false));
    }

    #[tokio::test]
    async fn so_many_run_at_once_so_many_wait_and_one_more_is_asked_to_come_again() {
        let hashing = Arc::new(Hashing::new(1, 1));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let running = {
            let hashing = Arc::clone(&hashing);
            tokio::spawn(async move { hashing.run(move || wait.recv().ok()).await })
        };
        while hashing.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = {
            let hashing = Arc::clone(&hashing);
            tokio::spawn(async move { hashing.run(|| Some(())).await })
        };
        while hashing.asked.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.run(|| Some(())).await, Err(HashingError::Busy));
        go.send(()).expect("it waits");
        assert_eq!(running.await.expect("no panic"), Ok(()));
        assert_eq!(waiting.await.expect("no panic"), Ok(()));
        assert_eq!(
            hashing.run(|| Some(())).await,
            Ok(()),
            "there is room again"
        );
    }
}
