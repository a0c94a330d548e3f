//! What the SQLite store costs beyond its own statements:
//! `cargo run --release --example store_cost -- [USERS] [SIGNINS] [TASKS]`.
//!
//! Each line signs known users in from so many tasks at once, and then runs the same statements
//! bare, from one thread and in batches of the size that the store came to, in the same run on the
//! same disk. CPU time is the whole process's, user and system, as Linux counts it (in hundredths
//! of a second: give it enough sign-ins).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use tempfile::TempDir;
use uuid::Uuid;
use vestibule_store::sessions::Origin;
use vestibule_store::sqlite::{SqliteOptions, SqliteStore};
use vestibule_store::{
    Account, Event, EventClass, EventKind, Gather, IdentityKey, NewSession, Profile, Signin,
    SigninOutcome, User, UserStatus,
};

const NOW: i64 = 1_800_000_000;
const TASKS: [usize; 4] = [1, 16, 64, 256];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let users: u64 = arguments
        .next()
        .map_or(Ok(10_000), |users| users.parse())
        .context("USERS is a number")?;
    let signins: usize = arguments
        .next()
        .map_or(Ok(40_000), |signins| signins.parse())
        .context("SIGNINS is a number")?;
    let tasks: Vec<usize> = match arguments.next() {
        Some(tasks) => vec![tasks.parse().context("TASKS is a number")?],
        None => TASKS.to_vec(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;

    let directory = TempDir::new_in(".")?;
    let path = directory.path().join("store.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    runtime.block_on(populate(&store, users))?;
    drop(store);

    println!("{users} users, {signins} sign-ins a line; CPU in µs a sign-in");
    println!("tasks  signins/s  batch  read  read+commit  commit  bare  ratio");
    for tasks in tasks {
        let signins = if tasks == 1 { signins / 10 } else { signins };
        let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default())?);
        let read = runtime.block_on(run(&store, users, signins, tasks, Part::Read))?;
        let both = runtime.block_on(run(&store, users, signins, tasks, Part::Both))?;
        let before = store.stats();
        let commit = runtime.block_on(run(&store, users, signins, tasks, Part::Commit))?;
        let after = store.stats();
        drop(store);
        let batch =
            (after.jobs - before.jobs) as f64 / (after.transactions - before.transactions) as f64;
        let bare = bare(&path, users, signins, batch.round() as usize)?;
        println!(
            "{tasks:5}  {:9.0}  {batch:5.1}  {:4.1}  {:11.1}  {:6.1}  {:4.1}  {:5.2}",
            commit.per_second,
            read.cpu_us,
            both.cpu_us,
            commit.cpu_us,
            bare.cpu_us,
            commit.cpu_us / bare.cpu_us
        );
    }
    Ok(())
}

struct Cost {
    cpu_us: f64,
    per_second: f64,
}

fn measured(signins: usize, began: Instant, cpu_before: f64) -> anyhow::Result<Cost> {
    let cpu = cpu_seconds()? - cpu_before;
    let per_second = signins as f64 / began.elapsed().as_secs_f64();
    Ok(Cost {
        cpu_us: cpu * 1e6 / signins as f64,
        per_second,
    })
}

#[derive(Clone, Copy)]
enum Part {
    Read,
    Commit,
    Both,
}

async fn run(
    store: &Arc<SqliteStore>,
    users: u64,
    signins: usize,
    tasks: usize,
    part: Part,
) -> anyhow::Result<Cost> {
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in (task..signins).step_by(tasks) {
                    let user = scattered(n as u64, users);
                    if matches!(part, Part::Read | Part::Both) {
                        let question = Gather {
                            identity: identity(user),
                            linkable_email: None,
                            history: false,
                        };
                        ensure!(
                            store.run(question).await?.user.is_some(),
                            "user {user} is unknown"
                        );
                    }
                    if matches!(part, Part::Commit | Part::Both) {
                        let account = Account::Existing {
                            user_id: user_id(user),
                            profile: None,
                        };
                        let outcome = store.run(signin(account)).await?;
                        ensure!(
                            outcome == SigninOutcome::Committed,
                            "user {user}: {outcome:?}"
                        );
                    }
                    tokio::task::consume_budget().await;
                }
                Ok(())
            })
        })
        .collect();
    for task in running {
        task.await??;
    }
    measured(signins, began, cpu)
}

/// The statements of a sign-in, prepared once and run by this program alone.
fn bare(path: &Path, users: u64, signins: usize, batch: usize) -> anyhow::Result<Cost> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let mut standing = db.prepare("SELECT status, sessions_valid_from FROM users WHERE id = ?1")?;
    let mut session = db.prepare(
        "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried, device, \
         network, subject_digest, sid_digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let mut event = db.prepare(
        "INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let (mut begin, mut commit) = (db.prepare("BEGIN IMMEDIATE")?, db.prepare("COMMIT")?);
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    for first in (0..signins).step_by(batch) {
        begin.execute([])?;
        for n in first..signins.min(first + batch) {
            let user = user_id(scattered(n as u64, users));
            let Signin {
                session: s,
                event: e,
                ..
            } = signin(Account::Existing {
                user_id: user,
                profile: None,
            });
            let status: String = standing.query_row([user.as_bytes()], |row| row.get(0))?;
            ensure!(status == "active", "the user is not active");
            let (id, user) = (s.id.as_bytes(), user.as_bytes());
            let expires_at = s.refresh_expires_at;
            session.execute(params![
                id,
                user,
                s.provider,
                NOW,
                s.refresh_digest,
                expires_at,
                s.ends_at,
                s.carried,
                s.device,
                e.network,
                s.origin.subject,
                s.origin.sid
            ])?;
            let none = "";
            event.execute(params![
                e.at,
                "signin",
                e.outcome,
                e.policy,
                e.provider,
                user,
                id,
                e.request_id,
                e.network,
                none
            ])?;
        }
        commit.execute([])?;
    }
    measured(signins, began, cpu)
}

async fn populate(store: &SqliteStore, users: u64) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    for number in 0..users {
        let user = User {
            id: user_id(number),
            policy: "shop/default".to_owned(),
            profile: Profile {
                username: Some(format!("user-{number}")),
                email: Some(format!("user-{number}@shop.example")),
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
        let account = Account::Create {
            user,
            identity: identity(number),
        };
        waiting.push(store.run(signin(account)));
        if waiting.len() == 256 || number + 1 == users {
            for commit in waiting.drain(..) {
                ensure!(
                    commit.await? == SigninOutcome::Committed,
                    "a user was not created"
                );
            }
        }
    }
    Ok(())
}

fn signin(account: Account) -> Signin {
    let id = next_session_id();
    let user = match &account {
        Account::Existing { user_id, .. } | Account::Link { user_id, .. } => *user_id,
        Account::Create { user, .. } => user.id,
    };
    let mut refresh_digest = [0; 32];
    refresh_digest[16..].copy_from_slice(id.as_bytes());
    Signin {
        login: None,
        account,
        session: NewSession {
            id,
            provider: "shop/example".to_owned(),
            refresh_digest,
            refresh_expires_at: NOW + 86_400,
            ends_at: NOW + 7 * 86_400,
            carried:
                r#"{"amr":["pwd"],"acr":"1","auth_time":1800000000,"groups":["staff","buyers"]}"#
                    .to_owned(),
            device: Some("Firefox, Linux".to_owned()),
            origin: Origin::of("https://id.example", "00u1", None),
        },
        replay: None,
        history: None,
        completion: None,
        event: Event {
            at: NOW,
            kind: EventKind::Signin,
            outcome: "ok",
            class: EventClass::Accepted,
            policy: "shop/default".to_owned(),
            provider: "shop/example".to_owned(),
            user_id: Some(user),
            session_id: Some(id),
            request_id: "0190a1b2c3d4e5f60718293a4b5c6d7e".to_owned(),
            network: "192.0.2.0/24".to_owned(),
            detail: String::new(),
            count: 1,
        },
        now: NOW,
    }
}

/// Ids of version 7, one after the other.
fn next_session_id() -> Uuid {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u64_pair(
        0x0190_0000_0000_7000 + (made << 16),
        0x8000_0000_0000_0000 | (mixed(made) >> 2),
    )
}

fn identity(user: u64) -> IdentityKey {
    IdentityKey {
        policy: "shop/default".to_owned(),
        issuer: "https://id.example/realms/shop".to_owned(),
        subject: format!("{:032x}", mixed(user)),
    }
}

/// Ids of version 7 of users who came over time: in the order of their numbers.
fn user_id(number: u64) -> Uuid {
    Uuid::from_u64_pair(
        0x0180_0000_0000_7000 + (number << 16),
        0x8000_0000_0000_0000 | (mixed(number) >> 2),
    )
}

fn scattered(n: u64, users: u64) -> u64 {
    mixed(n) % users
}

/// SplitMix64, so that every run asks for the same users.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn cpu_seconds() -> anyhow::Result<f64> {
    // Fields 14 and 15 of proc(5): user and system time, in ticks of a hundredth of a second.
    let stat = fs::read_to_string("/proc/self/stat")
        .context("the CPU time is read from /proc, which Linux has")?;
    let (_, after_name) = stat.rsplit_once(')').context("proc(5) has changed")?;
    let mut ticks = after_name
        .split_whitespace()
        .skip(11)
        .map(str::parse::<f64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        anyhow::bail!("proc(5) has changed");
    };
    Ok((user + system) / 100.0)
}
