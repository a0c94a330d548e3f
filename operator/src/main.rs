//! The operator's command line.

mod crds;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The Vestibule operator: compiles OidcProviders and SigninPolicies, publishes them to the data plane and says what became
/// of them.
#[derive(Debug, Parser)]
#[command(name = "vestibule-operator", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions of the vestibule.dev group as YAML
    ///
    /// Apply them with: vestibule-operator crds | kubectl apply --server-side -f -
    Crds(crds::Arguments),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Crds(arguments) => crds::run(&arguments),
    }
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
