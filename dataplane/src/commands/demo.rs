//! `vestibule demo`: a provider and a data plane on loopback, one sign-in shown step by step, and a
//! curl command to continue with. Everything is real but the provider's login page: the demo's
//! provider hands out tokens to any caller.

use std::path::Path;
use std::process::ExitCode;

use anstream::println;
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::verification_key::{KeySet, Lookup};

use super::serve::{self, Running};
use super::terminal::{FAINT, GOOD, STRONG, styled};
use crate::cli::{Cli, Command, DemoArgs, ServeArgs};
use crate::clock::Clock;
use vestibule_idtoken::token::UnverifiedToken;

mod provider;

use provider::DemoProvider;

/// The demo's token is good for this long, and so is the curl command.
const ID_TOKEN_SECONDS: i64 = 12 * 3600;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(demo(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn demo(args: &DemoArgs) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let clock = Clock::System;
    let mut step = 0;

    print_step(&mut step, "An OpenID provider starts on this machine.");
    let provider = DemoProvider::start().await?;
    println!("    issuer {}", provider.issuer);

    print_step(
        &mut step,
        "Two manifests say which provider to trust, as one would `kubectl apply` them.",
    );
    let manifests = manifests(&provider.issuer);
    indented(&manifests);
    let directory = folder.0.join("manifests");
    std::fs::create_dir(&directory)?;
    std::fs::write(directory.join("demo.yaml"), &manifests)?;

    print_step(
        &mut step,
        "`vestibule serve --manifests` compiles and serves them.",
    );
    let stop = CancellationToken::new();
    let running = serve::start(serve_args(args, &folder.0)?, clock.clone(), stop.clone()).await?;
    let base = format!("http://{}", running.address);
    println!("    API   {base}");
    println!(
        "    admin http://{} (/healthz, /readyz, /metrics, /revision)",
        running.admin_address
    );

    print_step(
        &mut step,
        "Alice logs in at the provider and gets an ID token for the client `web`.",
    );
    let id_token = provider.id_token("alice", clock.now(), ID_TOKEN_SECONDS)?;
    indented(&decoded(&id_token)?);

    print_step(
        &mut step,
        "A service passes it on: POST /auth/id-token/signin.",
    );
    let body = json!({"id_token": id_token});
    let answer = post(&format!("{base}/auth/id-token/signin"), &body).await?;
    indented(&shortened(&answer));
    let access_token = text(&answer, "access_token")?;

    print_step(
        &mut step,
        "Any service verifies the access token with the published keys.",
    );
    let jwks = get(&format!("{base}/jwks.json")).await?;
    verify(&access_token, &jwks)?;
    println!("    {} against {base}/jwks.json", styled(GOOD, "verified"));
    indented(&decoded(&access_token)?);

    print_step(
        &mut step,
        "Ten minutes later the refresh token gets the next one, and is used up.",
    );
    let body = json!({"refresh_token": text(&answer, "refresh_token")?});
    let answer = post(&format!("{base}/auth/token/refresh"), &body).await?;
    indented(&shortened(&answer));

    if args.once {
        stop.cancel();
        return running.finished().await;
    }
    println!();
    println!("It keeps serving until Ctrl-C. Sign in again, from another terminal:");
    println!();
    println!(
        "curl -sS -H 'Content-Type: application/json' -d '{{\"id_token\":\"{id_token}\"}}' {base}/auth/id-token/signin"
    );
    until_interrupted(running, stop).await
}

async fn until_interrupted(running: Running, stop: CancellationToken) -> anyhow::Result<()> {
    vestibule_process::signal::stop_on_signal(stop)?;
    running.finished().await
}

/// A folder of the demo's own that goes when the demo ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let name = format!("vestibule-demo-{}", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        serve::make_private_directory(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing can be done about a folder that cannot be removed, and it is in the system's own
        // place for such.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn manifests(issuer: &str) -> String {
    format!(
        "\
apiVersion: vestibule.dev/v1alpha1
kind: OidcProvider
metadata: {{name: demo, namespace: auth}}
spec:
  issuer: {issuer}
  audiences: [web]
  token: {{maxAge: 12h}}
  claims:
    rules:
      - {{expression: \"claims.email.endsWith('@demo.example')\", message: not a demo account}}
    mapping: {{groups: claims.roles}}
---
apiVersion: vestibule.dev/v1alpha1
kind: SigninPolicy
metadata: {{name: default, namespace: auth}}
spec:
  token: {{issuer: https://auth.demo.example, audiences: [internal]}}
  signing: {{managed: {{algorithm: ES256}}}}
"
    )
}

/// As the command line would give them.
fn serve_args(args: &DemoArgs, folder: &Path) -> anyhow::Result<ServeArgs> {
    use clap::Parser as _;
    let listen = args.listen.to_string();
    let manifests = folder.join("manifests");
    let data = folder.join("data");
    let parsed = Cli::try_parse_from([
        "vestibule".as_ref(),
        "serve".as_ref(),
        "--manifests".as_ref(),
        manifests.as_os_str(),
        "--data-dir".as_ref(),
        data.as_os_str(),
        "--listen".as_ref(),
        listen.as_ref(),
        "--admin-listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--plain-http".as_ref(),
        "--allow-http-issuers".as_ref(),
    ])?;
    match parsed.command {
        Command::Serve(args) => Ok(*args),
        _ => anyhow::bail!("the demo asked for another command"),
    }
}

fn print_step(step: &mut usize, what: &str) {
    *step += 1;
    println!();
    println!("{}", styled(STRONG, &format!("{step}. {what}")));
}

fn indented(text: &str) {
    for line in text.lines() {
        println!("    {}", styled(FAINT, line));
    }
}

fn decoded(token: &str) -> anyhow::Result<String> {
    let payload = token.split('.').nth(1).context("a token has a payload")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(serde_json::to_string_pretty(&claims)?)
}

/// Long strings are cut: they are tokens.
fn shortened(answer: &Value) -> String {
    let mut answer = answer.clone();
    for value in answer
        .as_object_mut()
        .into_iter()
        .flat_map(|members| members.values_mut())
    {
        if let Some(text) = value.as_str().filter(|text| text.len() > 40) {
            *value = json!(format!("{}…", text.chars().take(32).collect::<String>()));
        }
    }
    format!("{answer:#}")
}

fn text(answer: &Value, name: &str) -> anyhow::Result<String> {
    let text = answer[name].as_str().map(str::to_owned);
    text.with_context(|| format!("the answer has no {name}"))
}

fn verify(access_token: &str, jwks: &Value) -> anyhow::Result<()> {
    let keys = KeySet::parse(jwks, &[Algorithm::ES256])?;
    let token = UnverifiedToken::parse(access_token)?;
    let Lookup::Found(key) = keys.find(token.jws.header.kid.as_deref(), Algorithm::ES256) else {
        anyhow::bail!("the key of the access token is not published");
    };
    let verified = key.verify_sig(token.jws.signing_input.as_bytes(), &token.jws.signature);
    ensure!(verified.is_ok(), "the access token does not verify");
    Ok(())
}

async fn post(url: &str, body: &Value) -> anyhow::Result<Value> {
    let request = Request::post(url)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    send(request).await
}

async fn get(url: &str) -> anyhow::Result<Value> {
    send(Request::get(url).body(Full::default())?).await
}

async fn send(request: Request<Full<Bytes>>) -> anyhow::Result<Value> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    let body: Value = serde_json::from_slice(&body)?;
    ensure!(status.is_success(), "it answered {status}: {body}");
    Ok(body)
}
