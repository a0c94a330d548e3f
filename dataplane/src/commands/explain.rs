//! `vestibule explain`: every verification step of one token, with what was expected and found.
//!
//! Safe to paste: no signature, no key, no token. Claims are shown only where a step is about them.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use anstream::println;
use anyhow::{Context as _, bail};
use serde::Serialize;
use vestibule_crds::compile::compile;
use vestibule_crds::manifests;
use vestibule_crds::snapshot::Replay;

use crate::cli::{ExplainArgs, Output};
use crate::clock::{Clock, rfc3339};
use crate::commands::check;
use crate::commands::terminal::{BAD, FAINT, GOOD, STRONG, styled};
use crate::config::inputs;
use crate::failure::Failure;
use crate::flows::signin::choose_provider;
use crate::runtime_config::{ActiveConfig, ActiveProvider, RuntimeConfig};
use vestibule_idtoken::keys::{Fetching, check_signature};
use vestibule_idtoken::token::{TOKEN_BYTES_MAX, UnverifiedToken};
use vestibule_idtoken::verify::{CLAIM_CHECKS, Check, Facts, HEADER_CHECKS};

/// One step, judged.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub step: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    pub outcome: Outcome,
    pub expected: String,
    pub found: String,
    /// The error code that a caller would get, when this step refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Refused,
    /// An earlier step leaves nothing to check.
    Skipped,
}

pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let token = token(&args.token)?;
    let (files, _) = check::read(&args.manifests)?;
    let (objects, errors) = manifests::read(&files);
    let compiled = compile(&inputs(objects, None, args.issuers.http_issuers()));
    let refused = compiled
        .verdicts
        .iter()
        .filter(|verdict| verdict.is_refused())
        .count();
    if refused + errors.len() > 0 {
        eprintln!(
            "vestibule: {} of the manifests are refused or cannot be read; `vestibule check` says why",
            refused + errors.len()
        );
    }
    let clock = Clock::System;
    let runtime_config = RuntimeConfig::empty(args.issuers.http_issuers(), clock.clone());
    runtime_config.serve(&compiled.snapshot)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let active = runtime_config.active();
    let steps = runtime.block_on(explain(
        &active,
        &token,
        args.provider.as_deref(),
        args.nonce.as_deref(),
        clock.now(),
    ));
    let refused = steps.iter().any(|step| step.outcome == Outcome::Refused);
    match args.output {
        Output::Json => {
            let report = serde_json::json!({"accepted": !refused, "steps": steps});
            println!("{report:#}");
        }
        Output::Text => print(&steps, clock.now()),
    }
    Ok(ExitCode::from(u8::from(refused)))
}

fn token(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.trim().to_owned());
    }
    let mut text = String::new();
    let limit = TOKEN_BYTES_MAX as u64 + 1024;
    std::io::stdin()
        .take(limit)
        .read_to_string(&mut text)
        .context("the token could not be read")?;
    if text.trim().is_empty() {
        bail!("there is no token on standard input");
    }
    Ok(text.trim().to_owned())
}

/// Every step, in the order of a sign-in. A sign-in would stop at the first that refuses; the
/// others are shown as well, as far as there is something to check.
pub async fn explain(
    active: &ActiveConfig,
    text: &str,
    named: Option<&str>,
    nonce: Option<&str>,
    now: i64,
) -> Vec<Step> {
    let mut steps = Steps::default();
    let form = "a signed JWT of at most 16 KiB with iss, sub, exp and iat";
    let token = match UnverifiedToken::parse(text) {
        Ok(token) => {
            steps.passed("form", "RFC 7515, 7.1; RFC 7519, 7.2", form, "such a token");
            token
        }
        Err(malformed) => {
            let code = crate::failure::Code::TokenMalformed.as_str();
            steps.refused(
                "form",
                "RFC 7515, 7.1; RFC 7519, 7.2",
                form,
                &malformed.to_string(),
                code,
            );
            return steps.skip_rest_from(0);
        }
    };
    let wanted = match named {
        Some(name) => format!("provider {name}"),
        None => "one provider with the token's issuer and audience".to_owned(),
    };
    let provider = match choose_provider(active, &token, named) {
        Ok(provider) => {
            let found = format!("provider {}", provider.spec.name);
            steps.passed(
                "provider",
                "OpenID Connect Core 3.1.3.7, 2 and 3",
                &wanted,
                &found,
            );
            provider
        }
        Err(failure) => {
            steps.failed(
                "provider",
                "OpenID Connect Core 3.1.3.7, 2 and 3",
                &wanted,
                &failure,
            );
            return steps.skip_rest_from(1);
        }
    };
    steps.suspension(provider);
    let facts = Facts {
        token: &token,
        provider: &provider.spec,
        nonce,
        now,
    };
    for check in HEADER_CHECKS {
        steps.check(check, &facts);
    }
    steps.signature(provider, &token).await;
    for check in CLAIM_CHECKS {
        steps.check(check, &facts);
    }
    steps.rules(provider, &token);
    steps.replay(provider);
    steps.0
}

const SIGNATURE: (&str, &str) = ("signature", "RFC 7515, 5.2");
const RULES: (&str, &str) = ("claim rules and mapping", "the provider's spec.claims");

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn push(
        &mut self,
        step: &'static str,
        source: &'static str,
        outcome: Outcome,
        expected: &str,
        found: &str,
    ) {
        self.0.push(Step {
            step,
            source,
            outcome,
            expected: expected.to_owned(),
            found: found.to_owned(),
            code: None,
        });
    }

    fn passed(&mut self, step: &'static str, source: &'static str, expected: &str, found: &str) {
        self.push(step, source, Outcome::Passed, expected, found);
    }

    fn refused(
        &mut self,
        step: &'static str,
        source: &'static str,
        expected: &str,
        found: &str,
        code: &'static str,
    ) {
        self.push(step, source, Outcome::Refused, expected, found);
        if let Some(last) = self.0.last_mut() {
            last.code = Some(code);
        }
    }

    fn failed(
        &mut self,
        step: &'static str,
        source: &'static str,
        expected: &str,
        failure: &Failure,
    ) {
        self.refused(step, source, expected, failure.audit(), failure.code());
    }

    fn check(&mut self, check: &Check, facts: &Facts) {
        let (expected, found) = ((check.expected)(facts), (check.found)(facts));
        match (check.verify)(facts) {
            Ok(()) => self.passed(check.name, check.source, &expected, &found),
            Err(code) => self.refused(check.name, check.source, &expected, &found, code.as_str()),
        }
    }

    fn suspension(&mut self, provider: &Arc<ActiveProvider>) {
        let source = "the provider's spec.suspended";
        if provider.spec.suspended {
            let code = crate::failure::Code::ProviderSuspended.as_str();
            self.refused("suspension", source, "not suspended", "suspended", code);
        } else {
            self.passed("suspension", source, "not suspended", "not suspended");
        }
    }

    async fn signature(&mut self, provider: &ActiveProvider, token: &UnverifiedToken<'_>) {
        let (step, source) = SIGNATURE;
        let expected = "a signature by a key that the provider publishes for the token's algorithm";
        match check_signature(&provider.keys, &token.jws, Fetching::Allowed).await {
            Ok(()) => self.passed(step, source, expected, "a valid signature"),
            Err(error) => self.failed(step, source, expected, &error.into()),
        }
    }

    fn rules(&mut self, provider: &ActiveProvider, token: &UnverifiedToken) {
        let (step, source) = RULES;
        let expected = format!(
            "{} rules that hold, and a mapping that works",
            provider.spec.rules.len()
        );
        match provider.rules.apply(&token.claims) {
            Ok(mapped) => {
                let found = format!(
                    "username {}, email {}, phone {}, {} groups",
                    present(mapped.username.is_some()),
                    match (&mapped.email, mapped.email_verified) {
                        (None, _) => "absent",
                        (Some(_), true) => "verified",
                        (Some(_), false) => "not verified",
                    },
                    present(mapped.phone.is_some()),
                    mapped.groups.len()
                );
                self.passed(step, source, &expected, &found);
            }
            Err(rejected) => {
                let found = format!("{}: {}", rejected.cause, rejected.message);
                let code = crate::failure::Code::ClaimsRejected.as_str();
                self.refused(step, source, &expected, &found, code);
            }
        }
    }

    fn replay(&mut self, provider: &ActiveProvider) {
        let source = "the provider's spec.token.replay";
        match provider.spec.token.replay {
            Replay::Allow => self.passed("replay", source, "any number of uses", "not looked up"),
            Replay::Reject => self.push(
                "replay",
                source,
                Outcome::Skipped,
                "the first use",
                "only the running service's store knows",
            ),
        }
    }

    /// The steps that are left when nothing is known to run them on; `done` of the two before them
    /// were run.
    fn skip_rest_from(mut self, done: usize) -> Vec<Step> {
        let before = [("provider", "OpenID Connect Core 3.1.3.7, 2 and 3")];
        let header = HEADER_CHECKS.iter().map(|check| (check.name, check.source));
        let claims = CLAIM_CHECKS.iter().map(|check| (check.name, check.source));
        let rest = before
            .into_iter()
            .skip(done)
            .chain(header)
            .chain([SIGNATURE])
            .chain(claims)
            .chain([RULES]);
        for (step, source) in rest {
            self.push(
                step,
                source,
                Outcome::Skipped,
                "",
                "an earlier step leaves nothing to look at",
            );
        }
        self.0
    }
}

fn present(is: bool) -> &'static str {
    if is { "present" } else { "absent" }
}

fn print(steps: &[Step], now: i64) {
    println!(
        "{}",
        styled(FAINT, &format!("now: {} ({now})", rfc3339(now)))
    );
    for step in steps {
        let (style, word) = match step.outcome {
            Outcome::Passed => (GOOD, "passed "),
            Outcome::Refused => (BAD, "refused"),
            Outcome::Skipped => (FAINT, "skipped"),
        };
        let code = step.code.unwrap_or_default();
        println!(
            "{} {} {} {}",
            styled(style, word),
            styled(STRONG, step.step),
            styled(BAD, code),
            styled(FAINT, step.source)
        );
        if !step.expected.is_empty() {
            println!("        expected {}", step.expected);
        }
        println!("        found    {}", step.found);
    }
    let refused = steps.iter().find(|step| step.outcome == Outcome::Refused);
    match refused.and_then(|step| step.code) {
        Some(code) => println!(
            "{}: a sign-in with this token answers {code}",
            styled(BAD, "refused")
        ),
        None => println!(
            "{}: a sign-in with this token goes on to the account",
            styled(GOOD, "accepted")
        ),
    }
}
