//! Two namespaces of one release: names are unique over both, since callers name a provider without its namespace.

use std::time::Duration;

use serde_json::{Value, json};
use vestibule_tests::cluster::{Namespace, Release};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, LocalIssuer, is, within};

#[tokio::test]
async fn of_two_with_one_name_the_older_stands_and_the_newer_is_told() {
    let ours = Namespace::create("e2e-names");
    let others = Namespace::create("e2e-names-others");
    let watched = format!("watchNamespaces={{{},{}}}", ours.name, others.name);
    let release = Release::install(
        ours,
        &[
            "dataplane.plainHttp=true",
            "persistence.enabled=false",
            "operator.replicas=1",
            &watched,
        ],
    );
    let ours = &release.namespace;
    let (first, second) = (LocalIssuer::new(), LocalIssuer::new());
    let named = |number: &str| {
        let policy = with(policy(), "/metadata/name", format!("policy-{number}"));
        let issuer = format!("https://auth.example.com/{number}");
        with(policy, "/spec/token/issuer", issuer)
    };
    let of = |issuer: &LocalIssuer, number: &str| {
        let policy = format!("policy-{number}");
        with(issuer.provider(), "/spec/policyRef/name", policy)
    };
    ours.apply(&[named("one"), of(&first, "one")]).ok();
    ours.programmed(&["sip/policy-one", "oidcp/corp"]).await;

    others.apply(&[named("two"), of(&second, "two")]).ok();
    others.programmed(&["sip/policy-two"]).await;
    let told = ("Accepted", "False", "NameConflict");
    let message = others.condition("oidcp/corp", told.0, told.1, told.2).await;
    let older = format!("OidcProvider {}/corp is older", ours.name);
    assert!(message.contains(&older), "{message}");
    let note = others.event("oidcp/corp", "NameConflict").await;
    assert!(note.contains(&older), "{note}");
    others
        .condition("oidcp/corp", "Programmed", "False", "NotAccepted")
        .await;
    signs_in(&release, &first.id_token("alice"), "ok").await;
    let foreign = second.id_token("alice");
    signs_in(&release, &foreign, "token_key_unknown").await;

    // Mended by whoever has the name giving it up.
    ours.delete("oidcp/corp");
    others.programmed(&["oidcp/corp"]).await;
    others
        .condition("oidcp/corp", "Accepted", "True", "Accepted")
        .await;
    signs_in(&release, &foreign, "ok").await;
}

async fn signs_in(release: &Release, id_token: &str, code: &str) {
    let url = release.url("/auth/id-token/signin");
    let body: Value = json!({"id_token": id_token, "provider": "corp"});
    let (deadline, look_every) = (Duration::from_secs(60), Duration::from_millis(200));
    within(deadline, look_every, code, || async {
        let reply = Client::new().post(&url, &body).await;
        is(
            reply
                .map(|reply| reply.code())
                .map_err(|error| error.to_string()),
            Ok(code.to_owned()),
        )
    })
    .await
    .expect("it is as wanted");
}
