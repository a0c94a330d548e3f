use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::compile::{Inputs, compile};
use crate::manifests::{ManifestFile, read};

const NOW: i64 = 1_900_000_000;
const MANIFESTS: &str = "\
apiVersion: vestibule.dev/v1alpha1
kind: SigninPolicy
metadata: {name: default, namespace: auth}
spec:
  token: {issuer: https://auth.example.com, audiences: [internal]}
  signing: {managed: {algorithm: ES256}}
---
apiVersion: vestibule.dev/v1alpha1
kind: OidcProvider
metadata: {name: corp, namespace: auth}
spec: {issuer: https://idp.example, audiences: [web]}
";

fn published() -> Published {
    let file = ManifestFile {
        path: "a.yaml".to_owned(),
        text: MANIFESTS.to_owned(),
    };
    let (objects, errors) = read(&[file]);
    assert_eq!(errors, []);
    let inputs = Inputs {
        objects: objects.objects,
        ..Inputs::default()
    };
    let snapshot = compile(&inputs).snapshot;
    let source = snapshot.providers["auth/corp"].key_source_revision();
    Published {
        snapshot,
        seeds: BTreeMap::from([("auth/corp".to_owned(), seed(source, "k1"))]),
        proof_key: ProofKey::generate().expect("random bytes"),
    }
}

fn seed(source: Revision, kid: &str) -> Seed {
    Seed {
        source,
        jwks: json!({"keys": [{"kty": "EC", "kid": kid}]}),
        fetched_at: NOW,
    }
}

/// What does not compress.
fn noise(bytes: usize) -> String {
    let mut noise = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut noise).expect("random bytes");
    URL_SAFE_NO_PAD.encode(noise)
}

/// With so many seeds that several Secrets are needed.
fn published_in_parts() -> Published {
    let mut published = published();
    let source = published.snapshot.revision.clone();
    for number in 0..20 {
        let seed = seed(source.clone(), &noise(100_000));
        published.seeds.insert(format!("p{number}"), seed);
    }
    published
}

fn parts(packed: &Packed) -> Vec<Vec<u8>> {
    (0..packed.head.parts())
        .map(|part| {
            let name = secret_name(part);
            let secret = packed.secrets.iter().find(|secret| secret.name == name);
            secret.expect("a Secret for each part").data[&part_key(part)].clone()
        })
        .collect()
}

#[test]
fn what_is_packed_unpacks_to_the_same() {
    for published in [published(), published_in_parts()] {
        let packed = pack(&published, NOW).expect("it fits");
        let last = packed.secrets.last().expect("a Secret");
        assert_eq!(last.name, SECRET_NAME, "the head is written last");
        let head = Head::parse(&last.data[HEAD_KEY]).expect("a head");
        assert_eq!(head, packed.head);
        assert_eq!(head.unpack(&parts(&packed)), Ok(published));
    }
    assert!(
        pack(&published_in_parts(), NOW)
            .expect("it fits")
            .head
            .parts()
            > 1
    );
}

#[test]
fn equal_content_has_an_equal_digest_whenever_it_is_packed() {
    let published = published();
    let first = pack(&published, NOW).expect("it fits").head;
    let second = pack(&published, NOW + 60).expect("it fits").head;
    assert_eq!(first.digest, second.digest);
}

#[test]
fn a_part_of_another_write_is_seen() {
    let old = pack(&published_in_parts(), NOW).expect("it fits");
    let new = pack(&published_in_parts(), NOW).expect("it fits");
    let mut mixed = parts(&old);
    mixed[1] = parts(&new)[1].clone();
    assert_eq!(old.head.unpack(&mixed), Err(UnpackError::Torn(1)));
}

#[test]
fn a_part_that_is_missing_cut_or_changed_is_seen() {
    let packed = pack(&published_in_parts(), NOW).expect("it fits");
    let good = parts(&packed);
    assert_eq!(
        packed.head.unpack(&good[..1]),
        Err(UnpackError::PartMissing(1))
    );
    let mut cut = good.clone();
    cut[0].pop();
    assert_eq!(packed.head.unpack(&cut), Err(UnpackError::Torn(0)));
    let mut changed = good;
    changed[0][100] ^= 1;
    assert_eq!(packed.head.unpack(&changed), Err(UnpackError::Torn(0)));
}

#[test]
fn a_head_that_names_what_is_no_snapshot_is_refused() {
    let packed = pack(&published(), NOW).expect("it fits");
    for payload in [b"".to_vec(), b"not zstd".to_vec(), bomb()] {
        let head = Head {
            digest: Revision::of(&payload),
            parts: vec![Revision::of(&payload)],
            ..packed.head.clone()
        };
        assert_eq!(head.unpack(&[payload]), Err(UnpackError::Payload));
    }
    let other = Head {
        revision: Revision::of(b"another"),
        ..packed.head.clone()
    };
    assert_eq!(other.unpack(&parts(&packed)), Err(UnpackError::Revision));
}

/// A few kilobytes that unpack to more than is read.
fn bomb() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).expect("an encoder");
    let block = vec![b' '; 1024 * 1024];
    for _ in 0..=UNPACKED_BYTES_MAX / block.len() as u64 {
        encoder.write_all(&block).expect("it compresses");
    }
    encoder.finish().expect("it ends")
}

#[test]
fn a_head_that_is_not_understood_is_refused() {
    let head = pack(&published(), NOW).expect("it fits").head;
    let good = serde_json::to_value(&head).expect("JSON");
    let parse = |value: &Value| Head::parse(value.to_string().as_bytes());
    assert_eq!(parse(&good), Ok(head));
    for (name, value, error) in [
        ("packing", json!(2), UnpackError::Packing(2)),
        ("parts", json!([]), UnpackError::Head),
        (
            "parts",
            json!(vec![good["digest"].clone(); 17]),
            UnpackError::Head,
        ),
        ("publishedAt", json!("now"), UnpackError::Head),
        ("more", json!(1), UnpackError::Head),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert_eq!(parse(&bad), Err(error), "{name}");
    }
    assert_eq!(Head::parse(b"{"), Err(UnpackError::Head));
}

#[test]
fn seeds_that_do_not_fit_are_left_out() {
    let mut published = published();
    let source = published.snapshot.revision.clone();
    let large = noise(PARTS_MAX * PART_BYTES_MAX);
    published
        .seeds
        .insert("large".to_owned(), seed(source, &large));
    let packed = pack(&published, NOW).expect("without them it fits");
    assert!(packed.without_seeds);
    let unpacked = packed.head.unpack(&parts(&packed)).expect("it unpacks");
    assert_eq!(unpacked.seeds, Seeds::new());
    assert_eq!(unpacked.snapshot, published.snapshot);
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let mut published = published();
    let provider = Arc::make_mut(
        published
            .snapshot
            .providers
            .get_mut("auth/corp")
            .expect("corp"),
    );
    provider.display_name = Some(noise(PARTS_MAX * PART_BYTES_MAX));
    let Err(PackError::TooLarge { bytes }) = pack(&published, NOW) else {
        panic!("it does not fit");
    };
    assert!(bytes > PARTS_MAX * PART_BYTES_MAX);
}

#[test]
fn a_proof_counts_for_its_key_nonce_and_body_only() {
    let key = ProofKey::generate().expect("random bytes");
    let proof = key.prove("n1", b"body");
    assert!(key.verify("n1", b"body", &proof));
    assert!(!key.verify("n2", b"body", &proof));
    assert!(!key.verify("n1", b"bodies", &proof));
    assert!(!key.verify("n1", b"body", ""));
    let other = ProofKey::generate().expect("random bytes");
    assert!(!other.verify("n1", b"body", &proof));
    assert_eq!(format!("{key:?}"), "ProofKey([redacted])");
}

#[test]
fn what_an_earlier_version_published_by_name_alone_is_read() {
    let mut earlier = published();
    let named = |key: String| key.rsplit('/').next().unwrap_or_default().to_owned();
    let snapshot = &mut earlier.snapshot;
    snapshot.format = FORMAT_BY_NAME;
    snapshot.issuers.clear();
    let policies = std::mem::take(&mut snapshot.policies).into_iter();
    snapshot.policies = policies.map(|(key, policy)| (named(key), policy)).collect();
    let providers = std::mem::take(&mut snapshot.providers).into_iter();
    snapshot.providers = providers
        .map(|(key, provider)| (named(key), provider))
        .collect();
    let seeds = std::mem::take(&mut earlier.seeds).into_iter();
    earlier.seeds = seeds.map(|(key, seed)| (named(key), seed)).collect();

    let packed = pack(&earlier, 1).expect("it fits");
    let parts = parts(&packed);
    let read = packed.head.unpack(&parts).expect("it is read");
    let now = published();
    assert_eq!(
        read.snapshot.policies.keys().collect::<Vec<_>>(),
        now.snapshot.policies.keys().collect::<Vec<_>>()
    );
    assert_eq!(
        read.snapshot.providers.keys().collect::<Vec<_>>(),
        now.snapshot.providers.keys().collect::<Vec<_>>()
    );
    assert_eq!(read.seeds, now.seeds);
    assert_eq!(read.snapshot.format, crate::snapshot::FORMAT);
}
