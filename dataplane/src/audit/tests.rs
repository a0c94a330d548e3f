use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use vestibule_store::EventKind;

const WAIT: Duration = Duration::from_secs(10);

fn event(outcome: &'static str) -> Event {
    Event {
        at: 1_900_000_000,
        kind: EventKind::Signin,
        outcome,
        class: vestibule_store::EventClass::Accepted,
        policy: "auth/default".to_owned(),
        provider: String::new(),
        user_id: Some(Uuid::from_u64_pair(1, 2)),
        session_id: None,
        request_id: "r-1".to_owned(),
        network: "192.0.2.0/24".to_owned(),
        detail: "two\nlines".to_owned(),
        count: 1,
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

fn stream(path: &Path) -> (AuditStream, Counter) {
    let dropped = Counter::default();
    let target = AuditTarget::File(path.to_owned());
    let stream = AuditStream::start(&target, dropped.clone()).expect("it can be written");
    (stream, dropped)
}

#[test]
fn an_event_is_one_line_and_leaves_out_what_it_does_not_know() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let (stream, dropped) = stream(&path);
    stream.write(&event("ok"));
    stream.flush(WAIT);
    let expected = json!({
        "time": "2030-03-17T17:46:40Z",
        "event": "signin",
        "outcome": "ok",
        "policy": "auth/default",
        "user_id": "00000000-0000-0001-0000-000000000002",
        "request_id": "r-1",
        "network": "192.0.2.0/24",
        "detail": "two\nlines",
    });
    assert_eq!(lines(&path), [expected]);
    assert_eq!(dropped.get(), 0);
    let mode = std::fs::metadata(&path).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_was_renamed_is_left_and_a_new_one_begun() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let (stream, _) = stream(&path);
    stream.write(&event("ok"));
    stream.flush(WAIT);
    let rotated = folder.path().join("audit.jsonl.1");
    std::fs::rename(&path, &rotated).expect("it can be renamed");
    stream.write(&event("token_expired"));
    stream.flush(WAIT);
    assert_eq!(lines(&rotated).len(), 1);
    assert_eq!(lines(&path)[0]["outcome"], "token_expired");
}

#[test]
fn what_was_there_before_stays() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    for _ in 0..2 {
        let (stream, _) = stream(&path);
        stream.write(&event("ok"));
        stream.flush(WAIT);
    }
    assert_eq!(lines(&path).len(), 2);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let dropped = Counter::default();
    let full = AuditTarget::File("/dev/full".into());
    let stream = AuditStream::start(&full, dropped.clone()).expect("it can be opened");
    stream.write(&event("ok"));
    stream.flush(WAIT);
    assert_eq!(dropped.get(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let nowhere = AuditTarget::File("/nowhere/audit.jsonl".into());
    let refused = AuditStream::start(&nowhere, Counter::default());
    assert_eq!(
        refused.expect_err("there is no such folder").kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn a_target_is_standard_output_or_a_file() {
    assert_eq!("stdout".parse(), Ok(AuditTarget::Stdout));
    assert_eq!("-".parse(), Ok(AuditTarget::Stdout));
    assert_eq!(
        "/var/log/a".parse(),
        Ok(AuditTarget::File("/var/log/a".into()))
    );
    assert!("".parse::<AuditTarget>().is_err());
}
