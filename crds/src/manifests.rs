//! Manifests as one would `kubectl apply` them: YAML or JSON, several documents a file, Secrets and
//! ConfigMaps among them.
//!
//! This is the one module that knows `serde_yaml`. What it reads is bounded before anything is
//! kept: the file, its documents, and what aliases and merge keys expand to. Values of Secrets are
//! in no error and no `Debug`.

mod document;
mod note;
mod secret;
mod value;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::object::{NamespacedName, Object};
use crate::secret::Secret;

pub use value::{EXPANDED_BYTES_MAX, VALUES_MAX};
pub use write::{WriteError, to_yaml};

/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most documents, and items of lists, in one file.
pub const DOCUMENTS_MAX: usize = 20_000;

/// One file of a folder of manifests.
#[derive(Clone)]
pub struct ManifestFile {
    /// For messages and [`Object::source`].
    pub path: String,
    pub text: String,
}

/// A file's text may hold Secrets.
impl fmt::Debug for ManifestFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManifestFile")
            .field("path", &self.path)
            .field("bytes", &self.text.len())
            .finish()
    }
}

/// What stands in the files.
#[derive(Debug, Clone, Default)]
pub struct ManifestObjects {
    pub objects: Vec<Object>,
    pub secrets: BTreeMap<NamespacedName, BTreeMap<String, Secret>>,
    /// The value of [`crate::compile::USE_LABEL`] of each Secret that has it.
    pub secret_uses: BTreeMap<NamespacedName, String>,
    pub config_maps: BTreeMap<NamespacedName, BTreeMap<String, String>>,
    pub ignored: Vec<Ignored>,
    /// What is read here, and would not be by kubectl.
    pub notes: Vec<FileError>,
}

/// An object of a kind that is none of ours: kubectl would apply it, nothing here reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    pub path: String,
    /// Counted from 1.
    pub document: usize,
    pub kind: String,
    pub name: String,
}

/// A document, or the rest of a file, that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{path}{}: {message}", Place { document: *document, line: *line })]
pub struct FileError {
    pub path: String,
    /// Counted from 1.
    pub document: Option<usize>,
    /// Counted from 1, in the file.
    pub line: Option<usize>,
    pub message: String,
}

struct Place {
    document: Option<usize>,
    line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(document) = self.document {
            write!(f, " (document {document})")?;
        }
        Ok(())
    }
}

/// Reads files in the order given. A bad document takes no other with it; after a syntax error the
/// rest of that file is unknown.
pub fn read(files: &[ManifestFile]) -> (ManifestObjects, Vec<FileError>) {
    let mut reader = document::Reader::default();
    for file in files {
        reader.read_file(file);
    }
    reader.finish()
}

#[cfg(test)]
mod tests;
