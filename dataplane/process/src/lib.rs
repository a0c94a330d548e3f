//! Process set-up that the operator and the data plane share: the log, signals, panics, core dumps,
//! and the pauses of a watch that fails.

pub mod backoff;
pub mod core_dumps;
pub mod log;
pub mod panic;
pub mod signal;
