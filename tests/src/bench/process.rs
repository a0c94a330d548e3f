//! Child processes under measurement: their CPU time and memory, as Linux counts them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

/// A child that is ended with its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program whose standard output is of no interest.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{command:?} could not be started"))?;
        Ok(Self { child })
    }

    /// Starts a program and reads the first line that it prints.
    pub fn start_with_line(command: &mut Command) -> anyhow::Result<(Self, String)> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("{command:?} could not be started"))?;
        let stdout: Option<ChildStdout> = child.stdout.take();
        let process = Self { child };
        let mut line = String::new();
        BufReader::new(stdout.context("its output is piped")?).read_line(&mut line)?;
        Ok((process, line.trim().to_owned()))
    }

    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// User and system time so far, in seconds, of all its threads.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(self.child.id())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.context("proc(5) has changed")?.trim().parse()?;
        Ok(kibibytes * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Nanoseconds on a processor, summed over the threads that live (proc(5), schedstat): finer than the clock tick. A thread
/// that ended takes its time with it, so the threads of what is measured must live as long as the measurement.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .context("CPU time is read from /proc, which Linux has")?;
    let mut nanoseconds = 0_u64;
    for task in tasks {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let Some(on_cpu) = text.split_whitespace().next() else {
            bail!("proc(5) has changed");
        };
        nanoseconds += on_cpu.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Of a process, of those that it has started, and of what they took who have ended since.
pub fn cpu_seconds_with_children(pid: u32) -> anyhow::Result<f64> {
    let mut seconds = cpu_seconds(pid)? + of_ended_children(pid)?;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile counts among the ended the next time.
        if stat_field(child, PARENT).is_ok_and(|parent| parent == u64::from(pid)) {
            seconds += cpu_seconds(child).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

/// Fields of proc(5), stat, counted from the one behind the name.
const PARENT: usize = 1;
const ENDED_CHILDREN_USER: usize = 13;
const ENDED_CHILDREN_SYSTEM: usize = 14;
/// Linux says so to everybody, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

fn of_ended_children(pid: u32) -> anyhow::Result<f64> {
    let ticks = stat_field(pid, ENDED_CHILDREN_USER)? + stat_field(pid, ENDED_CHILDREN_SYSTEM)?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

fn stat_field(pid: u32, index: usize) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("proc(5) has changed")?;
    let field = fields
        .split(' ')
        .nth(index)
        .context("proc(5) has changed")?;
    Ok(field.trim().parse()?)
}

/// This process's own CPU time in seconds.
pub fn own_cpu_seconds() -> anyhow::Result<f64> {
    cpu_seconds(std::process::id())
}

/// The program beside this one.
pub fn sibling(name: &str) -> anyhow::Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().unwrap_or(Path::new(".")).join(name);
    if !path.is_file() {
        bail!(
            "{} is missing: `cargo build --release --workspace` makes it",
            path.display()
        );
    }
    Ok(path)
}
