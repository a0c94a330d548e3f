//! Two namespaces of one release: names belong to their namespace, and a name alone means the
//! release's own.

use std::time::Duration;

use serde_json::{Value, json};
use vestibule_tests::cluster::{Namespace, Release};
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Client, LocalIssuer, is, within};

#[tokio::test]
async fn two_namespaces_use_one_name_and_a_name_alone_is_the_own_one() {
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
    others.programmed(&["sip/policy-two", "oidcp/corp"]).await;
    let (our_name, other_name) = (
        format!("{}/corp", ours.name),
        format!("{}/corp", others.name),
    );
    signs_in(&release, &our_name, &first.id_token("alice"), "ok").await;
    signs_in(&release, &other_name, &second.id_token("alice"), "ok").await;
    // The name alone is that of the release's own namespace, and each one's tokens mean nothing to
    // the other.
    signs_in(&release, "corp", &first.id_token("alice"), "ok").await;
    let foreign = second.id_token("alice");
    signs_in(&release, &our_name, &foreign, "token_key_unknown").await;

    ours.delete("oidcp/corp");
    signs_in(&release, "corp", &foreign, "ok").await;
    signs_in(&release, &our_name, &foreign, "provider_unknown").await;
}

async fn signs_in(release: &Release, provider: &str, id_token: &str, code: &str) {
    let url = release.url("/auth/id-token/signin");
    let body: Value = json!({"id_token": id_token, "provider": provider});
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
