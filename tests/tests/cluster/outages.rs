//! Parts of Vestibule and of the cluster go away while people sign in. Alone and last: they take away what other tests need.

#[path = "outages/cluster.rs"]
mod cluster;
#[path = "outages/forgery.rs"]
mod forgery;
#[path = "outages/operator.rs"]
mod operator;
#[path = "outages/pods.rs"]
mod pods;
