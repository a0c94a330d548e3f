//! What the store has answered survives the death of its process. A program of its own: it starts another process, which
//! for an instant holds every lock that this one holds.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use uuid::Uuid;
use vestibule_store::sqlite::{SqliteOptions, SqliteStore};
use vestibule_store::{
    Account, Event, EventClass, EventKind, IdentityKey, NewSession, Probe, Profile, ReadSession,
    Signin, SigninOutcome, User, UserStatus,
};

const PATH: &str = "VESTIBULE_TEST_KILLED_DATABASE";
/// So many sign-ins have been answered when the process is killed in the middle of the next ones.
const ANSWERED: usize = 500;
const NOW: i64 = 1_800_000_000;

#[tokio::test]
async fn answered_sign_ins_survive_a_kill() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().join("vestibule.db");
    let mut process = Command::new(std::env::current_exe().expect("the test's own program"))
        .args([
            "--exact",
            "signs_in_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(PATH, &path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let told = process.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(told)
        .lines()
        .map(|line| line.expect("lines of text"));
    let answered: Vec<Uuid> = lines
        .by_ref()
        .filter_map(|line| line.strip_prefix("answered ")?.parse().ok())
        .take(ANSWERED)
        .collect();
    process.kill().expect("it can be killed");
    process.wait().expect("it ends");
    // Until here it can go on telling, so that it dies by nothing but the kill.
    drop(lines);
    assert_eq!(answered.len(), ANSWERED);

    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{suffix}", path.display());
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    let store = SqliteStore::open(&path, SqliteOptions::default()).expect("it opens after a kill");
    for session in answered {
        let found = store
            .run(ReadSession(session))
            .await
            .expect("it can be read");
        assert!(found.is_some(), "{session} was answered and is lost");
    }
    assert_eq!(store.run(Probe).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a process that is killed"]
async fn signs_in_until_killed() {
    // Nobody is there to kill it when it is run by hand.
    let Ok(path) = std::env::var(PATH) else {
        return;
    };
    let store = SqliteStore::open(Path::new(&path), SqliteOptions::default()).expect("it opens");
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..8)
        .map(|task| tokio::spawn(sign_in_forever(Arc::clone(&store), task)))
        .collect();
    for task in tasks {
        task.await.expect("it is killed before it ends");
    }
}

/// Each sign-in makes a user, so that every table is written to.
async fn sign_in_forever(store: Arc<SqliteStore>, task: u64) {
    for number in 0.. {
        let id = Uuid::from_u64_pair(number, task);
        assert_eq!(store.run(signin(id)).await, Ok(SigninOutcome::Committed));
        writeln!(std::io::stdout(), "answered {id}").expect("somebody reads");
    }
}

fn signin(id: Uuid) -> Signin {
    let policy = "shop/default".to_owned();
    let provider = "shop/example".to_owned();
    Signin {
        account: Account::Create {
            user: User {
                id,
                policy: policy.clone(),
                profile: Profile::default(),
                status: UserStatus::Active,
                created_at: NOW,
                sessions_valid_from: 0,
                password: None,
            },
            identity: IdentityKey {
                policy: policy.clone(),
                issuer: "https://id.example".to_owned(),
                subject: id.to_string(),
            },
        },
        session: NewSession {
            id,
            provider: provider.clone(),
            refresh_digest: [7; 32],
            refresh_expires_at: NOW + 3600,
            ends_at: NOW + 7200,
            carried: "{}".to_owned(),
            device: None,
            origin: Default::default(),
        },
        login: None,
        replay: None,
        history: None,
        completion: None,
        event: Event {
            at: NOW,
            kind: EventKind::Signin,
            outcome: "ok",
            class: EventClass::Accepted,
            policy,
            provider,
            user_id: Some(id),
            session_id: Some(id),
            request_id: "r-1".to_owned(),
            network: "192.0.2.0/24".to_owned(),
            detail: String::new(),
            count: 1,
        },
        now: NOW,
    }
}
