//! The operator's command line.

mod admin;
mod arguments;
mod cache;
mod clock;
mod controller;
mod crds;
mod debounce;
mod failure;
mod lease;
mod metrics;
mod nesting;
mod owned;
mod pods;
mod publish;
mod referenced_data;
mod run;
mod signing_keys;
mod status;
mod status_writer;
#[cfg(test)]
mod testing;
mod watch;
mod watched;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vestibule_process::core_dumps;

/// Watches hold many small objects that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Vestibule operator: compiles OidcProviders and SigninPolicies, publishes them to the data
/// plane and reports their status.
#[derive(Debug, Parser)]
#[command(name = "vestibule-operator", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by SIGTERM or SIGINT
  1  failed, or lost the lease: start it again
  2  the command line is wrong";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator, in a pod or with a kubeconfig
    Run(Box<arguments::RunArguments>),
    /// Print the CustomResourceDefinitions of the vestibule.dev group as YAML
    ///
    /// Apply them with: vestibule-operator crds | kubectl apply --server-side -f -
    Crds(crds::Arguments),
}

fn main() -> ExitCode {
    if let Err(error) = core_dumps::turn_off() {
        eprintln!("vestibule-operator: core dumps cannot be turned off: {error}");
    }
    let result = match Cli::parse().command {
        Command::Run(arguments) => run::run(*arguments),
        Command::Crds(arguments) => crds::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("vestibule-operator: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
