//! A snapshot on its way from the operator to the pods: packed into Secrets, and back.
//!
//! ```text
//! Secret vestibule-snapshot      head.json  part-0     the operator writes it last
//! Secret vestibule-snapshot-1               part-1     only when the parts before it are full
//! …
//! Secret vestibule-snapshot-15              part-15
//! ```
//!
//! `head.json` names the revision, the digest of the whole and of each part: a reader that sees new
//! parts under an old head (or the reverse) has read in the middle of a write, knows it, and keeps
//! what it has. The parts joined are zstd of JSON.
//!
//! The digests tell what is whole from what is not. They are no signature: who may write these
//! Secrets may serve what they like.
//!
//! What a pod says to the operator about itself is proved with [`ProofKey`], which travels in the
//! same Secrets: anyone who can make up a proof can read the signing keys as well.

use std::collections::BTreeMap;
use std::io::Read as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::snapshot::{FORMAT_BY_NAME, Revision, Snapshot};

/// Name of the Secret with the head; the others are named after it.
pub const SECRET_NAME: &str = "vestibule-snapshot";
pub const HEAD_KEY: &str = "head.json";
/// Secrets of one snapshot: pods may read these names and no other.
pub const PARTS_MAX: usize = 16;
/// A Secret holds 1 MiB; this leaves room for the head and the metadata.
pub const PART_BYTES_MAX: usize = 960 * 1024;
/// The layout of the head and the payload; a reader refuses one that it does not know.
pub const PACKING: u32 = 1;
/// What a payload may unpack to: more than [`PARTS_MAX`] full parts of ordinary text do.
const UNPACKED_BYTES_MAX: u64 = 256 * 1024 * 1024;
const LEVEL: i32 = 3;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Everything that is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    pub snapshot: Snapshot,
    /// By `namespace/name` of the provider. Not part of the snapshot's revision: that a provider
    /// rotated its keys changes no configuration.
    pub seeds: Seeds,
    pub proof_key: ProofKey,
}

pub type Seeds = BTreeMap<String, Seed>;

/// A provider's keys as a pod has fetched them, so that a fresh pod signs people in while the
/// provider is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// [`crate::snapshot::Provider::key_source_revision`] of what they were fetched for: they count
    /// for nothing else.
    pub source: Revision,
    pub jwks: Value,
    /// Seconds since the Unix epoch.
    pub fetched_at: i64,
}

/// With it a pod proves that it has loaded what was published, and that what it says of itself is
/// its own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProofKey(Secret);

/// The first part of the first Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    packing: u32,
    /// Of the snapshot.
    pub revision: Revision,
    /// Of all parts joined.
    pub digest: Revision,
    /// Of each part.
    parts: Vec<Revision>,
    /// When it was published, seconds since the Unix epoch: of two copies the later one counts.
    pub published_at: i64,
}

/// What the operator writes, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub head: Head,
    /// The one with the head last.
    pub secrets: Vec<PackedSecret>,
    /// The seeds did not fit and were left out.
    pub without_seeds: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedSecret {
    pub name: String,
    pub data: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error(
        "the configuration has {bytes} bytes compressed, and {PARTS_MAX} Secrets hold {}: split it over several installations",
        PARTS_MAX * PART_BYTES_MAX
    )]
    TooLarge { bytes: usize },
    #[error("it cannot be compressed: {0}")]
    Compression(String),
}

/// Why what was read is not used; what was served before goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    #[error("its head is not one that this version reads")]
    Head,
    #[error("it has packing {0}, and this version reads packing {PACKING}")]
    Packing(u32),
    #[error("part {0} is missing")]
    PartMissing(usize),
    #[error("part {0} is not the one that the head names: it was read while it was being written")]
    Torn(usize),
    #[error("its parts are not what the head names")]
    Digest,
    #[error("it is not a compressed snapshot")]
    Payload,
    #[error("its content has another revision than its head")]
    Revision,
}

/// The name of the Secret that holds a part.
pub fn secret_name(part: usize) -> String {
    match part {
        0 => SECRET_NAME.to_owned(),
        part => format!("{SECRET_NAME}-{part}"),
    }
}

/// The key of a part in its Secret, and the name of its file where the Secrets are mounted.
pub fn part_key(part: usize) -> String {
    format!("part-{part}")
}

/// Packs for publication; seeds that do not fit are left out, since they only make a start quicker.
pub fn pack(published: &Published, now: i64) -> Result<Packed, PackError> {
    let whole = compress(published)?;
    if whole.len() <= PARTS_MAX * PART_BYTES_MAX {
        return Ok(split(&published.snapshot, &whole, now, false));
    }
    if published.seeds.is_empty() {
        return Err(PackError::TooLarge { bytes: whole.len() });
    }
    let without = Published {
        seeds: Seeds::new(),
        ..published.clone()
    };
    let whole = compress(&without)?;
    if whole.len() > PARTS_MAX * PART_BYTES_MAX {
        return Err(PackError::TooLarge { bytes: whole.len() });
    }
    Ok(split(&published.snapshot, &whole, now, true))
}

fn compress(published: &Published) -> Result<Vec<u8>, PackError> {
    let json = Zeroizing::new(
        serde_json::to_vec(published).expect("strings, numbers and sorted maps are JSON"),
    );
    zstd::bulk::compress(&json, LEVEL).map_err(|error| PackError::Compression(error.to_string()))
}

fn split(snapshot: &Snapshot, whole: &[u8], now: i64, without_seeds: bool) -> Packed {
    let parts: Vec<&[u8]> = whole.chunks(PART_BYTES_MAX).collect();
    let head = Head {
        packing: PACKING,
        revision: snapshot.revision.clone(),
        digest: Revision::of(whole),
        parts: parts.iter().map(|part| Revision::of(part)).collect(),
        published_at: now,
    };
    let mut secrets: Vec<PackedSecret> = parts
        .iter()
        .enumerate()
        .map(|(part, bytes)| PackedSecret {
            name: secret_name(part),
            data: BTreeMap::from([(part_key(part), bytes.to_vec())]),
        })
        .collect();
    secrets[0].data.insert(HEAD_KEY.to_owned(), head.to_bytes());
    // A reader acts on the head: by then everything that it names is there.
    secrets.rotate_left(1);
    Packed {
        head,
        secrets,
        without_seeds,
    }
}

impl Head {
    pub fn parse(bytes: &[u8]) -> Result<Self, UnpackError> {
        #[derive(Deserialize)]
        struct Version {
            packing: u32,
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(UnpackError::Head);
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|_| UnpackError::Head)?;
        if version.packing != PACKING {
            return Err(UnpackError::Packing(version.packing));
        }
        let head: Self = serde_json::from_slice(bytes).map_err(|_| UnpackError::Head)?;
        if head.parts.is_empty() || head.parts.len() > PARTS_MAX {
            return Err(UnpackError::Head);
        }
        Ok(head)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }

    /// How many parts there are: one at least, [`PARTS_MAX`] at most.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Whether `parts` are the ones that this head names.
    pub fn check<P: AsRef<[u8]>>(&self, parts: &[P]) -> Result<(), UnpackError> {
        for (index, digest) in self.parts.iter().enumerate() {
            let part = parts.get(index).ok_or(UnpackError::PartMissing(index))?;
            if Revision::of(part.as_ref()) != *digest {
                return Err(UnpackError::Torn(index));
            }
        }
        Ok(())
    }

    /// Checks `parts` against this head and reads them. Nothing of what does not fit in every
    /// respect is used.
    pub fn unpack<P: AsRef<[u8]>>(&self, parts: &[P]) -> Result<Published, UnpackError> {
        self.check(parts)?;
        let parts = parts.iter().take(self.parts.len()).map(AsRef::as_ref);
        let whole = parts.collect::<Vec<_>>().concat();
        if Revision::of(&whole) != self.digest {
            return Err(UnpackError::Digest);
        }
        let published = decompress(&whole).ok_or(UnpackError::Payload)?;
        if published.snapshot.revision != self.revision {
            return Err(UnpackError::Revision);
        }
        Ok(published)
    }
}

fn decompress(whole: &[u8]) -> Option<Published> {
    let decoder = zstd::Decoder::with_buffer(whole).ok()?;
    let mut json = Zeroizing::new(Vec::new());
    let mut bounded = decoder.take(UNPACKED_BYTES_MAX + 1);
    bounded.read_to_end(&mut json).ok()?;
    if json.len() as u64 > UNPACKED_BYTES_MAX {
        return None;
    }
    let published: Published = serde_json::from_slice(&json).ok()?;
    Some(published.upgraded())
}

impl Published {
    /// What an earlier version published, as this one reads it.
    fn upgraded(mut self) -> Self {
        if self.snapshot.format == FORMAT_BY_NAME {
            let mut seeds = std::mem::take(&mut self.seeds);
            let providers = self.snapshot.providers.values();
            let renamed = providers.filter_map(|provider| {
                let seed = seeds.remove(&provider.name)?;
                Some((provider.key(), seed))
            });
            self.seeds = renamed.collect();
            self.snapshot = self.snapshot.upgraded();
        }
        self
    }
}

impl ProofKey {
    /// 256 random bits; none when the system gives none.
    pub fn generate() -> Option<Self> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        aws_lc_rs::rand::fill(bytes.as_mut()).ok()?;
        Some(Self(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))))
    }

    /// Proves to a pod that who asks is the operator: for this pod, this path and the nonce in it.
    pub fn prove_question(&self, pod: &str, path_and_query: &str) -> String {
        self.sign(&["question", pod, path_and_query], b"")
    }

    pub fn verify_question(&self, pod: &str, path_and_query: &str, proof: &str) -> bool {
        self.is_signed(&["question", pod, path_and_query], b"", proof)
    }

    /// Proves to the operator that `body` is what this pod answers at this path, which has a nonce
    /// in it: an answer of another pod or another path has another proof.
    pub fn prove_answer(&self, pod: &str, path_and_query: &str, body: &[u8]) -> String {
        self.sign(&["answer", pod, path_and_query], body)
    }

    pub fn verify_answer(&self, pod: &str, path_and_query: &str, body: &[u8], proof: &str) -> bool {
        self.is_signed(&["answer", pod, path_and_query], body, proof)
    }

    fn sign(&self, names: &[&str], body: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), &lines(names, body)))
    }

    /// Compares in constant time.
    fn is_signed(&self, names: &[&str], body: &[u8], proof: &str) -> bool {
        let Ok(proof) = URL_SAFE_NO_PAD.decode(proof) else {
            return false;
        };
        hmac::verify(&self.key(), &lines(names, body), &proof).is_ok()
    }

    /// What an operator of an earlier version reads: the proof of `body` for the sender of `nonce`:
    /// HMAC-SHA256 (RFC 2104) over both, base64url.
    pub fn prove(&self, nonce: &str, body: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), &message(nonce, body)))
    }

    /// Compares in constant time.
    pub fn verify(&self, nonce: &str, body: &[u8], proof: &str) -> bool {
        let Ok(proof) = URL_SAFE_NO_PAD.decode(proof) else {
            return false;
        };
        hmac::verify(&self.key(), &message(nonce, body), &proof).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.expose().as_bytes())
    }
}

/// No name has a line feed: no other names and body give these lines.
fn lines(names: &[&str], body: &[u8]) -> Vec<u8> {
    let mut lines = names.join("\n").into_bytes();
    lines.push(b'\n');
    lines.extend_from_slice(body);
    lines
}

fn message(nonce: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(nonce.len() + 1 + body.len());
    message.extend_from_slice(nonce.as_bytes());
    // A nonce has no line feed: no other split of the two gives this message.
    message.push(b'\n');
    message.extend_from_slice(body);
    message
}

#[cfg(test)]
mod tests;
