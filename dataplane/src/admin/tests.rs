use serde_json::json;
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::issuer::HttpIssuers;
use vestibule_crds::publication::{ProofKey, Published, Seed, Seeds};
use vestibule_crds::report::{DiscoveryReport, KeysState, RefusedObject};
use vestibule_crds::snapshot::{KeySource, Provider, Revision};

use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::runtime_config::RuntimeConfig;
use crate::testing::{self, NOW};
use vestibule_store::sqlite::{SqliteOptions, SqliteStore};

fn app(directory: &tempfile::TempDir) -> App {
    let clock = Clock::set_to(NOW);
    let store = SqliteStore::open(&directory.path().join("s.db"), SqliteOptions::default());
    let runtime_config = RuntimeConfig::empty(HttpIssuers::Refuse, clock.clone());
    App::new(
        runtime_config,
        store.expect("it opens").into(),
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
        .runtime_config
        .serve_published(published, Revision::of(b"publication"));
    assert_eq!(served, Ok(true));
    proof_key
}

async fn body(answer: Answer) -> Bytes {
    use http_body_util::BodyExt as _;
    let body = answer.into_body().collect().await;
    body.expect("a whole body").to_bytes()
}

const POD: &str = "vestibule-dataplane-0";

fn admin(directory: &tempfile::TempDir) -> Admin {
    let token = directory.path().join("token");
    std::fs::write(&token, "0123456789abcdef").expect("a file");
    let admin = Admin::with_token_file(Some(token)).of_pod(Some(POD.to_owned()));
    admin.set_refusals(Refusals {
        count: 1,
        objects: vec![RefusedObject {
            kind: "OidcProvider".to_owned(),
            namespace: "shop".to_owned(),
            name: "corp".to_owned(),
            reason: "Invalid".to_owned(),
            message: "spec.issuer: no".to_owned(),
        }],
        error: Some("shop/corp".to_owned()),
    });
    admin
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    let value = HeaderValue::try_from(value).expect("text");
    HeaderMap::from_iter([(http::HeaderName::from_static(name), value)])
}

async fn said(answer: Answer) -> (RevisionReport, Bytes) {
    let body = body(answer).await;
    (serde_json::from_slice(&body).expect("a report"), body)
}

#[tokio::test]
async fn details_are_for_the_operator_and_the_administrator_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (app, admin) = (app(&directory), admin(&directory));
    let key = publish(&app, vec![remote_provider("one")], Seeds::new());
    let uri = Uri::from_static("/revision?nonce=abc");
    let of_operator = key.prove_question(POD, "/revision?nonce=abc");
    let operator = headers(QUESTION_PROOF_HEADER, &of_operator);
    let administrator = headers("authorization", "Bearer 0123456789abcdef");
    for (headers, is_let_in) in [
        (HeaderMap::new(), false),
        (headers("authorization", "Bearer 0123456789abcdeX"), false),
        (headers(QUESTION_PROOF_HEADER, "AAAA"), false),
        (operator.clone(), true),
        (administrator.clone(), true),
    ] {
        let (said, _) = said(reveal_revision(&app, &admin, &uri, &headers)).await;
        assert_eq!(said.digest, Some(Revision::of(b"publication")));
        assert_eq!(said.refused.count, 1);
        assert_eq!(said.refused.objects.len(), usize::from(is_let_in));
        let error = said.refused.error.expect("there is one");
        assert_eq!(error == "shop/corp", is_let_in, "{error}");
        let discovery = Uri::from_static("/discovery?since=0&nonce=abc");
        let answer = reveal_discovery(&app, &admin, &discovery, &headers);
        let is_administrator = headers == administrator;
        let wanted = if is_administrator { 200 } else { 401 };
        assert_eq!(answer.status(), wanted, "the proof is of another path");
    }
    let path = "/discovery?since=0&nonce=abc";
    let proof = headers(QUESTION_PROOF_HEADER, &key.prove_question(POD, path));
    let answer = reveal_discovery(&app, &admin, &path.parse().expect("a URI"), &proof);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_proof_of_one_pod_or_path_is_none_of_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let (app, admin) = (app(&directory), admin(&directory));
    let key = publish(&app, Vec::new(), Seeds::new());
    let path = "/revision?nonce=abc";
    let uri = Uri::from_static("/revision?nonce=abc");
    let of_other_pod = headers(QUESTION_PROOF_HEADER, &key.prove_question("other", path));
    let answer = reveal_revision(&app, &admin, &uri, &of_other_pod);
    assert_eq!(answer.headers().get(ANSWER_PROOF_HEADER), None);
    let of_other_nonce = key.prove_question(POD, "/revision?nonce=abd");
    let of_other_nonce = headers(QUESTION_PROOF_HEADER, &of_other_nonce);
    let answer = reveal_revision(&app, &admin, &uri, &of_other_nonce);
    assert_eq!(answer.headers().get(ANSWER_PROOF_HEADER), None);

    let question = headers(QUESTION_PROOF_HEADER, &key.prove_question(POD, path));
    let answer = reveal_revision(&app, &admin, &uri, &question);
    let proof = answer.headers()[ANSWER_PROOF_HEADER]
        .to_str()
        .expect("text");
    let proof = proof.to_owned();
    let body = body(answer).await;
    assert!(key.verify_answer(POD, path, &body, &proof));
    assert!(!key.verify_answer("other", path, &body, &proof));
    assert!(!key.verify_answer(POD, "/discovery?nonce=abc", &body, &proof));
    assert!(!key.verify_answer(POD, "/revision?nonce=abd", &body, &proof));
    assert!(
        !key.verify_question(POD, path, &proof),
        "an answer is no question"
    );
    assert!(
        !key.verify("abc", &body, &proof),
        "nor what an earlier version asked for"
    );
}

#[tokio::test]
async fn an_operator_of_an_earlier_version_reads_a_proof_without_details() {
    let directory = tempfile::tempdir().expect("a directory");
    let (app, admin) = (app(&directory), admin(&directory));
    let uri = Uri::from_static("/revision?nonce=abc");
    let nobody = HeaderMap::new();
    let unproved = reveal_revision(&app, &admin, &uri, &nobody);
    assert_eq!(
        unproved.headers().get(PROOF_HEADER),
        None,
        "nothing published"
    );

    let key = publish(&app, Vec::new(), Seeds::new());
    let answer = reveal_revision(&app, &admin, &uri, &nobody);
    let proof = answer.headers()[PROOF_HEADER].to_str().expect("text");
    let proof = proof.to_owned();
    let (said, body) = said(answer).await;
    assert!(key.verify("abc", &body, &proof));
    assert!(!key.verify("abd", &body, &proof));
    assert_eq!(said.refused.objects, []);
    for uri in [
        "/revision".to_owned(),
        format!("/revision?nonce={}", "a".repeat(200)),
    ] {
        let uri: Uri = uri.parse().expect("a URI");
        let answer = reveal_revision(&app, &admin, &uri, &nobody);
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
    app.runtime_config
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
