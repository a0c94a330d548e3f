//! The contract of Vestibule: what people write (two custom resources), what pods read
//! ([`snapshot::Snapshot`]), and the pure function between them. No client, no runtime, no clock,
//! no files.

pub mod algorithm;
pub mod claims;
pub mod compile;
pub mod duration;
pub mod encryption_key;
pub mod expression;
pub mod installer;
pub mod issuer;
pub mod manifests;
pub mod object;
pub mod oidc_provider;
pub mod publication;
pub mod reference;
pub mod report;
pub mod rotation;
pub mod schema;
pub mod secret;
pub mod signin_policy;
pub mod signing_key;
pub mod snapshot;
pub mod status;
mod structural;
pub mod verification_key;

pub use oidc_provider::{OidcProvider, OidcProviderSpec};
pub use signin_policy::{SigninPolicy, SigninPolicySpec};
