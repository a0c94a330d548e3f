//! The Vestibule data plane: ID tokens in, local tokens out.

pub mod store;
