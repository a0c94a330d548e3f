//! What nothing can be cheaper than: one verification, one signature, one bare exchange of the same sizes, and the store's
//! own statements with nobody around them.

use std::convert::Infallible;
use std::io::{Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rusqlite::{Connection, params};
use tokio::net::{TcpListener, TcpStream};
use vestibule_dataplane::server::threads::Threads;

use super::process::own_cpu_seconds;

/// Bytes of the exchange: about those of a sign-in and its answer.
pub const REQUEST_BYTES: usize = 1000;
pub const ANSWER_BYTES: usize = 1100;

/// One verification and one signature with keys parsed once: the cryptography of a sign-in.
struct Crypto {
    random: SystemRandom,
    public: ParsedPublicKey,
    signature: Vec<u8>,
    ecdsa: EcdsaKeyPair,
}

const MESSAGE: [u8; 700] = [7; 700];

impl Crypto {
    fn new() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)?;
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut signature)?;
        let public = rsa.public_key().as_ref();
        Ok(Self {
            public: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)?,
            ecdsa: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            random,
            signature,
        })
    }

    fn verify(&self) -> anyhow::Result<()> {
        Ok(self.public.verify_sig(&MESSAGE, &self.signature)?)
    }

    fn sign(&self) -> anyhow::Result<()> {
        std::hint::black_box(self.ecdsa.sign(&self.random, &MESSAGE)?);
        Ok(())
    }
}

/// CPU microseconds of one RS256 verification and one ES256 signature.
pub fn crypto_us(rounds: u32) -> anyhow::Result<(f64, f64)> {
    let crypto = Crypto::new()?;
    let began = own_cpu_seconds()?;
    for _ in 0..rounds {
        crypto.verify()?;
    }
    let verify = own_cpu_seconds()? - began;

    let began = own_cpu_seconds()?;
    for _ in 0..rounds {
        crypto.sign()?;
    }
    let sign = own_cpu_seconds()? - began;
    let each = |seconds: f64| seconds * 1e6 / f64::from(rounds);
    Ok((each(verify), each(sign)))
}

/// What the exchange does between the request and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    Nothing,
    /// One verification and one signature.
    Crypto,
}

/// The bare exchange: reads the body and answers as many bytes as a sign-in does, on threads like those of the service.
/// Never returns.
pub async fn serve_exchange(between: Between) -> anyhow::Result<Infallible> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    println!("{address}");
    let answer = Bytes::from(vec![b'x'; ANSWER_BYTES]);
    let crypto = Arc::new(Crypto::new()?);
    let threads = Threads::of_cores()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let (answer, crypto) = (answer.clone(), Arc::clone(&crypto));
        threads.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, crypto) = (answer.clone(), Arc::clone(&crypto));
                async move {
                    request.into_body().collect().await?;
                    if between == Between::Crypto {
                        crypto.verify()?;
                        crypto.sign()?;
                    }
                    let response = Response::builder()
                        .header("content-type", "application/json")
                        .body(Full::new(answer));
                    Ok::<_, anyhow::Error>(response?)
                }
            });
            let Ok(stream) = TcpStream::from_std(stream) else {
                return;
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // The load goes away at the end of a round.
            let _ended = connection.await;
        });
    }
}

/// How long the disk takes to make 16 KiB durable, nobody else asking: p50, p99 and p99.9 in milliseconds.
pub fn disk_waits_ms(path: &Path, times: usize) -> anyhow::Result<[f64; 3]> {
    let mut file = std::fs::File::create(path)?;
    let mut waits = Vec::with_capacity(times);
    for number in 0..times {
        // Again and again over the same 4 MiB, as a log is written.
        if number % 256 == 0 {
            file.rewind()?;
        }
        file.write_all(&[7; 16 * 1024])?;
        let began = Instant::now();
        file.sync_data()?;
        waits.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    std::fs::remove_file(path)?;
    waits.sort_by(f64::total_cmp);
    let at = |quantile: f64| waits[((waits.len() - 1) as f64 * quantile) as usize];
    Ok([at(0.5), at(0.99), at(0.999)])
}

/// A table, an index-free row of the size of a session, and the statements that a sign-in of a known user runs.
#[derive(Debug)]
pub struct Statements {
    db: Connection,
    next: i64,
}

impl Statements {
    /// Opens a store's file that no process has open.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS bench_row (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        )?;
        Ok(Self { db, next: 1 })
    }

    /// CPU microseconds of one row, so many to a commit.
    pub fn one_row_us(&mut self, rows: usize, batch: usize) -> anyhow::Result<f64> {
        let body = [7_u8; 300];
        let first = self.next;
        self.measured(rows, batch, |db, number| {
            db.prepare_cached("INSERT INTO bench_row (id, body) VALUES (?1, ?2)")?
                .execute(params![first + number, body])?;
            Ok(())
        })
    }

    /// CPU microseconds of everything that one sign-in of a known user reads and writes, so many to a commit.
    pub fn signin_us(&mut self, signins: usize, batch: usize) -> anyhow::Result<f64> {
        let users: Vec<(Vec<u8>, String, String, String)> = self
            .db
            .prepare("SELECT user_id, policy, issuer, subject FROM identities")?
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?
            .collect::<Result<_, _>>()?;
        anyhow::ensure!(!users.is_empty(), "nobody has signed in");
        let first = self.next;
        let carried = r#"{"scope":"openid","idp":"corp","groups":["staff"]}"#;
        self.measured(signins, batch, |db, number| {
            let (user, policy, issuer, subject) = &users[number as usize % users.len()];
            let found: Vec<u8> = db
                .prepare_cached(
                    "SELECT u.id FROM identities i JOIN users u ON u.id = i.user_id \
                     WHERE i.policy = ?1 AND i.issuer = ?2 AND i.subject = ?3",
                )?
                .query_row(params![policy, issuer, subject], |row| row.get(0))?;
            anyhow::ensure!(&found == user, "the identity leads to its user");
            let status: String = db
                .prepare_cached("SELECT status FROM users WHERE id = ?1")?
                .query_row(params![user], |row| row.get(0))?;
            anyhow::ensure!(status == "active", "the user is active");
            let mut id = [0xff_u8; 16];
            id[8..].copy_from_slice(&(first + number).to_be_bytes());
            db.prepare_cached(
                "INSERT INTO sessions (id, user_id, provider, created_at, refresh_digest, refresh_expires_at, ends_at, carried, \
                 device, network, subject_digest, sid_digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                id, user, "bench/corp", 1, [7_u8; 32], 2, 3, carried, None::<String>, "127.0.0.0/24", [7_u8; 16], None::<Vec<u8>>
            ])?;
            db.prepare_cached(
                "INSERT INTO events (at, kind, outcome, policy, provider, user_id, session_id, request_id, network, detail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                1, "signin", "ok", policy, "bench/corp", user, id,
                "0190a1b2-c3d4-7e5f-a071-8293a4b5c6d7", "127.0.0.0/24", ""
            ])?;
            Ok(())
        })
    }

    fn measured(
        &mut self,
        count: usize,
        batch: usize,
        each: impl Fn(&Connection, i64) -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        let began = own_cpu_seconds()?;
        let mut done = 0;
        while done < count {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..batch {
                each(&self.db, i64::try_from(done)?)?;
                done += 1;
            }
            self.db.execute_batch("COMMIT")?;
        }
        self.next += i64::try_from(done)?;
        Ok((own_cpu_seconds()? - began) * 1e6 / done as f64)
    }
}
