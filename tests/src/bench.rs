//! The benchmark: the service's cost against a floor that is measured in the same run.

pub mod crowd;
pub mod floor;
pub mod load;
pub mod process;
pub mod report;
pub mod service;
