//! `vestibule check`: what would be refused, before it is applied.

use std::path::Path;
use std::process::ExitCode;

use anstream::println;
use anyhow::Context as _;
use serde_json::json;
use vestibule_crds::compile::{Verdict, compile};
use vestibule_crds::manifests::{self, FileError, ManifestFile};

use super::terminal::{BAD, FAINT, GOOD, STRONG, WARNING, styled};
use crate::cli::{CheckArgs, Output};
use crate::config::files::read_all;
use crate::config::{inputs, reason};

pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (files, unreadable) = read(&args.path)?;
    let (objects, errors) = manifests::read(&files);
    let (ignored, notes) = (objects.ignored.clone(), objects.notes.clone());
    let verdicts = compile(&inputs(objects, None, args.installer.allowed(args.issuers))).verdicts;

    let refused = verdicts
        .iter()
        .filter(|verdict| verdict.is_refused())
        .count();
    let nothing = verdicts.is_empty() && errors.is_empty();
    let good = refused == 0 && errors.is_empty() && unreadable.is_empty() && !nothing;
    match args.output {
        Output::Json => {
            let report = json!({
                "accepted": good,
                "verdicts": verdicts,
                "errors": errors,
                "unreadable": unreadable,
                "ignored": ignored,
                "notes": notes,
            });
            println!("{report:#}");
        }
        Output::Text => {
            print_errors(&errors, &unreadable);
            for verdict in &verdicts {
                print_verdict(verdict);
            }
            for note in &notes {
                println!("{}", styled(WARNING, &note.to_string()));
            }
            for ignored in &ignored {
                let line = format!(
                    "{}: {} {} is none of Vestibule's kinds and is not looked at",
                    ignored.path, ignored.kind, ignored.name
                );
                println!("{}", styled(FAINT, &line));
            }
            if nothing {
                println!(
                    "{}",
                    styled(BAD, "there is no OidcProvider and no SigninPolicy here")
                );
            } else {
                println!(
                    "{} accepted, {} refused, {} files or documents that cannot be read",
                    verdicts.len() - refused,
                    refused,
                    errors.len() + unreadable.len()
                );
            }
        }
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// The manifests at a path, and the files among them that could not be read at all.
pub fn read(path: &Path) -> anyhow::Result<(Vec<ManifestFile>, Vec<String>)> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if metadata.is_file() {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let path = path.display().to_string();
        return Ok((vec![ManifestFile { path, text }], Vec::new()));
    }
    read_all(path).with_context(|| path.display().to_string())
}

fn print_errors(errors: &[FileError], unreadable: &[String]) {
    let errors = errors.iter().map(ToString::to_string);
    for error in errors.chain(unreadable.iter().cloned()) {
        println!("{} {error}", styled(BAD, "unreadable"));
    }
}

fn print_verdict(verdict: &Verdict) {
    let name = format!("{} {}/{}", verdict.kind, verdict.namespace, verdict.name);
    let file = verdict.source.as_deref().unwrap_or_default();
    if verdict.is_refused() {
        println!(
            "{} {} {} {}",
            styled(BAD, "refused "),
            styled(STRONG, &name),
            reason(verdict),
            styled(FAINT, file)
        );
    } else {
        println!(
            "{} {} {}",
            styled(GOOD, "accepted"),
            styled(STRONG, &name),
            styled(FAINT, file)
        );
    }
    for finding in &verdict.findings {
        println!("    {}: {}", styled(STRONG, &finding.path), finding.message);
    }
    for warning in &verdict.warnings {
        println!(
            "    {} {}: {}",
            styled(WARNING, "warning"),
            styled(STRONG, &warning.path),
            warning.message
        );
    }
}
