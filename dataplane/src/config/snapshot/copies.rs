//! Copies of the published snapshot in files: the one that the kubelet mounts, and the one that
//! this pod leaves for itself.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use vestibule_crds::publication::{HEAD_KEY, Head, PART_BYTES_MAX, PARTS_MAX, part_key};

use super::{LoadError, Read, read_file};

const LAST_GOOD: &str = "last-good";
/// A copy that this process wrote is no larger.
const LAST_GOOD_BYTES_MAX: u64 = ((PARTS_MAX + 1) * PART_BYTES_MAX) as u64;

/// The Secrets as files of one directory: `head.json`, `part-0`, `part-1`, …
#[derive(Debug)]
pub(super) struct Mounted {
    directory: PathBuf,
}

/// One file, replaced as a whole: the head in the first line, then the parts.
#[derive(Debug)]
pub(super) struct LastGood {
    directory: PathBuf,
}

impl Mounted {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// `None` while nothing has been published.
    pub(super) fn read(&self) -> Result<Option<Read>, LoadError> {
        let Some(head) = read_file(&self.directory.join(HEAD_KEY))? else {
            return Ok(None);
        };
        let head = Head::parse(&head)?;
        let parts = (0..head.parts()).map_while(|part| {
            let file = read_file(&self.directory.join(part_key(part)));
            file.transpose()
        });
        let parts = parts.collect::<Result<_, _>>()?;
        Ok(Some(Read { head, parts }))
    }
}

impl LastGood {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What does not read back counts as missing: the mounted copy and the cluster are still there.
    pub(super) fn read(&self) -> Option<Read> {
        let path = self.directory.join(LAST_GOOD);
        if std::fs::metadata(&path).ok()?.len() > LAST_GOOD_BYTES_MAX {
            return None;
        }
        let bytes = std::fs::read(&path).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head = Head::parse(&bytes[..end]).ok()?;
        let parts = bytes[end + 1..].chunks(PART_BYTES_MAX);
        let parts = parts.map(<[u8]>::to_vec).collect();
        Some(Read { head, parts })
    }

    pub(super) fn write(&self, read: &Read) -> std::io::Result<()> {
        let new = self.directory.join("last-good.new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&read.head.to_bytes())?;
        file.write_all(b"\n")?;
        for part in &read.parts {
            file.write_all(part)?;
        }
        drop(file);
        std::fs::rename(&new, self.path())
    }

    fn path(&self) -> PathBuf {
        Path::join(&self.directory, LAST_GOOD)
    }
}
