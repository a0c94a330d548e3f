//! Wycheproof's JWS and JWK vectors, each through the service's own way of reading a key, a token and a signature.
//!
//! The vectors are read from the folder that `WYCHEPROOF_DIR` names. What deviates from them on purpose stands in
//! [`DEVIATIONS`], with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::verification_key::KeySet;
use vestibule_idtoken::keys::ProviderKeys;
use vestibule_idtoken::keys::{Fetching, check_signature};
use vestibule_idtoken::token::Jws;

/// Why valid vectors are refused on purpose, and which.
type Deviation = (&'static str, fn(&Vector) -> bool);

const DEVIATIONS: &[Deviation] = &[
    (
        "symmetric algorithms are never accepted: an ID token is verified with public keys",
        |vector| vector.keys().iter().any(|key| key["kty"] == "oct"),
    ),
    (
        "P-521 (ES512) is not among the algorithms that a provider may be configured with",
        |vector| vector.keys().iter().any(|key| key["crv"] == "P-521"),
    ),
    (
        "the key declares PS256 and the token is PS384: a key verifies only what it declares (RFC 8725, 3.1)",
        |vector| {
            let header = Jws::parse(&vector.jws).map(|jws| jws.header.algorithm);
            header == Ok(Some(Algorithm::PS384))
                && vector.keys().iter().all(|key| key["alg"] == "PS256")
        },
    ),
];

/// One test case with the key or keys that it is to be verified with.
struct Vector {
    name: String,
    keys: Value,
    jws: String,
    valid: bool,
}

impl Vector {
    fn keys(&self) -> &[Value] {
        self.keys["keys"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The service's own path: key set, token, key by `kid` and algorithm, signature.
    async fn is_accepted(&self) -> bool {
        let Ok(keys) = KeySet::parse(&self.keys, &Algorithm::ALL) else {
            return false;
        };
        let Ok(jws) = Jws::parse(&self.jws) else {
            return false;
        };
        check_signature(&ProviderKeys::Static(keys), &jws, Fetching::Allowed)
            .await
            .is_ok()
    }
}

fn vectors(file: &str) -> Option<Vec<Vector>> {
    let Some(folder) = std::env::var_os("WYCHEPROOF_DIR") else {
        vestibule_tests::skip("cargo", "WYCHEPROOF_DIR is not set");
        return None;
    };
    let path = PathBuf::from(folder).join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let document: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    let mut vectors = Vec::new();
    for group in document["testGroups"].as_array().expect("groups") {
        let key = group.get("public").unwrap_or(&group["private"]);
        let keys = if key.get("keys").is_some() {
            key.clone()
        } else {
            json!({"keys": [key]})
        };
        for test in group["tests"].as_array().expect("tests") {
            let (id, comment) = (&test["tcId"], &test["comment"]);
            vectors.push(Vector {
                name: format!("{file} {id} {} {comment}", group["comment"]),
                keys: keys.clone(),
                jws: test["jws"].as_str().expect("a JWS").to_owned(),
                valid: test["result"] == "valid",
            });
        }
    }
    let number = document["numberOfTests"].as_u64();
    assert_eq!(Some(vectors.len() as u64), number);
    Some(vectors)
}

async fn run(file: &str) {
    let Some(vectors) = vectors(file) else {
        return;
    };
    let (mut wrong, mut deviating) = (Vec::new(), BTreeMap::new());
    for vector in &vectors {
        let accepted = vector.is_accepted().await;
        let reason = DEVIATIONS.iter().find(|(_, applies)| applies(vector));
        match (vector.valid, accepted, reason) {
            (true, false, Some((reason, _))) => *deviating.entry(reason).or_insert(0) += 1,
            (valid, accepted, _) if valid != accepted => wrong.push(&vector.name),
            _ => {}
        }
    }
    println!(
        "{file}: {} vectors, refused on purpose: {deviating:?}",
        vectors.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_signature_vector_is_judged_as_it_should_be() {
    run("json_web_signature_test.json").await;
}

#[tokio::test]
async fn every_key_vector_is_judged_as_it_should_be() {
    run("json_web_key_test.json").await;
}
