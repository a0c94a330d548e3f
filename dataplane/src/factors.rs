//! The second factors themselves: how each is proved or sent, and how its secrets are sealed. When
//! one is asked for, and what follows, is decided elsewhere.

pub mod email;
pub mod recovery;
pub mod seal;
pub mod sms;
pub mod totp;
pub mod webauthn;
