//! Private keys of a policy: parsed once for a snapshot, never for a request.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::algorithm::{Algorithm, SigningAlgorithm};
use crate::secret::Secret;

/// A private key ready to sign, and its public half as a JWK.
pub struct SigningKey {
    pub kid: String,
    pub algorithm: Algorithm,
    /// With `kid`, `alg` and `use`.
    pub jwk: Value,
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn signature::RsaEncoding),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error(
        "it is not a PKCS#8 private key in PEM (`-----BEGIN PRIVATE KEY-----`): convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY.pem`"
    )]
    NotPkcs8,
    #[error("its type is not supported: use P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits")]
    Unsupported,
    #[error("it is no key for {0}")]
    WrongAlgorithm(Algorithm),
    #[error("the key could not be made")]
    Generation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be made")]
pub struct SigningFailed;

impl SigningKey {
    /// Reads a PKCS#8 PEM. The key says which algorithm it signs with; an RSA key signs RS256
    /// unless `wanted` says PS256.
    pub fn parse(pem: &Secret, wanted: Option<SigningAlgorithm>) -> Result<Self, SigningKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes())
            .map_err(|_| SigningKeyError::NotPkcs8)?;
        let der = der.secret_pkcs8_der();
        let (algorithm, pair, jwk) = ecdsa(der)
            .or_else(|| ed25519(der))
            .or_else(|| rsa(der, wanted))
            .ok_or(SigningKeyError::Unsupported)?;
        if let Some(wanted) = wanted.map(SigningAlgorithm::as_algorithm)
            && wanted != algorithm
        {
            return Err(SigningKeyError::WrongAlgorithm(wanted));
        }
        let kid = thumbprint(&jwk).ok_or(SigningKeyError::Unsupported)?;
        let mut jwk = jwk;
        jwk["kid"] = json!(kid);
        jwk["alg"] = json!(algorithm.name());
        jwk["use"] = json!("sig");
        Ok(Self {
            kid,
            algorithm,
            jwk,
            pair,
            random: SystemRandom::new(),
        })
    }

    /// A new private key as PKCS#8 PEM.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Secret, SigningKeyError> {
        let der = match algorithm {
            SigningAlgorithm::ES256 => ecdsa_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING),
            SigningAlgorithm::ES384 => ecdsa_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING),
            SigningAlgorithm::EdDSA => Ed25519KeyPair::generate()
                .ok()
                .and_then(|pair| Some(pair.to_pkcs8().ok()?.as_ref().to_vec())),
            SigningAlgorithm::RS256 | SigningAlgorithm::PS256 => {
                RsaKeyPair::generate(KeySize::Rsa2048)
                    .ok()
                    .and_then(|pair| Some(pair.as_der().ok()?.as_ref().to_vec()))
            }
        };
        let der = zeroize::Zeroizing::new(der.ok_or(SigningKeyError::Generation)?);
        Ok(Secret::new(pem("PRIVATE KEY", &der)))
    }

    /// The JWS signature of `message`, raw.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&self.random, message);
                Ok(signature.map_err(|_| SigningFailed)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair, encoding) => {
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &self.random, message, &mut bytes)
                    .map_err(|_| SigningFailed)?;
                Ok(bytes)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn ecdsa(der: &[u8]) -> Option<(Algorithm, Pair, Value)> {
    let (algorithm, curve, pair) =
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            (Algorithm::ES256, "P-256", pair)
        } else {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).ok()?;
            (Algorithm::ES384, "P-384", pair)
        };
    // SEC 1, section 2.3.3: 4, x, y.
    let point = pair.public_key().as_ref().get(1..)?;
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)});
    Some((algorithm, Pair::Ecdsa(pair), jwk))
}

fn ed25519(der: &[u8]) -> Option<(Algorithm, Pair, Value)> {
    let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
    let x = base64url(pair.public_key().as_ref());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    Some((Algorithm::EdDSA, Pair::Ed25519(pair), jwk))
}

fn rsa(der: &[u8], wanted: Option<SigningAlgorithm>) -> Option<(Algorithm, Pair, Value)> {
    let pair = RsaKeyPair::from_pkcs8(der).ok()?;
    if !(256..=1024).contains(&pair.public_modulus_len()) {
        return None;
    }
    let n = base64url(
        pair.public_key()
            .modulus()
            .big_endian_without_leading_zero(),
    );
    let e = base64url(
        pair.public_key()
            .exponent()
            .big_endian_without_leading_zero(),
    );
    let jwk = json!({"kty": "RSA", "n": n, "e": e});
    if wanted == Some(SigningAlgorithm::PS256) {
        Some((
            Algorithm::PS256,
            Pair::Rsa(pair, &signature::RSA_PSS_SHA256),
            jwk,
        ))
    } else {
        Some((
            Algorithm::RS256,
            Pair::Rsa(pair, &signature::RSA_PKCS1_SHA256),
            jwk,
        ))
    }
}

fn ecdsa_pkcs8(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Option<Vec<u8>> {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).ok()?;
    Some(document.as_ref().to_vec())
}

fn thumbprint(jwk: &Value) -> Option<String> {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    jwk.thumbprint(ThumbprintHash::SHA256).ok()
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7468.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification_key::{KeySet, Lookup};

    #[test]
    fn every_algorithm_signs_what_its_published_key_verifies() {
        for algorithm in [
            SigningAlgorithm::ES256,
            SigningAlgorithm::ES384,
            SigningAlgorithm::EdDSA,
            SigningAlgorithm::RS256,
            SigningAlgorithm::PS256,
        ] {
            let pem = SigningKey::generate(algorithm).expect("a key can be made");
            let key = SigningKey::parse(&pem, Some(algorithm)).expect("it reads back");
            let signature = key.sign(b"message").expect("it signs");
            let jwks = json!({"keys": [key.jwk]});
            let set = KeySet::parse(&jwks, &[key.algorithm]).expect("a set");
            let Lookup::Found(public) = set.find(Some(&key.kid), key.algorithm) else {
                panic!("{algorithm:?}: not found in {jwks}");
            };
            assert!(public.verify_sig(b"message", &signature).is_ok());
            assert!(public.verify_sig(b"massage", &signature).is_err());
        }
    }

    #[test]
    fn a_key_for_another_algorithm_is_refused() {
        let pem = SigningKey::generate(SigningAlgorithm::ES256).expect("a key can be made");
        assert_eq!(
            SigningKey::parse(&pem, Some(SigningAlgorithm::EdDSA)).map(|key| key.kid),
            Err(SigningKeyError::WrongAlgorithm(Algorithm::EdDSA))
        );
        assert!(SigningKey::parse(&pem, None).is_ok());
    }

    #[test]
    fn text_that_is_no_key_is_refused_and_not_repeated() {
        let error = SigningKey::parse(&Secret::new("hunter2"), None).map(|key| key.kid);
        assert_eq!(error, Err(SigningKeyError::NotPkcs8));
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }
}
