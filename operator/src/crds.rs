//! `vestibule-operator crds`: the definitions are generated from the types, never written by hand.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use vestibule_crds::manifests::to_yaml;
use vestibule_crds::object::Kind;
use vestibule_crds::schema::definition;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write one file for each definition into this folder instead of printing them
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

/// In the order in which they are printed.
const KINDS: [Kind; 2] = [Kind::OidcProvider, Kind::SigninPolicy];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Some(folder) = &arguments.output_dir else {
        let mut output = io::stdout().lock();
        for kind in KINDS {
            writeln!(output, "---\n{}", document(kind)?.1.trim_end())?;
        }
        return Ok(());
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for kind in KINDS {
        let (name, yaml) = document(kind)?;
        let path = folder.join(format!("{name}.yaml"));
        fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The name of a definition and its YAML.
fn document(kind: Kind) -> Result<(String, String)> {
    let definition = definition(kind);
    let yaml = to_yaml(&definition).context("a definition is plain data")?;
    let name = definition.metadata.name.unwrap_or_default();
    Ok((name, yaml))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_in_the_repository_are_current() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds");
        for kind in KINDS {
            let (name, yaml) = document(kind).expect("a definition");
            let committed = fs::read_to_string(folder.join(format!("{name}.yaml")));
            assert!(
                committed.is_ok_and(|committed| committed == yaml),
                "crds/{name}.yaml is stale: run `vestibule-operator crds --output-dir crds`"
            );
        }
    }
}
