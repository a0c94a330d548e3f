//! The audit trail as a stream, for log collectors: each event a line of JSON, on standard output
//! or in a file.
//!
//! It has the same rows as the store, so refusals that are counted there are one line with a
//! `count` here. No sign-in waits for it. What a slow reader or a full disk has no room for is
//! counted and dropped here; the store has every event all the same.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use uuid::Uuid;

use vestibule_store::{AuditSink, Event};

pub mod condense;
pub mod context;

/// Lines that wait to be written.
const WAITING_MAX: usize = 8192;

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    Stdout,
    File(PathBuf),
}

impl FromStr for AuditTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("say stdout, or a file".to_owned()),
            "stdout" | "-" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// One line. A member that says nothing is left out.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<Uuid>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    network: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    /// How many equal refusals the line stands for.
    #[serde(skip_serializing_if = "is_one")]
    count: i64,
}

fn is_one(count: &i64) -> bool {
    *count == 1
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            time: Timestamp::from_second(event.at)
                .unwrap_or_default()
                .to_string(),
            event: event.kind.as_str(),
            outcome: event.outcome,
            policy: &event.policy,
            provider: &event.provider,
            user_id: event.user_id,
            session_id: event.session_id,
            request_id: &event.request_id,
            network: &event.network,
            detail: &event.detail,
            count: event.count,
        }
    }
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered once all before it are written.
    Flush(SyncSender<()>),
}

/// The way in. The last one to go lets the thread end, once it has written what waits.
#[derive(Debug, Clone)]
pub struct AuditStream {
    messages: SyncSender<Message>,
    dropped: Counter,
}

impl AuditStream {
    /// Opens the file, if it is one, so that a mistake in its name shows at the start. `dropped`
    /// counts the lines that could not be written.
    pub fn start(target: &AuditTarget, dropped: Counter) -> io::Result<Self> {
        let mut out = Out::open(target)?;
        let (messages, waiting) = sync_channel(WAITING_MAX);
        let lost = dropped.clone();
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(&mut out, &waiting, &lost))?;
        Ok(Self { messages, dropped })
    }

    /// Waits until what was audited before is written, or for so long.
    pub fn flush(&self, wait: Duration) {
        let (done, written) = sync_channel(1);
        if self.messages.try_send(Message::Flush(done)).is_ok() {
            // A reader that takes nothing does not keep the process from stopping.
            let _late = written.recv_timeout(wait);
        }
    }
}

impl AuditSink for AuditStream {
    fn write(&self, event: &Event) {
        let mut line = serde_json::to_vec(&Line::from(event)).unwrap_or_default();
        line.push(b'\n');
        if self.messages.try_send(Message::Line(line)).is_err() {
            self.dropped.inc();
        }
    }
}

fn write(out: &mut Out, waiting: &Receiver<Message>, dropped: &Counter) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let (mut lines, mut flushed) = (Vec::new(), Vec::new());
        for message in std::iter::once(first).chain(waiting.try_iter()) {
            match message {
                Message::Line(line) => lines.push(line),
                Message::Flush(done) => flushed.push(done),
            }
        }
        match out.write(&lines) {
            Ok(()) => failing = false,
            Err(error) => {
                dropped.inc_by(u64::try_from(lines.len()).unwrap_or(u64::MAX));
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the audit stream cannot be written");
                }
            }
        }
        for done in flushed {
            // The caller may have stopped waiting.
            let _ = done.send(());
        }
    }
}

#[derive(Debug)]
enum Out {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Out {
    fn open(target: &AuditTarget) -> io::Result<Self> {
        Ok(match target {
            AuditTarget::Stdout => Self::Stdout,
            AuditTarget::File(path) => Self::File {
                path: path.clone(),
                file: append(path)?,
            },
        })
    }

    fn write(&mut self, batch: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Self::Stdout => write_all(io::stdout().lock(), batch),
            Self::File { path, file } => {
                // Log rotation renames the file, and expects a new one in its place.
                if !is_still(path, file) {
                    *file = append(path)?;
                }
                write_all(file, batch)
            }
        }
    }
}

fn write_all(out: impl Write, batch: &[Vec<u8>]) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    for line in batch {
        out.write_all(line)?;
    }
    out.flush()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(open)) = (std::fs::metadata(path), file.metadata()) else {
        return false;
    };
    (named.dev(), named.ino()) == (open.dev(), open.ino())
}

#[cfg(test)]
mod tests;
