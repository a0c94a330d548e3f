//! Second factors: when one is asked for, what answers it, and how one is enrolled.
//!
//! A sign-in that needs a factor is kept by a challenge ([`challenge`]) and completed by whoever answers it ([`verify`]).
//! Until then it leaves no session, teaches the risk engine nothing and changes no profile.

mod attempt;
pub mod challenge;
mod complete;
pub mod demand;
pub mod describe;
pub mod device;
pub mod enroll;
pub mod recovery;
pub mod seal;
pub mod totp;
pub mod verify;
