//! `vestibule users`: administrators see and change users, through a data plane that runs or in its
//! database.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anstream::println;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::Value;
use uuid::Uuid;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::secret::Secret;
use vestibule_crds::snapshot::Egress;

use super::terminal::{BAD, GOOD, STRONG, styled};
use crate::admin::users::read as read_token;
use crate::cli::{Output, UserArgs, UsersArgs, UsersCommand};
use crate::clock::Clock;
use crate::password::hashing::Hashing;
use crate::users::import::{self, ImportLine};
use crate::users::sessions::SessionRecord;
use crate::users::{Answer, Ask, IMPORT_LINES_MAX, Imported, UserAdministration, UserRecord};
use vestibule_idtoken::keys::fetch::BoundedFetcher;
use vestibule_store::database::{Database, Opened};

/// A page of the longest users fits.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Lines of one import: more come in several files.
const LINES_MAX: usize = 1_000_000;
/// Errors that are listed; the others are counted.
const ERRORS_SHOWN_MAX: usize = 100;
const PASSWORD_BYTES_READ_MAX: u64 = 4096;

pub fn run(args: &UsersArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(async {
        let office = Office::open(args).await?;
        perform(&office, args).await
    })
}

/// Where it is asked.
enum Office {
    DataPlane { url: String, token: Secret },
    Database(Opened),
}

impl Office {
    async fn open(args: &UsersArgs) -> anyhow::Result<Self> {
        if args.database.url.is_some() {
            let database = args.database.database(Path::new("."))?;
            if matches!(database, Database::Sqlite(_)) {
                bail!("a SQLite file belongs to the data plane that serves it: use --admin");
            }
            return Ok(Self::Database(database.open().await?));
        }
        let path = args.admin_token_file.as_deref().context(
            "name the file with the data plane's token (--admin-token-file), or a database (--database postgres://…)",
        )?;
        let token = read_token(path)
            .with_context(|| format!("{}: it holds no token of 16 characters", path.display()))?;
        let url = format!("{}/users", args.admin.trim_end_matches('/'));
        Ok(Self::DataPlane { url, token })
    }

    async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        match self {
            Self::DataPlane { url, token } => {
                let asking = ask_data_plane(url, token, &ask);
                let answer = tokio::time::timeout(ANSWER_TIME_MAX, asking).await;
                answer.with_context(|| format!("{url} did not answer in time"))?
            }
            Self::Database(opened) => {
                let hashing = Hashing::default();
                let policy_key = |name: &str| name.contains('/').then(|| name.to_owned());
                let desk = UserAdministration {
                    store: &opened.store,
                    hashing: &hashing,
                    policy_key: &policy_key,
                    now: Clock::System.now(),
                };
                Ok(desk.answer(ask).await?)
            }
        }
    }

    /// What was queued is written before the command ends.
    async fn close(&self) -> anyhow::Result<()> {
        if let Self::Database(opened) = self {
            opened.store.flush().await?;
        }
        Ok(())
    }
}

async fn ask_data_plane(url: &str, token: &Secret, ask: &Ask) -> anyhow::Result<Answer> {
    // In clear only to a host nearby: it is a token, and people's data.
    let fetcher = BoundedFetcher::new(Egress::Cluster, HttpIssuers::LoopbackAndCluster, None);
    let admitted = fetcher
        .admit(url)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let request = Request::post(admitted.as_str())
        .header(AUTHORIZATION, format!("Bearer {}", token.expose()))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(ask)?)))?;
    let response = fetcher.client().request(request).await;
    let response = response.with_context(|| format!("{url} could not be reached"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    let body = body.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).context("the answer is none of a data plane");
    }
    let error = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    bail!(
        "{}",
        error["error"]
            .as_str()
            .unwrap_or("the answer is none of a data plane")
    );
}

async fn perform(office: &Office, args: &UsersArgs) -> anyhow::Result<ExitCode> {
    let output = args.output;
    match &args.command {
        UsersCommand::List {
            policy,
            status,
            after,
            limit,
        } => {
            let ask = Ask::List {
                policy: policy.clone(),
                status: status.clone(),
                after: *after,
                limit: *limit,
            };
            list(office, ask, *limit, output).await?;
        }
        UsersCommand::Show(user) => {
            let users = found(office, user).await?;
            match (output, users.as_slice()) {
                (Output::Json, [only]) => println!("{:#}", serde_json::to_value(only)?),
                (Output::Json, all) => println!("{:#}", serde_json::to_value(all)?),
                (Output::Text, all) => all.iter().for_each(print_user),
            }
        }
        UsersCommand::Disable(user) => set_status(office, user, "disabled", output).await?,
        UsersCommand::Enable(user) => {
            if sole(office, user).await?.status == "locked" {
                bail!("the user is locked, not disabled: unlock");
            }
            set_status(office, user, "active", output).await?;
        }
        UsersCommand::Unlock(user) => {
            if sole(office, user).await?.status == "disabled" {
                bail!("the user is disabled, not locked: enable");
            }
            set_status(office, user, "active", output).await?;
        }
        UsersCommand::RequirePasswordChange(user) => {
            let user = sole(office, user).await?.id;
            let answer = office.ask(Ask::RequirePasswordChange { user }).await?;
            print_changed(&answer, output)?;
        }
        UsersCommand::SetPassword {
            user,
            password_file,
            require_change,
        } => {
            let user = sole(office, user).await?.id;
            let ask = Ask::SetPassword {
                user,
                password: read_password(password_file.as_deref())?,
                must_change: *require_change,
            };
            print_changed(&office.ask(ask).await?, output)?;
        }
        UsersCommand::Sessions { user, after, limit } => {
            let ask = Ask::Sessions {
                user: sole(office, user).await?.id,
                after: *after,
                limit: *limit,
            };
            list_sessions(office, ask, *limit, output).await?;
        }
        UsersCommand::RevokeSessions { user, session } => {
            let ask = Ask::RevokeSessions {
                user: sole(office, user).await?.id,
                session: *session,
            };
            print_changed(&office.ask(ask).await?, output)?;
        }
        UsersCommand::Import { file, policy } => {
            let good = import_file(office, file, policy, output).await?;
            office.close().await?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    office.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// One page of users, and where the next begins.
async fn list(office: &Office, ask: Ask, limit: u32, output: Output) -> anyhow::Result<()> {
    let users = office.ask(ask).await?.users;
    let last = users.last().map(|user| user.id);
    let next = last.filter(|_| is_full(users.len(), limit));
    match output {
        Output::Json => println!("{:#}", serde_json::json!({"users": users, "next": next})),
        Output::Text => print_table(&users),
    }
    print_next(next, output);
    Ok(())
}

/// One page of a user's sessions, and where the next begins.
async fn list_sessions(
    office: &Office,
    ask: Ask,
    limit: u32,
    output: Output,
) -> anyhow::Result<()> {
    let sessions = office.ask(ask).await?.sessions;
    let last = sessions.last().map(|session| session.id);
    let next = last.filter(|_| is_full(sessions.len(), limit));
    match output {
        Output::Json => {
            let page = serde_json::json!({"sessions": sessions, "next": next});
            println!("{page:#}");
        }
        Output::Text => print_sessions(&sessions),
    }
    print_next(next, output);
    Ok(())
}

fn is_full(count: usize, limit: u32) -> bool {
    count == usize::try_from(limit).unwrap_or(usize::MAX)
}

fn print_next(next: Option<Uuid>, output: Output) {
    if let (Some(next), Output::Text) = (next, output) {
        println!("there may be more: --after {next}");
    }
}

async fn found(office: &Office, user: &UserArgs) -> anyhow::Result<Vec<UserRecord>> {
    let ask = Ask::Find {
        policy: user.policy.clone(),
        name: user.user.clone(),
    };
    Ok(office.ask(ask).await?.users)
}

/// The one user that is meant.
async fn sole(office: &Office, user: &UserArgs) -> anyhow::Result<UserRecord> {
    let mut users = found(office, user).await?;
    match (users.pop(), users.is_empty()) {
        (Some(user), true) => Ok(user),
        (Some(_), false) => bail!("several users are called so: name the one that is meant by id"),
        (None, _) => bail!("there is no such user"),
    }
}

async fn set_status(
    office: &Office,
    user: &UserArgs,
    status: &str,
    output: Output,
) -> anyhow::Result<()> {
    let ask = Ask::SetStatus {
        user: sole(office, user).await?.id,
        status: status.to_owned(),
    };
    print_changed(&office.ask(ask).await?, output)
}

/// From a file or standard input: what stands on a command line is seen by others. One end of line
/// is none of it.
fn read_password(file: Option<&Path>) -> anyhow::Result<Secret> {
    let mut text = zeroize::Zeroizing::new(String::new());
    match file {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
            file.take(PASSWORD_BYTES_READ_MAX).read_to_string(&mut text)
        }
        None => std::io::stdin()
            .lock()
            .take(PASSWORD_BYTES_READ_MAX)
            .read_to_string(&mut text),
    }
    .context("the password cannot be read")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(password.strip_suffix('\r').unwrap_or(password)))
}

/// All lines are checked before the first is written; returns whether all are good.
async fn import_file(
    office: &Office,
    file: &Path,
    policy: &str,
    output: Output,
) -> anyhow::Result<bool> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
    } else {
        std::fs::read_to_string(file).with_context(|| file.display().to_string())?
    };
    let text = zeroize::Zeroizing::new(text);
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let lines: Vec<ImportLine> = lines
        .map(|(index, line)| ImportLine {
            number: index + 1,
            text: Secret::new(line),
        })
        .take(LINES_MAX + 1)
        .collect();
    if lines.len() > LINES_MAX {
        bail!("more than {LINES_MAX} lines: import several files");
    }
    let mut imported = Imported {
        errors: check_all(policy, &lines),
        ..Imported::default()
    };
    if imported.errors.is_empty() {
        for part in lines.chunks(IMPORT_LINES_MAX) {
            let ask = Ask::Import {
                policy: policy.to_owned(),
                lines: part.to_vec(),
            };
            let answer = office.ask(ask).await.with_context(|| {
                format!(
                    "{} users were added before line {}; to go on, run the same import again",
                    imported.added, part[0].number
                )
            })?;
            let of_part = answer.imported.unwrap_or_default();
            imported.added += of_part.added;
            imported.known += of_part.known;
            imported.errors.extend(of_part.errors);
        }
    }
    match output {
        Output::Json => println!("{:#}", serde_json::to_value(&imported)?),
        Output::Text => {
            for error in imported.errors.iter().take(ERRORS_SHOWN_MAX) {
                println!(
                    "{}: {}",
                    styled(BAD, &format!("line {}", error.line)),
                    error.error
                );
            }
            let Imported {
                added,
                known,
                errors,
            } = &imported;
            println!(
                "{added} added, {known} known already, {} with errors",
                errors.len()
            );
        }
    }
    Ok(imported.errors.is_empty())
}

fn check_all(policy: &str, lines: &[ImportLine]) -> Vec<import::LineError> {
    let now = Clock::System.now();
    let mut seen: HashMap<Uuid, usize> = HashMap::with_capacity(lines.len());
    let mut errors = Vec::new();
    for line in lines {
        match import::read(policy, line, now) {
            Ok(import) => {
                if let Some(first) = seen.insert(import.user.id, line.number) {
                    errors.push(import::LineError {
                        line: line.number,
                        error: format!("it is the same user as line {first}"),
                    });
                }
            }
            Err(error) => errors.push(error),
        }
    }
    errors
}

fn print_changed(answer: &Answer, output: Output) -> anyhow::Result<()> {
    for user in &answer.users {
        match output {
            Output::Json => println!("{:#}", serde_json::to_value(user)?),
            Output::Text => print_user(user),
        }
    }
    Ok(())
}

fn print_user(user: &UserRecord) {
    let none = || "–".to_owned();
    let verified = if user.email_verified {
        ""
    } else {
        " (not verified)"
    };
    let email = user
        .email
        .as_ref()
        .map(|email| format!("{email}{verified}"));
    for (name, value) in [
        ("id", user.id.to_string()),
        ("policy", user.policy.clone()),
        ("username", user.username.clone().unwrap_or_else(none)),
        ("email", email.unwrap_or_else(none)),
        ("phone", user.phone.clone().unwrap_or_else(none)),
        ("status", styled_status(&user.status)),
        ("created", user.created_at.clone()),
        ("password", password(user)),
    ] {
        println!("{}  {value}", styled(STRONG, &format!("{name:<8}")));
    }
}

fn print_table(users: &[UserRecord]) {
    let head = ["ID", "USERNAME", "EMAIL", "STATUS", "CREATED", "PASSWORD"];
    let rows = users
        .iter()
        .map(|user| {
            [
                user.id.to_string(),
                user.username.clone().unwrap_or_default(),
                user.email.clone().unwrap_or_default(),
                user.status.clone(),
                user.created_at.clone(),
                password(user),
            ]
        })
        .collect();
    print_columns(head, rows);
}

fn print_sessions(sessions: &[SessionRecord]) {
    let head = [
        "ID",
        "DEVICE",
        "LAST USED",
        "NETWORK",
        "PROVIDER",
        "SIGNED IN",
    ];
    let none = || "–".to_owned();
    let rows = sessions
        .iter()
        .map(|session| {
            [
                session.id.to_string(),
                session.device.clone().unwrap_or_else(none),
                session.last_used_at.clone(),
                session.network.clone().unwrap_or_else(none),
                session.provider.clone(),
                session.created_at.clone(),
            ]
        })
        .collect();
    print_columns(head, rows);
}

fn print_columns(head: [&str; 6], rows: Vec<[String; 6]>) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: [&str; 6]| {
        let cells = cells.iter().zip(widths);
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    println!("{}", styled(STRONG, &line(head)));
    for row in &rows {
        println!(
            "{}",
            line(std::array::from_fn(|column| row[column].as_str()))
        );
    }
}

fn password(user: &UserRecord) -> String {
    match &user.password {
        None => "none".to_owned(),
        Some(password) if password.must_change => format!("{} (must change)", password.changed_at),
        Some(password) => password.changed_at.clone(),
    }
}

fn styled_status(status: &str) -> String {
    let style = if status == "active" { GOOD } else { BAD };
    styled(style, status)
}
