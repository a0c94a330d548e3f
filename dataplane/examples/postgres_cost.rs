//! What the PostgreSQL store costs, compared with one bare insert:
//! `cargo run --release --example postgres_cost -- URL [USERS] [SIGNINS]`.
//!
//! Signs known users in from 16 tasks at once, then refreshes their sessions, then inserts one row
//! each over 16 bare connections, in the same run on the same server. CPU time is this process's
//! and that of the server's processes, which must run on this machine, as Linux counts it (in
//! hundredths of a second: give it enough sign-ins).

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use tokio_postgres::NoTls;
use uuid::Uuid;
use vestibule_store::postgres::{PostgresOptions, PostgresStore, PostgresUrl};
use vestibule_store::sessions::Origin;
use vestibule_store::{
    Account, Event, EventClass, EventKind, Gather, IdentityKey, NewSession, Profile, ReadSession,
    Rotation, RotationOutcome, Signin, SigninOutcome, User, UserStatus,
};

const NOW: i64 = 1_800_000_000;
const TASKS: usize = 16;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("say which database: its URL")?;
    let users = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let signins: usize = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let parsed = PostgresUrl::parse(&url, None)?;
    let store = Arc::new(PostgresStore::open(parsed, PostgresOptions::default()).await?);
    let server = Server::of(&url).await?;
    let run = Uuid::now_v7();
    for number in 0..users {
        let outcome = store.run(new_user(run, number)).await?;
        ensure!(
            outcome == SigninOutcome::Committed,
            "a user could not be made"
        );
    }

    // Connections and statements are made before anything is measured.
    let sessions = sign_in(&store, run, users, signins / 10).await?;
    measure("sign-in: gather and commit", signins, &server, async {
        sign_in(&store, run, users, signins).await.map(drop)
    })
    .await?;
    let refreshes = sessions.len();
    measure(
        "refresh: read and rotate",
        refreshes,
        &server,
        refresh(&store, sessions),
    )
    .await?;
    let clients = clients(&url).await?;
    insert(&clients, signins / 10).await?;
    measure(
        "bare insert of one session",
        signins,
        &server,
        insert(&clients, signins),
    )
    .await?;
    Ok(())
}

async fn sign_in(
    store: &Arc<PostgresStore>,
    run: Uuid,
    users: usize,
    signins: usize,
) -> anyhow::Result<Vec<Uuid>> {
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, next) = (Arc::clone(store), Arc::clone(&next));
            tokio::spawn(async move {
                let mut sessions = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= signins {
                        return Ok(sessions);
                    }
                    let question = Gather {
                        identity: identity(run, number % users),
                        linkable_email: None,
                        history: false,
                    };
                    let user = store.run(question).await?.user.context("it is known")?;
                    let signin = signin(Account::Existing {
                        user_id: user.id,
                        profile: None,
                    });
                    sessions.push(signin.session.id);
                    let outcome = store.run(signin).await?;
                    ensure!(outcome == SigninOutcome::Committed, "{outcome:?}");
                }
            })
        })
        .collect();
    let mut sessions = Vec::with_capacity(signins);
    for task in tasks {
        sessions.extend(task.await??);
    }
    Ok(sessions)
}

async fn refresh(store: &Arc<PostgresStore>, sessions: Vec<Uuid>) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let sessions = Arc::new(sessions);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, next) = (Arc::clone(store), Arc::clone(&next));
            let sessions = Arc::clone(&sessions);
            tokio::spawn(async move {
                while let Some(id) = sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (session, _) = store.run(ReadSession(*id)).await?.context("it is there")?;
                    let rotation = Rotation {
                        session: *id,
                        expected_digest: session.refresh_digest,
                        new_digest: [8; 32],
                        refresh_expires_at: NOW + 86_400,
                        rotated: Vec::new(),
                        now: NOW,
                        event: event(EventKind::Refresh),
                    };
                    let outcome = store.run(rotation).await?;
                    ensure!(outcome == RotationOutcome::Rotated, "{outcome:?}");
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn clients(url: &str) -> anyhow::Result<Vec<Arc<tokio_postgres::Client>>> {
    let mut clients = Vec::with_capacity(TASKS);
    for _ in 0..TASKS {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        clients.push(Arc::new(client));
    }
    Ok(clients)
}

async fn insert(clients: &[Arc<tokio_postgres::Client>], rows: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| {
            let (client, next) = (Arc::clone(client), Arc::clone(&next));
            tokio::spawn(async move {
                let statement = client
                    .prepare(
                        "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, \
                         carried) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    )
                    .await?;
                while next.fetch_add(1, Ordering::Relaxed) < rows {
                    let id = Uuid::now_v7();
                    let digest = [7_u8; 32].as_slice();
                    client
                        .execute(
                            &statement,
                            &[&id, &id, &"bench/provider", &NOW, &digest, &NOW, &NOW, &"{\"amr\":[\"pwd\"]}"],
                        )
                        .await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn measure(
    what: &str,
    count: usize,
    server: &Server,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (began, own, others) = (Instant::now(), ticks("self")?, server.ticks());
    work.await?;
    let per = |hundredths: u64| hundredths as f64 * 10_000.0 / count as f64;
    println!(
        "{what:30} {:7.1} µs here + {:7.1} µs of the server, {:6.0} a second",
        per(ticks("self")? - own),
        per(server.ticks() - others),
        count as f64 / began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Its processes, as Linux names them.
struct Server {
    postmaster: String,
}

impl Server {
    async fn of(url: &str) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let backend: i32 = client
            .query_one("SELECT pg_backend_pid()", &[])
            .await?
            .get(0);
        let postmaster =
            field(&backend.to_string(), 1).context("the server runs on this machine")?;
        Ok(Self { postmaster })
    }

    /// Of all that live: nothing ends while something is measured.
    fn ticks(&self) -> u64 {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|id| field(id, 1).as_deref() == Some(&self.postmaster))
            .filter_map(|id| ticks(&id).ok())
            .sum()
    }
}

/// User and system time in hundredths of a second.
fn ticks(process: &str) -> anyhow::Result<u64> {
    let part = |index| {
        field(process, index)
            .context("it has ended")?
            .parse::<u64>()
            .context("a number")
    };
    Ok(part(11)? + part(12)?)
}

/// A field of `/proc/…/stat`, counted after the name in brackets.
fn field(process: &str, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(index).map(str::to_owned)
}

fn identity(run: Uuid, number: usize) -> IdentityKey {
    IdentityKey {
        policy: "bench/default".to_owned(),
        issuer: "https://id.example".to_owned(),
        subject: format!("{run}-{number}"),
    }
}

fn new_user(run: Uuid, number: usize) -> Signin {
    let identity = identity(run, number);
    let user = User {
        id: Uuid::now_v7(),
        policy: identity.policy.clone(),
        profile: Profile {
            username: Some(format!("user-{number}")),
            email: Some(format!("user-{number}@bench.example")),
            email_verified: true,
            email_linkable: false,
            phone: None,
            phone_unverified: false,
        },
        status: UserStatus::Active,
        created_at: NOW,
        sessions_valid_from: 0,
        password: None,
    };
    signin(Account::Create { user, identity })
}

fn signin(account: Account) -> Signin {
    Signin {
        login: None,
        account,
        session: NewSession {
            id: Uuid::now_v7(),
            provider: "bench/provider".to_owned(),
            refresh_digest: [7; 32],
            refresh_expires_at: NOW + 86_400,
            ends_at: NOW + 864_000,
            carried: r#"{"amr":["pwd"]}"#.to_owned(),
            device: Some("Firefox, Linux".to_owned()),
            origin: Origin::of("https://id.example", "00u1", None),
        },
        replay: None,
        history: None,
        completion: None,
        event: event(EventKind::Signin),
        now: NOW,
    }
}

fn event(kind: EventKind) -> Event {
    Event {
        at: NOW,
        kind,
        outcome: "ok",
        class: EventClass::Accepted,
        policy: "bench/default".to_owned(),
        provider: "bench/provider".to_owned(),
        user_id: None,
        session_id: None,
        request_id: "r-1".to_owned(),
        network: "192.0.2.0/24".to_owned(),
        detail: String::new(),
        count: 1,
    }
}
