//! A child process whose output is kept, and which ends with its owner.

use std::io::{Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::eventually;

/// Of the output, when a test fails.
const SHOWN_BYTES_MAX: usize = 4000;

#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    pub stdout: Output,
    pub stderr: Output,
}

/// What a child has written so far.
#[derive(Debug)]
pub struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl ChildProcess {
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"));
        Self {
            stdin: child.stdin.take(),
            stdout: Output::of(child.stdout.take().expect("it is piped")),
            stderr: Output::of(child.stderr.take().expect("it is piped")),
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives the child all of its input.
    pub fn write_and_close(&mut self, text: &str) {
        let mut stdin = self.stdin.take().expect("the input is given once");
        // A child that refuses its arguments does not read.
        let _read = stdin.write_all(text.as_bytes());
    }

    /// `TERM`, `INT`, …
    pub fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("there is a program named kill").success());
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until it has ended by itself and all of its output is here.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the process ends", || {
            let status = child.try_wait().expect("it is our child");
            async move { status.ok_or("it runs") }
        })
        .await;
        self.stdout.finish();
        self.stderr.finish();
        status
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            self.stderr.finish();
            eprintln!("--- the end of the child's log ---\n{}", self.stderr.end());
        }
    }
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            let mut rest = Vec::new();
            while let Ok(bytes @ 1..) = pipe.read(&mut piece) {
                rest.extend_from_slice(&piece[..bytes]);
                // Whole lines only, so that nobody reads half of one.
                if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
                    let lines: Vec<u8> = rest.drain(..=end).collect();
                    lock(&kept).push_str(&String::from_utf8_lossy(&lines));
                }
            }
            lock(&kept).push_str(&String::from_utf8_lossy(&rest));
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    pub fn text(&self) -> String {
        lock(&self.text).clone()
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not panic");
        }
    }

    fn end(&self) -> String {
        let text = self.text();
        let mut from = text.len().saturating_sub(SHOWN_BYTES_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text[from..].to_owned()
    }
}

fn lock(text: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}
