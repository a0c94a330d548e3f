//! What was answered survives the death of the process.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use uuid::Uuid;

use super::*;
use crate::store::conformance::rows::*;
use crate::store::{Profile, SigninOutcome};

const PATH: &str = "VESTIBULE_TEST_KILLED_DATABASE";
/// How many sign-ins the other process may have been told of before it dies.
const TOLD: usize = 500;

#[tokio::test]
async fn acknowledged_sign_ins_survive_a_kill() {
    let mut fixture = Sqlite::empty();
    fixture.close();
    let mut process = Command::new(std::env::current_exe().expect("the test's own program"))
        .args([
            "--exact",
            "store::sqlite::tests::kills::signs_in_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(PATH, fixture.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let told = process.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(told)
        .lines()
        .map(|line| line.expect("lines of text"));
    let told: Vec<Uuid> = lines
        .by_ref()
        .filter_map(|line| line.strip_prefix("committed ")?.parse().ok())
        .take(TOLD)
        .collect();
    process.kill().expect("it can be killed");
    process.wait().expect("it ends");
    // Until here it can go on telling, so that it dies by nothing but the kill.
    drop(lines);
    assert_eq!(told.len(), TOLD);

    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{suffix}", fixture.path().display());
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    fixture.open();
    let store = fixture.sqlite();
    for session in told {
        assert!(
            read(&*store, session).await.is_some(),
            "{session} was answered and is lost"
        );
    }
    assert_eq!(store.probe().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a process that is killed"]
async fn signs_in_until_killed() {
    let path = std::env::var(PATH).expect("the path is given");
    let store = SqliteStore::open(Path::new(&path), SqliteOptions::default()).expect("it opens");
    let store: Arc<dyn Store> = Arc::new(store);
    let user = created(&*store, "ann", Profile::default()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(sign_in_forever(Arc::clone(&store), user)))
        .collect();
    for task in tasks {
        task.await.expect("it is killed before it ends");
    }
}

async fn sign_in_forever(store: Arc<dyn Store>, user: Uuid) {
    loop {
        let signin = existing(user);
        let session = signin.session.id;
        assert_eq!(
            store.commit_signin(signin).await,
            Ok(SigninOutcome::Committed)
        );
        writeln!(std::io::stdout(), "committed {session}").expect("somebody reads");
    }
}
