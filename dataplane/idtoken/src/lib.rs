//! Verifies ID tokens of OpenID providers (OpenID Connect Core 1.0, section 3.1.3.7).
//!
//! | step | module |
//! |---|---|
//! | a text becomes a token that is believed in nothing yet | [`token`] |
//! | its header, before a key is looked for | [`verify::check_header`] |
//! | its signature, by a key that is cached or fetched | [`keys::check_signature`] |
//! | its claims | [`verify::check_claims`] |
//!
//! What to accept of a provider is a [`vestibule_crds::snapshot::Provider`].

pub mod clock;
pub mod keys;
pub mod refusal;
pub mod strict_json;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod verify;
