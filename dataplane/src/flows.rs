//! What each request does, from the caller to the audit event: a sign-in, a refresh, a
//! changed password, a sign-out, a logout at the provider, and the own sessions.

pub mod account;
pub mod backchannel_logout;
pub mod challenge;
pub mod client;
pub mod device;
pub mod frame;
pub mod issue;
pub mod mfa_requirement;
pub mod own_sessions;
pub mod password_change;
pub mod refresh;
pub mod session;
pub mod signin;
