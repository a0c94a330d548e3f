//! `vestibule replay`: scored sign-ins of the past decided again, so that thresholds are chosen on
//! facts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anstream::println;
use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::json;
use vestibule_crds::compile::compile;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::manifests;
use vestibule_crds::signin_policy::RiskAction;
use vestibule_crds::snapshot::Risk;

use super::check;
use super::terminal::{BAD, GOOD, STRONG, styled};
use crate::cli::{Output, ReplayArgs};
use crate::clock::Clock;
use crate::config::{inputs, reason};
use vestibule_risk::{Record, Replayed, assess_facts};
use vestibule_store::database::decisions::Decisions;

const DAY_SECONDS: i64 = 86_400;
/// Requests whose decision does not stand are named up to this many.
const NAMED_MAX: usize = 20;

pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let other = args.policy.as_deref().map(risk_of).transpose()?;
    let database = args.database.database(&args.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let since = Clock::System.now() - i64::from(args.days) * DAY_SECONDS;
    let report = runtime.block_on(async {
        let mut decisions = Decisions::open(database, since).await?;
        let mut report = Report::default();
        loop {
            let page = decisions.page().await?;
            if page.is_empty() {
                return anyhow::Ok(report);
            }
            for decision in page {
                let wanted = args.of.as_ref().is_none_or(|of| *of == decision.policy)
                    && args
                        .request
                        .as_ref()
                        .is_none_or(|id| *id == decision.request_id);
                if wanted && let Some(record) = Record::read(&decision.detail) {
                    report.add(&decision.request_id, &record, other.as_ref());
                }
            }
        }
    })?;
    match args.output {
        Output::Json => println!("{:#}", json!(report)),
        Output::Text => report.print(args),
    }
    Ok(ExitCode::from(u8::from(report.differ > 0)))
}

/// What a file's SigninPolicy makes of sign-ins.
fn risk_of(path: &Path) -> anyhow::Result<Risk> {
    let (files, _) = check::read(path)?;
    let (objects, errors) = manifests::read(&files);
    if let Some(error) = errors.first() {
        bail!("{error}");
    }
    let compiled = compile(&inputs(objects, None, HttpIssuers::LoopbackAndCluster));
    if let Some(verdict) = compiled
        .verdicts
        .iter()
        .find(|verdict| verdict.is_refused())
    {
        bail!("{} {}: {}", verdict.kind, verdict.name, reason(verdict));
    }
    let mut policies = compiled.snapshot.policies.into_values();
    match (policies.next(), policies.next()) {
        (Some(policy), None) => policy.risk.clone().with_context(|| {
            format!(
                "{}: its risk.mode is \"Off\", so that nothing is scored",
                path.display()
            )
        }),
        _ => bail!("{}: give a file with one SigninPolicy", path.display()),
    }
}

/// What came of the records.
#[derive(Debug, Default, Serialize)]
struct Report {
    scored: u64,
    stand: u64,
    differ: u64,
    /// Not scored at the time, or by another version of the engine.
    unknown: u64,
    /// Requests whose decision does not stand.
    differing_requests: Vec<String>,
    recorded: Outcomes,
    /// By the policy that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Outcomes>,
}

/// What was, or would have been, decided of the same sign-ins.
#[derive(Debug, Default, Serialize)]
struct Outcomes {
    allow: u64,
    require_mfa: u64,
    deny: u64,
    /// Those that were not allowed, by their heaviest reason.
    by_reason: BTreeMap<String, u64>,
}

impl Outcomes {
    fn add(&mut self, action: RiskAction, heaviest: Option<&str>) {
        match action {
            RiskAction::Allow => self.allow += 1,
            RiskAction::RequireMfa => self.require_mfa += 1,
            RiskAction::Deny => self.deny += 1,
        }
        if action != RiskAction::Allow {
            let reason = heaviest.unwrap_or("none");
            *self.by_reason.entry(reason.to_owned()).or_default() += 1;
        }
    }
}

impl Report {
    fn add(&mut self, request: &str, record: &Record, other: Option<&Risk>) {
        match record.replay() {
            Replayed::Stands => self.stand += 1,
            Replayed::Unknown => {
                self.unknown += 1;
                return;
            }
            Replayed::Differs => {
                self.differ += 1;
                if self.differing_requests.len() < NAMED_MAX {
                    self.differing_requests.push(request.to_owned());
                }
            }
        }
        self.scored += 1;
        let heaviest = record.reasons.iter().max_by_key(|(_, points)| **points);
        let heaviest = heaviest.map(|(code, _)| code.as_str());
        self.recorded.add(record.action, heaviest);
        if let (Some(risk), Some(facts)) = (other, &record.facts) {
            let assessment = assess_facts(facts, risk);
            let heaviest = assessment.reasons.first().map(|reason| reason.code);
            let outcomes = self.other.get_or_insert_default();
            outcomes.add(assessment.action, heaviest);
        }
    }

    fn print(&self, args: &ReplayArgs) {
        let Self {
            scored,
            stand,
            differ,
            unknown,
            differing_requests,
            recorded,
            other,
        } = self;
        println!("{scored} scored sign-ins of the last {} days", args.days);
        println!("{} {stand}", styled(GOOD, "the decision stands        "));
        if *differ > 0 {
            println!("{} {differ}", styled(BAD, "the decision does not stand"));
            for request in differing_requests {
                println!("  request {request}");
            }
        }
        if *unknown > 0 {
            println!("not judged: {unknown} (not scored, or by another version of the engine)");
        }
        let heads = if other.is_some() {
            "recorded  this policy"
        } else {
            "recorded"
        };
        println!("\n{}", styled(STRONG, &format!("{:<28}{heads}", "")));
        let row = |name: &str, of: &dyn Fn(&Outcomes) -> u64| {
            let before = of(recorded);
            match other {
                None => println!("{name:<28}{before:>8}"),
                Some(other) => {
                    let after = of(other);
                    let change = i128::from(after) - i128::from(before);
                    println!("{name:<28}{before:>8}  {after:>11}  {change:+}");
                }
            }
        };
        row("allowed", &|outcomes| outcomes.allow);
        row("asked for a second factor", &|outcomes| {
            outcomes.require_mfa
        });
        row("denied", &|outcomes| outcomes.deny);
        let reasons = recorded
            .by_reason
            .keys()
            .chain(other.iter().flat_map(|other| other.by_reason.keys()));
        let reasons: std::collections::BTreeSet<&String> = reasons.collect();
        if !reasons.is_empty() {
            println!(
                "\n{}",
                styled(STRONG, "asked or denied, by the heaviest reason")
            );
        }
        for reason in reasons {
            row(reason, &|outcomes| {
                outcomes.by_reason.get(reason).copied().unwrap_or(0)
            });
        }
    }
}
