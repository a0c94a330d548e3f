//! The real binary as its users run it: what needs a process, a provider, files and signals. Everything that can be seen in
//! one process is tested in `dataplane`.

#[path = "e2e/audit.rs"]
mod audit;
#[path = "e2e/backup.rs"]
mod backup;
#[path = "e2e/bad_database.rs"]
mod bad_database;
#[path = "e2e/callers.rs"]
mod callers;
#[path = "e2e/check.rs"]
mod check;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/copy.rs"]
mod copy;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/drain.rs"]
mod drain;
#[path = "e2e/examples.rs"]
mod examples;
#[path = "e2e/explain.rs"]
mod explain;
#[path = "e2e/full_disk.rs"]
mod full_disk;
#[path = "e2e/geography.rs"]
mod geography;
#[path = "e2e/h2spec.rs"]
mod h2spec;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/local_tokens.rs"]
mod local_tokens;
#[path = "e2e/mail.rs"]
mod mail;
#[path = "e2e/mfa.rs"]
mod mfa;
#[path = "e2e/oauth.rs"]
mod oauth;
#[path = "e2e/postgres.rs"]
mod postgres;
#[path = "e2e/provider.rs"]
mod provider;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/replay.rs"]
mod replay;
#[path = "e2e/replicas.rs"]
mod replicas;
#[path = "e2e/schemathesis.rs"]
mod schemathesis;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/slow_clients.rs"]
mod slow_clients;
#[path = "e2e/start.rs"]
mod start;
#[path = "e2e/tls.rs"]
mod tls;
#[path = "e2e/traces.rs"]
mod traces;
#[path = "e2e/users.rs"]
mod users;
