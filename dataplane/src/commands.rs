//! What each subcommand does.

pub mod backup;
pub mod check;
pub mod copy;
pub mod demo;
pub mod explain;
pub mod migrate;
pub mod replay;
pub mod serve;
pub mod terminal;
pub mod users;
