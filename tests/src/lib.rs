//! What the end-to-end tests, the benchmark and the fuzz targets share.

pub mod bench;
pub mod cluster;
pub mod e2e;
pub mod fuzz;
pub mod simulation;
mod skip;

pub use skip::skip;
