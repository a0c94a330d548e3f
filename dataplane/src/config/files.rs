//! The files of a manifest directory, read so that a file which is still being written does not
//! count yet.
//!
//! Editors write a new file and rename it, Kubernetes swaps a symbolic link, `cp` and `cat` write
//! in place. A file that changed is read only when it has been at rest for a moment; one that is
//! empty, or whose last line has no end, is waited for longer, since it looks cut off. A file with
//! a document that cannot be read keeps the content that it had.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use vestibule_crds::manifests::{self, ManifestFile};

/// How long a changed file must be at rest.
pub const REST: Duration = Duration::from_millis(50);
/// How long a file that looks cut off is waited for before it is taken as it is.
pub const CUT_OFF_REST: Duration = Duration::from_secs(2);
/// Directories below the one that was named.
const DEPTH_MAX: usize = 8;
const FILES_MAX: usize = 50_000;

/// Enough to see that a file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileTimes {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

#[derive(Debug)]
struct Known {
    stamp: FileTimes,
    /// When these file times were first seen.
    seen: std::time::Instant,
    /// The last content that could be read as manifests.
    accepted: Option<String>,
    /// Whether the content of `stamp` has been read.
    read: bool,
    error: Option<String>,
}

/// A manifest directory, as last seen.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    known: BTreeMap<PathBuf, Known>,
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The accepted contents or the errors are not what they were.
    pub changed: bool,
    /// A file is not at rest yet: check again after this.
    pub look_again: Option<Duration>,
}

impl Files {
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            known: BTreeMap::new(),
        }
    }

    /// Checks the directory; `patient` is false where there is nothing to fall back on, at the
    /// start.
    pub fn look(&mut self, now: std::time::Instant, patient: bool) -> io::Result<Look> {
        let mut found = BTreeMap::new();
        list(&self.directory, 0, &mut found)?;
        let mut look = Look {
            changed: false,
            look_again: None,
        };
        let gone: Vec<PathBuf> = self
            .known
            .keys()
            .filter(|path| !found.contains_key(*path))
            .cloned()
            .collect();
        for path in gone {
            self.known.remove(&path);
            look.changed = true;
        }
        for (path, stamp) in found {
            self.look_at(path, stamp, now, patient, &mut look);
        }
        Ok(look)
    }

    fn look_at(
        &mut self,
        path: PathBuf,
        stamp: FileTimes,
        now: std::time::Instant,
        patient: bool,
        look: &mut Look,
    ) {
        let known = self.known.entry(path.clone()).or_insert_with(|| Known {
            stamp: stamp.clone(),
            seen: now,
            accepted: None,
            read: false,
            error: None,
        });
        if known.stamp != stamp {
            known.stamp = stamp;
            known.seen = now;
            known.read = false;
        }
        if known.read {
            return;
        }
        let at_rest = now.duration_since(known.seen);
        if patient && at_rest < REST {
            look.again_after(REST - at_rest);
            return;
        }
        let error = match fs::read_to_string(&path) {
            Ok(text) => {
                // A writer in place empties the file first, and may do so between the check of its
                // times and the reading.
                let cut_off = !text.ends_with('\n');
                let changed_meanwhile = stamp_of(&path).as_ref() != Some(&known.stamp);
                if patient && (changed_meanwhile || cut_off && at_rest < CUT_OFF_REST) {
                    look.again_after(REST);
                    return;
                }
                let errors = manifests::read(&[ManifestFile {
                    path: path.display().to_string(),
                    text: text.clone(),
                }])
                .1;
                // With nothing to fall back on, the documents that can be read count.
                if errors.is_empty() || known.accepted.is_none() {
                    look.changed |= known.accepted.as_ref() != Some(&text);
                    known.accepted = Some(text);
                }
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                (!errors.is_empty()).then(|| errors.join("; "))
            }
            Err(error) => Some(format!("{}: {error}", path.display())),
        };
        look.changed |= known.error != error;
        known.error = error;
        known.read = true;
    }

    /// Everything accepted, in the order of paths.
    pub fn accepted(&self) -> Vec<ManifestFile> {
        let accepted = |(path, known): (&PathBuf, &Known)| {
            Some(ManifestFile {
                path: path.display().to_string(),
                text: known.accepted.clone()?,
            })
        };
        self.known.iter().filter_map(accepted).collect()
    }

    /// Why files are not read, or not read again.
    pub fn errors(&self) -> Vec<String> {
        self.known
            .values()
            .filter_map(|known| known.error.clone())
            .collect()
    }
}

/// Every manifest below `directory` as it is now, and what cannot be read.
pub fn read_all(directory: &Path) -> io::Result<(Vec<ManifestFile>, Vec<String>)> {
    let mut found = BTreeMap::new();
    list(directory, 0, &mut found)?;
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in found.into_keys() {
        match fs::read_to_string(&path) {
            Ok(text) => files.push(ManifestFile {
                path: path.display().to_string(),
                text,
            }),
            Err(error) => unreadable.push(format!("{}: {error}", path.display())),
        }
    }
    Ok((files, unreadable))
}

impl Look {
    fn again_after(&mut self, pause: Duration) {
        let pauses = self.look_again.into_iter().chain([pause]);
        self.look_again = pauses.min();
    }
}

/// Manifests below `directory`. Hidden entries are left out: Kubernetes keeps the data behind its
/// links in them, and editors their own files.
fn list(
    directory: &Path,
    depth: usize,
    found: &mut BTreeMap<PathBuf, FileTimes>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Follows links; what a link no longer leads to is not there.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_dir() && depth < DEPTH_MAX {
            list(&path, depth + 1, found)?;
        } else if metadata.is_file() && is_manifest(&path) {
            if found.len() >= FILES_MAX {
                return Err(io::Error::other(format!(
                    "more than {FILES_MAX} manifest files"
                )));
            }
            found.insert(path, stamp(&metadata));
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn stamp_of(path: &Path) -> Option<FileTimes> {
    Some(stamp(&fs::metadata(path).ok()?))
}

fn stamp(metadata: &fs::Metadata) -> FileTimes {
    use std::os::unix::fs::MetadataExt as _;
    FileTimes {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
        inode: metadata.ino(),
    }
}
