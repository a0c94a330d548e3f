//! Background tasks, which run for as long as the process lives.

pub mod population;
pub mod prefetch;
pub mod refusals;
pub mod sweep;
