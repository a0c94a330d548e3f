//! The contract of Vestibule: what people write (two custom resources), what pods read ([`snapshot::Snapshot`]), and the
//! pure function between them. No client, no runtime, no clock, no files.

pub mod algorithm;
pub mod claims;
pub mod duration;
pub mod expression;
pub mod issuer;
pub mod rotation;
pub mod secret;
pub mod signing_key;
pub mod snapshot;
pub mod verification_key;
