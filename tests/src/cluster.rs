//! The harness of the cluster tests: `kubectl` and `helm` as a person uses them, and the parts of the tests' own cluster.
//!
//! It runs in the cluster's network (`tests/cluster/enter`), so that Services and pods are reached by name and address. What a test makes
//! is in a namespace of its own.

pub mod bulk;
pub mod caller;
pub mod changes;
pub mod fleet;
pub mod helm;
pub mod kubectl;
pub mod namespace;
pub mod node;
pub mod objects;

pub use helm::Release;
pub use kubectl::{Kubectl, kubectl};
pub use namespace::Namespace;
