//! The API server refuses what our own schema checker refuses, at the same field, and takes what that takes.

use serde_json::{Value, json};
use vestibule_crds::object::Kind;
use vestibule_crds::schema::{definition, validate};
use vestibule_tests::cluster::kubectl::kubectl_reading;
use vestibule_tests::cluster::{Namespace, bulk};

use crate::cases::{Case, cases, valid};
use crate::shared::shared;

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made above").remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn changed(kind: Kind, patch: &Value) -> Value {
    let mut object = valid(kind);
    merge(&mut object, patch);
    object
}

#[tokio::test]
async fn the_api_server_and_our_own_checker_agree_on_every_rule() {
    let _crds = shared();
    let namespace = Namespace::create("e2e-validation");
    let (namespace, client) = (&namespace, bulk::client().await);
    // The API server has an own sentence for it, about the path of the request.
    let cases = cases()
        .into_iter()
        .filter(|case| case.field != "metadata.namespace");
    let disagreements = bulk::each(cases, |case| {
        let api = bulk::api(&client, case.kind, &namespace.name);
        let client = &client;
        async move {
            let taken = namespace.own(&changed(case.kind, &case.accepted));
            let refused = namespace.own(&changed(case.kind, &case.refused));
            [
                bulk::dry_run(client, &api, &taken)
                    .await
                    .err()
                    .map(|said| format!("{}: refused: {said}", case.rule)),
                disagreement(&case, &refused, bulk::dry_run(client, &api, &refused).await),
            ]
        }
    })
    .await;
    let disagreements: Vec<String> = disagreements.into_iter().flatten().flatten().collect();
    assert_eq!(disagreements, Vec::<String>::new());
}

/// The answer must name the field, and repeat the sentence of a CEL rule.
fn disagreement(case: &Case, refused: &Value, answer: Result<(), String>) -> Option<String> {
    let Err(said) = answer else {
        return Some(format!("{}: taken", case.rule));
    };
    let errors = validate(case.kind, refused).err().unwrap_or_default();
    let sentences = sentences(case.kind);
    let missing = errors
        .iter()
        .map(|error| error.message.as_str())
        .filter(|message| sentences.iter().any(|sentence| sentence == message))
        .find(|message| !said.contains(message));
    if let Some(missing) = missing {
        return Some(format!("{}: {missing:?} is not in {said:?}", case.rule));
    }
    (!said.contains(case.field))
        .then(|| format!("{}: {} is not in {said:?}", case.rule, case.field))
}

/// The messages of all CEL rules of a kind.
fn sentences(kind: Kind) -> Vec<String> {
    let mut found = Vec::new();
    let schema = serde_json::to_value(definition(kind)).expect("a definition is plain data");
    collect(&schema, &mut found);
    found
}

fn collect(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            let rules = members
                .get("x-kubernetes-validations")
                .and_then(Value::as_array);
            let messages = rules
                .into_iter()
                .flatten()
                .filter_map(|rule| rule["message"].as_str());
            found.extend(messages.map(str::to_owned));
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[test]
fn a_person_reads_the_sentence_of_the_rule() {
    let namespace = shared().namespace();
    let mut policy = namespace.own(&valid(Kind::SigninPolicy));
    policy["spec"]["risk"] = json!({"thresholds": {"medium": 70, "high": 30}});
    let line = format!(
        "apply --dry-run=server --namespace {} --filename -",
        namespace.name
    );
    let said = kubectl_reading(&line, &policy.to_string()).refused();
    assert!(said.contains("medium must be less than high"), "{said}");
    let mut provider = namespace.own(&valid(Kind::OidcProvider));
    provider["spec"]["audience"] = json!(["web"]);
    let said = kubectl_reading(&line, &provider.to_string()).refused();
    assert!(said.contains("unknown field \"spec.audience\""), "{said}");
}
