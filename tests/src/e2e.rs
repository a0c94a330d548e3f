//! The harness of the end-to-end tests: the real binary as a process of its own, a real provider, real files and signals.
//!
//! Everything that a test starts ends with it, also when it panics. Nothing sleeps for a fixed time: a condition is awaited
//! with [`eventually`], which gives up at a deadline and says what did not happen.

pub mod caller;
pub mod child;
pub mod client;
pub mod eventually;
pub mod id_provider;
pub mod load;
pub mod local_issuer;
pub mod mailbox;
pub mod manifests;
pub mod oauth_clients;
pub mod postgres;
pub mod program;
pub mod scripted;
pub mod service;
pub mod totp;
pub mod verifiers;

pub use caller::Caller;
pub use client::{Client, Reply};
pub use eventually::{eventually, is, within};
pub use id_provider::IdProvider;
pub use load::Load;
pub use local_issuer::LocalIssuer;
pub use mailbox::{MailTls, Mailbox};
pub use postgres::Postgres;
pub use program::{Finished, vestibule, vestibule_reading};
pub use service::{Builder, Service};
pub use totp::totp;
