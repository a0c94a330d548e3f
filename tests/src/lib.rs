//! What the end-to-end tests and the benchmark share.

pub mod bench;
pub mod e2e;
