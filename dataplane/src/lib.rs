//! The Vestibule data plane: ID tokens in, local tokens out.

pub mod account;
pub mod admin;
pub mod app;
pub mod cli;
pub mod client_address;
pub mod clock;
pub mod commands;
pub mod config;
pub mod dto;
pub mod encoding;
pub mod failure;
pub mod geography;
pub mod http;
pub mod issue;
pub mod keys;
pub mod language;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod mfa;
pub mod password;
pub mod refresh;
pub mod refresh_token;
pub mod risk;
pub mod server;
pub mod session;
pub mod signin;
pub mod store;
pub mod strict_json;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
pub mod token;
pub mod trail;
pub mod users;
pub mod verify;
