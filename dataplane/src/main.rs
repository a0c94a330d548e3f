//! The `vestibule` binary.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use vestibule_dataplane::cli::{Cli, Command};
use vestibule_dataplane::commands::{
    backup, check, copy, demo, explain, migrate, replay, serve, users,
};
use vestibule_dataplane::http::openapi;
use vestibule_process::core_dumps;

/// A request makes many small allocations on one thread and frees some on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = core_dumps::turn_off() {
        eprintln!("vestibule: core dumps cannot be turned off: {error}");
    }
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(*args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Copy(args) => copy::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Users(args) => users::run(&args),
        Command::Openapi => print(&openapi::pretty()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vestibule", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("vestibule: {}", sentence(&error));
        ExitCode::FAILURE
    })
}

/// The error and its causes, but for those that an earlier text already contains.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
