use serde_json::json;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::publication::{ProofKey, Published, Seed, Seeds};
use vestibule_crds::report::{DiscoveryReport, KeysState};
use vestibule_crds::snapshot::{KeySource, Provider, Revision};

use super::*;
use crate::clock::Clock;
use crate::live::Serving;
use crate::metrics::Metrics;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::testing::{self, NOW};

fn app(directory: &tempfile::TempDir) -> App {
    let clock = Clock::set_to(NOW);
    let store = SqliteStore::open(&directory.path().join("s.db"), SqliteOptions::default());
    let serving = Serving::empty(HttpIssuers::Refuse, clock.clone());
    App::new(
        serving,
        Arc::new(store.expect("it opens")),
        clock,
        Metrics::default(),
    )
}

fn remote_provider(name: &str) -> Provider {
    let mut provider = testing::provider(json!({}));
    provider.name = name.to_owned();
    provider.revision = Revision::of(name.as_bytes());
    provider.keys = KeySource::JwksUri {
        url: format!("https://{name}.example/jwks"),
    };
    provider
}

fn publish(app: &App, providers: Vec<Provider>, seeds: Seeds) -> ProofKey {
    let proof_key = ProofKey::generate().expect("random bytes");
    let published = Published {
        snapshot: testing::snapshot([testing::policy()], providers),
        seeds,
        proof_key: proof_key.clone(),
    };
    let served = app
        .serving
        .serve_published(published, Revision::of(b"publication"));
    assert_eq!(served, Ok(true));
    proof_key
}

async fn body(answer: Answer) -> Bytes {
    use http_body_util::BodyExt as _;
    let body = answer.into_body().collect().await;
    body.expect("a whole body").to_bytes()
}

#[tokio::test]
async fn a_report_is_proved_for_the_nonce_of_its_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let (app, admin) = (app(&directory), Admin::default());
    let uri = Uri::from_static("/revision?nonce=abc");
    let unproved = report(&app, &uri, &revision(&app, &admin));
    assert_eq!(
        unproved.headers().get(PROOF_HEADER),
        None,
        "nothing published"
    );

    let proof_key = publish(&app, Vec::new(), Seeds::new());
    let answer = report(&app, &uri, &revision(&app, &admin));
    let proof = answer.headers().get(PROOF_HEADER).cloned();
    let proof = proof.expect("a proof");
    let proof = proof.to_str().expect("text");
    let body = body(answer).await;
    assert!(proof_key.verify("abc", &body, proof));
    assert!(!proof_key.verify("abd", &body, proof));
    let said: RevisionReport = serde_json::from_slice(&body).expect("a report");
    assert_eq!(said.digest, Some(Revision::of(b"publication")));

    for uri in [
        "/revision".to_owned(),
        format!("/revision?nonce={}", "a".repeat(200)),
    ] {
        let uri: Uri = uri.parse().expect("a URI");
        let answer = report(&app, &uri, &revision(&app, &admin));
        assert_eq!(answer.headers().get(PROOF_HEADER), None, "{uri}");
    }
}

#[tokio::test]
async fn discovery_tells_what_changed_since() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = app(&directory);
    let key = testing::key(SigningAlgorithm::ES256);
    let seed = |provider: &Provider| Seed {
        source: provider.key_source_revision(),
        jwks: json!({"keys": [key.jwk]}),
        fetched_at: NOW - 1,
    };
    let (one, two) = (remote_provider("one"), remote_provider("two"));
    let seeds = Seeds::from([("auth/two".to_owned(), seed(&two))]);
    publish(&app, vec![one.clone(), two.clone()], seeds);

    let states = |report: &DiscoveryReport| -> Vec<(String, KeysState)> {
        let providers = report.providers.iter();
        providers
            .map(|provider| (provider.name.clone(), provider.state))
            .collect()
    };
    let all = discovery::report(&app, 0);
    assert_eq!(
        states(&all),
        [
            ("one".to_owned(), KeysState::NotYet),
            ("two".to_owned(), KeysState::Fresh)
        ]
    );
    assert!(!all.more);
    let nothing = discovery::report(&app, all.sequence);
    assert_eq!(
        (nothing.providers.len(), nothing.sequence),
        (0, all.sequence)
    );

    let seeds = Seeds::from([("auth/one".to_owned(), seed(&one))]);
    let published = Published {
        snapshot: testing::snapshot([testing::policy()], [one, two]),
        seeds,
        proof_key: ProofKey::generate().expect("random bytes"),
    };
    let digest = Revision::of(b"next");
    app.serving
        .serve_published(published, digest)
        .expect("it builds");
    let changed = discovery::report(&app, all.sequence);
    assert_eq!(states(&changed), [("one".to_owned(), KeysState::Fresh)]);
    assert_eq!(changed.process, all.process);
}

#[tokio::test]
async fn a_long_report_comes_in_pages_that_leave_nothing_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = app(&directory);
    let providers: Vec<Provider> = (0..40)
        .map(|number| remote_provider(&format!("p{number}")))
        .collect();
    let jwk = testing::key(SigningAlgorithm::ES256).jwk;
    let many = (0..100).map(|number| testing::with(jwk.clone(), "kid", format!("{number:0200}")));
    let jwks = json!({"keys": many.collect::<Vec<_>>()});
    let seeds = providers.iter().map(|provider| {
        let seed = Seed {
            source: provider.key_source_revision(),
            jwks: jwks.clone(),
            fetched_at: NOW - 1,
        };
        (provider.key(), seed)
    });
    let seeds = seeds.collect();
    publish(&app, providers, seeds);
    let (mut since, mut names) = (0, std::collections::BTreeSet::new());
    let mut pages = 0;
    loop {
        pages += 1;
        let page = discovery::report(&app, since);
        names.extend(page.providers.into_iter().map(|provider| provider.name));
        since = page.sequence;
        if !page.more {
            break;
        }
    }
    assert_eq!(names.len(), 40);
    assert!((2..40).contains(&pages), "{pages} pages");
}
