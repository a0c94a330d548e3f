//! Public keys of providers (RFC 7517): parsed once, with everything that a key says about its own
//! use enforced.
//!
//! The JSON shape is read by `jsonwebtoken`; that crate ignores `use` and `key_ops` when it makes a
//! decoding key, so the rules stand here.

use aws_lc_rs::signature::VerificationAlgorithm;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use serde_json::Value;

use crate::algorithm::Algorithm;

mod roca;

/// More keys than any provider publishes; the rest of a longer set is not read.
pub const KEYS_MAX: usize = 128;
/// A modulus of 8192 bits in base64url, and some room.
const COMPONENT_CHARS_MAX: usize = 1400;
/// Longest key id that is looked at.
pub const KID_BYTES_MAX: usize = 256;

/// A provider's usable keys, and why the others are not.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    rejected: Vec<RejectedKey>,
}

/// One public key, parsed for each algorithm that it may verify.
#[derive(Debug)]
pub struct VerificationKey {
    pub kid: Option<String>,
    parsed: Vec<(Algorithm, ParsedPublicKey)>,
    /// As JSON text: it is asked for now and then, and a parsed one takes thrice the room.
    jwk: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedKey {
    pub kid: Option<String>,
    pub reason: KeyError,
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it is not a JWK: {0}")]
    NotAJwk(String),
    #[error("it is symmetric: publish only public keys")]
    Symmetric,
    #[error("it holds private key material: publish only public keys, and replace this one")]
    Private,
    #[error("its key type or curve is not supported: use RSA, P-256, P-384 or Ed25519")]
    UnsupportedType,
    #[error("its `use` is not `sig`")]
    UseNotSignature,
    #[error("its `key_ops` do not include `verify`, or name one twice")]
    OperationsNotVerify,
    #[error("its `alg` is not one of the provider's algorithms, or does not fit its type")]
    AlgorithmNotAllowed,
    #[error("an RSA modulus has 2048 to 8192 bits and an odd exponent from 3")]
    WeakRsa,
    #[error("it comes from a broken generator (ROCA, CVE-2017-15361): replace it")]
    Roca,
    #[error("its numbers are not the base64url of a valid key")]
    Components,
    #[error("its `kid` is longer than 256 bytes")]
    KidTooLong,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a JWK Set is a JSON object with an array `keys`")]
pub struct NotAKeySet;

/// What looking for a token's key came to.
#[derive(Debug)]
pub enum Lookup<'a> {
    Found(&'a ParsedPublicKey),
    /// The set has the key, for other algorithms than the token's.
    AlgorithmMismatch,
    /// No such `kid`; or the token names none and it is not plain which key was meant.
    Unknown,
}

impl KeySet {
    /// Reads a JWK Set. A key that cannot be used is set aside with its reason: providers publish
    /// encryption keys too.
    pub fn parse(jwks: &Value, allowed: &[Algorithm]) -> Result<Self, NotAKeySet> {
        let keys = jwks.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(NotAKeySet)?;
        let mut set = Self::default();
        for jwk in keys.iter().take(KEYS_MAX) {
            match VerificationKey::parse(jwk, allowed) {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.rejected.push(RejectedKey {
                    kid: jwk.get("kid").and_then(Value::as_str).map(shortened),
                    reason,
                }),
            }
        }
        Ok(set)
    }

    pub fn keys(&self) -> &[VerificationKey] {
        &self.keys
    }

    pub fn rejected(&self) -> &[RejectedKey] {
        &self.rejected
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The usable keys as a JWK Set, without anything that was not understood.
    pub fn to_jwks(&self) -> Value {
        let keys = self.keys.iter().map(|key| key.jwk());
        let keys: Vec<Value> = keys.collect();
        serde_json::json!({ "keys": keys })
    }

    /// The key for a token's `kid` and `alg`. Of several keys with one `kid` the algorithm decides;
    /// a token without a `kid` is accepted when only one key fits its algorithm (OpenID Connect
    /// Core 10.1).
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Lookup<'_> {
        let mut named = false;
        let mut found = None;
        for key in &self.keys {
            if kid.is_some() && key.kid.as_deref() != kid {
                continue;
            }
            named = true;
            let Some(parsed) = key.for_algorithm(algorithm) else {
                continue;
            };
            if found.is_some() {
                return Lookup::Unknown;
            }
            found = Some(parsed);
        }
        match (found, named, kid) {
            (Some(parsed), _, _) => Lookup::Found(parsed),
            (None, true, Some(_)) => Lookup::AlgorithmMismatch,
            (None, _, _) => Lookup::Unknown,
        }
    }
}

impl VerificationKey {
    pub fn parse(value: &Value, allowed: &[Algorithm]) -> Result<Self, KeyError> {
        if value.get("kty").and_then(Value::as_str) == Some("oct") {
            return Err(KeyError::Symmetric);
        }
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| value.get(name).is_some())
        {
            return Err(KeyError::Private);
        }
        let jwk: Jwk = serde_json::from_value(value.clone())
            .map_err(|error| KeyError::NotAJwk(shortened(&error.to_string())))?;
        let kid = jwk.common.key_id.clone();
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(KeyError::KidTooLong);
        }
        check_use(&jwk)?;

        let (possible, key_material) = material(&jwk)?;
        let usable: Vec<Algorithm> = possible
            .iter()
            .copied()
            .filter(|alg| allowed.contains(alg) && declares(&jwk, *alg))
            .collect();
        if usable.is_empty() {
            return Err(KeyError::AlgorithmNotAllowed);
        }
        let parsed = usable
            .into_iter()
            .map(|alg| Ok((alg, key_material.parse(alg)?)))
            .collect::<Result<_, KeyError>>()?;
        Ok(Self {
            kid,
            parsed,
            jwk: public_members(value).to_string().into(),
        })
    }

    fn jwk(&self) -> Value {
        serde_json::from_str(&self.jwk).expect("it was written from JSON")
    }

    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.parsed.iter().map(|(alg, _)| *alg)
    }

    fn for_algorithm(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let mut parsed = self.parsed.iter();
        parsed
            .find(|(alg, _)| *alg == algorithm)
            .map(|(_, key)| key)
    }
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Point(Vec<u8>),
}

impl Material {
    fn parse(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, KeyError> {
        match self {
            Self::Rsa { n, e } => {
                let parameters = rsa_parameters(algorithm).ok_or(KeyError::AlgorithmNotAllowed)?;
                RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(parameters)
                    .map_err(|_| KeyError::Components)
            }
            Self::Point(bytes) => {
                let verifier = point_verifier(algorithm).ok_or(KeyError::AlgorithmNotAllowed)?;
                ParsedPublicKey::new(verifier, bytes).map_err(|_| KeyError::Components)
            }
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => None,
    }
}

fn point_verifier(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&signature::ED25519),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => None,
    }
}

const RSA_ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The algorithms that a key of this type can verify, and its numbers.
fn material(jwk: &Jwk) -> Result<(&'static [Algorithm], Material), KeyError> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let (n, e) = (component(&rsa.n)?, component(&rsa.e)?);
            if !is_strong_rsa(&n, &e) {
                return Err(KeyError::WeakRsa);
            }
            if roca::is_vulnerable(&n) {
                return Err(KeyError::Roca);
            }
            Ok((RSA_ALGORITHMS, Material::Rsa { n, e }))
        }
        AlgorithmParameters::EllipticCurve(ec) => {
            let (algorithms, length): (&[Algorithm], usize) = match ec.curve {
                EllipticCurve::P256 => (&[Algorithm::ES256], 32),
                EllipticCurve::P384 => (&[Algorithm::ES384], 48),
                _ => return Err(KeyError::UnsupportedType),
            };
            let (x, y) = (component(&ec.x)?, component(&ec.y)?);
            if x.len() != length || y.len() != length {
                return Err(KeyError::Components);
            }
            // SEC 1, section 2.3.3: an uncompressed point.
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            Ok((algorithms, Material::Point(point)))
        }
        AlgorithmParameters::OctetKeyPair(okp) => {
            if okp.curve != EllipticCurve::Ed25519 {
                return Err(KeyError::UnsupportedType);
            }
            let x = component(&okp.x)?;
            if x.len() != 32 {
                return Err(KeyError::Components);
            }
            Ok((&[Algorithm::EdDSA], Material::Point(x)))
        }
        AlgorithmParameters::OctetKey(_) => Err(KeyError::Symmetric),
        _ => Err(KeyError::UnsupportedType),
    }
}

fn check_use(jwk: &Jwk) -> Result<(), KeyError> {
    match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => {}
        Some(_) => return Err(KeyError::UseNotSignature),
    }
    if let Some(operations) = &jwk.common.key_operations {
        let repeated = operations
            .iter()
            .enumerate()
            .any(|(index, operation)| operations[..index].contains(operation));
        if repeated || !operations.contains(&KeyOperations::Verify) {
            return Err(KeyError::OperationsNotVerify);
        }
    }
    Ok(())
}

/// Whether the key's own `alg`, if it has one, is this algorithm.
fn declares(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let Some(declared) = jwk.common.key_algorithm else {
        return true;
    };
    let declared = match declared {
        KeyAlgorithm::RS256 => Algorithm::RS256,
        KeyAlgorithm::RS384 => Algorithm::RS384,
        KeyAlgorithm::RS512 => Algorithm::RS512,
        KeyAlgorithm::PS256 => Algorithm::PS256,
        KeyAlgorithm::PS384 => Algorithm::PS384,
        KeyAlgorithm::PS512 => Algorithm::PS512,
        KeyAlgorithm::ES256 => Algorithm::ES256,
        KeyAlgorithm::ES384 => Algorithm::ES384,
        KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        _ => return false,
    };
    declared == algorithm
}

/// Leading zeros of RSA numbers stay: a number that is not canonical is refused below.
fn component(text: &str) -> Result<Vec<u8>, KeyError> {
    if text.len() > COMPONENT_CHARS_MAX {
        return Err(KeyError::Components);
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| KeyError::Components)
}

fn is_strong_rsa(n: &[u8], e: &[u8]) -> bool {
    let Some(first) = n.first().filter(|first| **first != 0) else {
        return false;
    };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    let exponent = e
        .iter()
        .try_fold(0_u64, |sum, byte| {
            Some(sum.checked_mul(256)? + u64::from(*byte))
        })
        .unwrap_or(0);
    (2048..=8192).contains(&bits) && exponent >= 3 && exponent % 2 == 1
}

/// What of a key is published again or kept in a snapshot.
fn public_members(jwk: &Value) -> Value {
    let Some(members) = jwk.as_object() else {
        return Value::Null;
    };
    let kept = members
        .iter()
        .filter(|(name, _)| {
            matches!(
                name.as_str(),
                "kty" | "kid" | "alg" | "use" | "key_ops" | "crv" | "n" | "e" | "x" | "y"
            )
        })
        .map(|(name, value)| (name.clone(), value.clone()));
    let mut kept = Value::Object(kept.collect());
    // A revision is made from its text, which is the same however the set was written.
    kept.sort_all_objects();
    kept
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
