//! The Vestibule data plane: ID tokens in, local tokens out.

pub mod admin;
pub mod agent;
pub mod app;
pub mod audit;
pub mod background;
pub mod body;
pub mod cli;
pub mod client_address;
pub mod clock;
pub mod commands;
pub mod config;
pub mod dto;
pub mod encoding;
pub mod evidence;
pub mod factors;
pub mod failure;
pub mod flows;
pub mod geography;
pub mod http;
pub mod language;
pub mod limits;
pub mod metrics;
pub mod mfa;
pub mod oauth;
pub mod password;
pub mod protocol;
pub mod refresh_token;
pub mod runtime_config;
pub mod server;
pub mod telemetry;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
pub mod users;
