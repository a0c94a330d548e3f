//! The managed keys of one policy. Its signing keys are made, published, signing, dropped. Pure:
//! the clock and what pods prove are passed in.
//!
//! | a key is | which means | until |
//! |---|---|---|
//! | Made | stored, and in what is published | every ready pod has proved that it publishes it |
//! | Published | any verifier can have it | its time to sign has come |
//! | Signing | pods sign with it once they load the snapshot | every ready pod has proved that it does |
//! | Alone | nothing is signed any more with the one before it | the next one signs |
//!
//! So no pod signs with a key that another does not publish, and a key is dropped only once the
//! last token that it can have signed has expired: both are proved, neither is waited for. The
//! first key of a policy has no verifier to wait for.

pub(crate) mod stored;

use serde::{Deserialize, Serialize};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::duration::Duration;
use vestibule_crds::encryption_key::{EncryptionKey, EncryptionKeyError};
use vestibule_crds::rotation::{self, ManagedKey, Schedule};
use vestibule_crds::signing_key::{SigningKey, SigningKeyError};
use vestibule_crds::snapshot::{EncryptionKeySource, KeyState, Policy};

/// Keys of one policy: who asks for one rotation after another waits until old keys are gone.
const KEYS_MAX: usize = 8;
/// When keys that wait for pods are due again, if none of these changes before.
const PROOF_SYNC_SECONDS: i64 = 30;

/// How far a key has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Progress {
    Made,
    Published,
    Signing,
    Alone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptKey {
    pub(crate) kid: String,
    pub(crate) progress: Progress,
    #[serde(flatten)]
    pub(crate) key: ManagedKey,
}

/// All keys of a policy, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PolicyKeys {
    pub(crate) keys: Vec<KeptKey>,
    /// The request for a rotation that was heeded last.
    pub(crate) rotated: Option<String>,
    /// Seals the secrets of second factors: made once and never dropped, because they cannot be
    /// opened without it.
    pub(crate) encryption: Option<EncryptionKey>,
}

/// What a policy wants of its keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) schedule: Schedule,
    pub(crate) access_ttl: Duration,
    /// A request for a rotation: each new value once.
    pub(crate) rotate: Option<&'a str>,
}

/// What every ready pod has proved of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyProof {
    pub(crate) published: bool,
    pub(crate) signing: bool,
}

impl PolicyKeys {
    /// Brings the keys to where they should be at `now`; when they are due again.
    pub(crate) fn rotate(
        &mut self,
        wish: Wish<'_>,
        proof: impl Fn(&str) -> KeyProof,
        now: i64,
    ) -> Result<i64, SigningKeyError> {
        let Wish {
            schedule,
            access_ttl,
            rotate,
        } = wish;
        if self.keys.is_empty() {
            self.make(schedule, now, now, Progress::Signing)?;
            self.rotated = rotate.map(str::to_owned);
        }
        self.advance(proof, now);
        if rotate.is_some() && rotate != self.rotated.as_deref() {
            self.rotate_now(schedule, now)?;
            if self.next().is_some() {
                self.rotated = rotate.map(str::to_owned);
            }
        }
        let plan = rotation::plan(&self.as_planned(now), schedule, now);
        for index in plan.retire.iter().rev() {
            self.keys.remove(*index);
        }
        if let Some(signs_from) = plan.make
            && self.keys.len() < KEYS_MAX
        {
            self.make(schedule, now, signs_from, Progress::Made)?;
        }
        for kept in &mut self.keys {
            kept.key.note_token_lifetime(access_ttl);
        }
        Ok(self.next_due(plan.next_look, now))
    }

    /// Makes the encryption key of a policy that has none yet.
    pub(crate) fn keep_encryption_key(&mut self) -> Result<(), EncryptionKeyError> {
        if self.encryption.is_none() {
            self.encryption = Some(EncryptionKey::generate()?);
        }
        Ok(())
    }

    /// Each key with its state, as `compile` takes them.
    pub(crate) fn with_states(&self) -> Vec<(ManagedKey, KeyState)> {
        let current = self.current();
        let keys = self.keys.iter().enumerate();
        keys.map(|(index, kept)| {
            let state = match kept.progress {
                Progress::Made | Progress::Published => KeyState::Next,
                Progress::Signing | Progress::Alone if Some(index) == current => KeyState::Current,
                Progress::Signing | Progress::Alone => KeyState::Previous,
            };
            (kept.key.clone(), state)
        })
        .collect()
    }

    /// When the next key begins to sign, as far as it is known.
    pub(crate) fn next_rotation(&self, schedule: Schedule) -> Option<i64> {
        if let Some(next) = self.next() {
            return Some(self.keys[next].key.signs_from);
        }
        let current = &self.keys[self.current()?];
        let rotate_every = i64::try_from(schedule.rotate_every.as_secs()).unwrap_or(i64::MAX);
        Some(current.key.signs_from.saturating_add(rotate_every))
    }

    /// Keys as they were published, when what was stored of them is lost. They are taken for new,
    /// and kept the longer for it.
    pub(crate) fn recovered(policy: &Policy, now: i64) -> Self {
        let pre_publish = policy.managed.map_or(0, |schedule| {
            i64::try_from(schedule.pre_publish.as_secs()).unwrap_or(i64::MAX)
        });
        let managed = policy
            .signing_keys
            .iter()
            .filter(|_| policy.managed.is_some());
        let keys = managed.map(|key| {
            let (progress, signs_from) = match key.state {
                KeyState::Previous => (Progress::Alone, now.saturating_sub(1)),
                KeyState::Current => (Progress::Signing, now),
                KeyState::Next => (Progress::Made, now.saturating_add(pre_publish)),
            };
            Some(KeptKey {
                kid: key.kid.clone(),
                progress,
                key: ManagedKey {
                    algorithm: SigningAlgorithm::of(key.algorithm)?,
                    pem: key.pem.clone(),
                    created_at: now,
                    signs_from,
                    longest_token_seconds: policy.token.access_ttl.as_secs(),
                },
            })
        });
        Self {
            keys: keys.flatten().collect(),
            rotated: None,
            encryption: Self::recovered_encryption(policy),
        }
    }

    pub(crate) fn recovered_encryption(policy: &Policy) -> Option<EncryptionKey> {
        match policy.mfa.key_source {
            EncryptionKeySource::Managed => policy.mfa.keys.first().cloned(),
            EncryptionKeySource::Secrets => None,
        }
    }

    fn advance(&mut self, proof: impl Fn(&str) -> KeyProof, now: i64) {
        let has_current = self.current().is_some();
        for kept in &mut self.keys {
            let proof = proof(&kept.kid);
            if kept.progress == Progress::Made && (proof.published || !has_current) {
                kept.progress = Progress::Published;
            }
            if kept.progress == Progress::Published && kept.key.signs_from <= now {
                kept.progress = Progress::Signing;
                kept.key.signs_from = now;
            } else if kept.progress == Progress::Signing && proof.signing {
                kept.progress = Progress::Alone;
                // The one before it may have signed until now.
                kept.key.signs_from = now;
            }
        }
    }

    fn rotate_now(&mut self, schedule: Schedule, now: i64) -> Result<(), SigningKeyError> {
        match self.next() {
            Some(next) => {
                let signs_from = &mut self.keys[next].key.signs_from;
                *signs_from = (*signs_from).min(now);
                Ok(())
            }
            None if self.keys.len() < KEYS_MAX => self.make(schedule, now, now, Progress::Made),
            None => Ok(()),
        }
    }

    fn make(
        &mut self,
        schedule: Schedule,
        now: i64,
        signs_from: i64,
        progress: Progress,
    ) -> Result<(), SigningKeyError> {
        let key = ManagedKey::generate(schedule.algorithm, now, signs_from)?;
        let parsed = SigningKey::parse(&key.pem, Some(schedule.algorithm))?;
        self.keys.push(KeptKey {
            kid: parsed.kid,
            progress,
            key,
        });
        Ok(())
    }

    /// For [`rotation::plan`], which goes by times: a key that may not sign yet has a time to come,
    /// and one that may not sign alone yet has only just begun.
    fn as_planned(&self, now: i64) -> Vec<ManagedKey> {
        let keys = self.keys.iter().map(|kept| {
            let signs_from = match kept.progress {
                Progress::Made | Progress::Published => {
                    kept.key.signs_from.max(now.saturating_add(1))
                }
                Progress::Signing => now,
                Progress::Alone => kept.key.signs_from,
            };
            ManagedKey {
                signs_from,
                ..kept.key.clone()
            }
        });
        keys.collect()
    }

    fn next_due(&self, planned: i64, now: i64) -> i64 {
        let waits = self.keys.iter().any(|kept| match kept.progress {
            Progress::Made => kept.key.signs_from <= now,
            Progress::Signing => true,
            Progress::Published | Progress::Alone => false,
        });
        if waits {
            planned.min(now.saturating_add(PROOF_SYNC_SECONDS))
        } else {
            planned
        }
    }

    /// The one that signs: of those that have begun, the one that began last.
    fn current(&self) -> Option<usize> {
        let keys = self.keys.iter().enumerate();
        keys.filter(|(_, kept)| matches!(kept.progress, Progress::Signing | Progress::Alone))
            .max_by_key(|(index, kept)| (kept.key.signs_from, *index))
            .map(|(index, _)| index)
    }

    fn next(&self) -> Option<usize> {
        self.keys
            .iter()
            .position(|kept| matches!(kept.progress, Progress::Made | Progress::Published))
    }
}

#[cfg(test)]
mod tests;
