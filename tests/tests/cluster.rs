//! The chart, the operator and the data plane in a real Kubernetes, by `kubectl` and `helm` as a person uses them. `make test` runs
//! them, with a cluster of their own (`tests/cluster/test`): `installing` first, alone, since it installs the CRDs; `many` and `outages` last, alone,
//! since they take away what the others need.

// The rules that our own checker is tested with.
#[path = "../../crds/tests/validation/cases.rs"]
mod cases;

#[path = "cluster/bad_input.rs"]
mod bad_input;
#[path = "cluster/conditions.rs"]
mod conditions;
#[path = "cluster/fleet.rs"]
mod fleet;
#[path = "cluster/installing.rs"]
mod installing;
#[path = "cluster/many.rs"]
mod many;
#[path = "cluster/namespaces.rs"]
mod namespaces;
#[path = "cluster/outages.rs"]
mod outages;
#[path = "cluster/rotation.rs"]
mod rotation;
#[path = "cluster/shared.rs"]
mod shared;
#[path = "cluster/tenants.rs"]
mod tenants;
#[path = "cluster/validation.rs"]
mod validation;
