//! `kill -9` at any moment: whatever was answered 200 is there afterwards.

use std::collections::HashMap;

use serde_json::json;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{Client, Load, LocalIssuer, Reply, Service};

const ROUNDS: usize = 10;
const CONNECTIONS: usize = 8;
/// Sign-ins of a round before the kill.
const SIGNINS: usize = 40;
/// Subjects that sign in again and again, in every round.
const REGULARS: usize = 5;

/// What the caller was told.
struct Told {
    subject: String,
    user: String,
    /// The refresh token to go on with.
    refresh: String,
    access: String,
}

#[tokio::test]
async fn everything_that_was_answered_is_there_after_a_kill_under_load_ten_times() {
    let issuer = std::sync::Arc::new(LocalIssuer::new());
    let mut builder = Service::builder().manifests("all.yaml", &[issuer.provider(), policy()]);
    let mut users: HashMap<String, String> = HashMap::new();
    let mut jwks = None;

    for round in 0..ROUNDS {
        let service = builder.start().await;
        let published = service.get("/jwks.json").await.json();
        let before = jwks.get_or_insert_with(|| published.clone());
        assert_eq!(
            *before, published,
            "round {round}: the managed keys are the same"
        );

        let (base, issuer_of_load) = (service.url(""), std::sync::Arc::clone(&issuer));
        let load = Load::start(CONNECTIONS, move |client, number| {
            // Every other sign-in is of somebody who has signed in before, or may have.
            let subject = match number % 2 {
                0 => format!("regular-{}", number / 2 % REGULARS),
                _ => format!("new-{round}-{number}"),
            };
            let id_token = issuer_of_load.id_token(&subject);
            let base = base.clone();
            async move { sign_in_and_refresh(&client, &base, subject, &id_token, number).await }
        });
        load.more(SIGNINS).await;
        builder = service.kill();
        let told: Vec<Told> = load.finish().await.into_iter().flatten().collect();
        assert!(
            told.len() >= SIGNINS,
            "round {round}: the load was answered"
        );

        let service = builder.start().await;
        for Told {
            subject,
            user,
            refresh,
            access,
        } in told
        {
            let known = users.entry(subject.clone()).or_insert_with(|| user.clone());
            assert_eq!(*known, user, "round {round}: {subject} is one user");
            let info = service.userinfo(&access).await;
            assert_eq!(
                info.code(),
                "ok",
                "round {round}: {subject}'s access token is good"
            );
            assert_eq!(info.text("id"), user);
            let refreshed = service.refresh(&refresh).await;
            assert_eq!(
                refreshed.code(),
                "ok",
                "round {round}: {subject}'s refresh token is good"
            );
            assert_eq!(refreshed.json()["user"]["id"], user.as_str());
        }
        // Who signed in before the kill is the same user after it.
        for number in 0..REGULARS {
            let subject = format!("regular-{number}");
            let again = service.signin(&issuer.id_token(&subject)).await;
            assert_eq!(again.code(), "ok");
            let id = &again.json()["user"]["id"];
            assert_eq!(
                id.as_str(),
                users.get(&subject).map(String::as_str),
                "{subject}"
            );
        }
        builder = service.kill();
    }
}

/// `None` when the service was killed meanwhile. Every third one refreshes once, so that rotations are under way as well.
async fn sign_in_and_refresh(
    client: &Client,
    base: &str,
    subject: String,
    id_token: &str,
    number: usize,
) -> Option<Told> {
    let url = format!("{base}/auth/id-token/signin");
    let reply = answered(client.post(&url, &json!({"id_token": id_token})).await)?;
    let mut told = Told {
        subject,
        user: reply.json()["user"]["id"].as_str()?.to_owned(),
        refresh: reply.text("refresh_token"),
        access: reply.text("access_token"),
    };
    if number.is_multiple_of(3) {
        let body = json!({"refresh_token": told.refresh});
        let url = format!("{base}/auth/token/refresh");
        // Whether an unanswered rotation happened is not known; inside the grace the old token works either way.
        if let Some(reply) = answered(client.post(&url, &body).await) {
            told.refresh = reply.text("refresh_token");
            told.access = reply.text("access_token");
        }
    }
    Some(told)
}

/// A connection that broke off has promised nothing; an answer must be a 200.
fn answered(reply: anyhow::Result<Reply>) -> Option<Reply> {
    let reply = reply.ok()?;
    assert_eq!(reply.code(), "ok", "{}", reply.body);
    Some(reply)
}
