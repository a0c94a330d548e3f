//! Manifests that change while they are served, in every way that files change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_crds::algorithm::SigningAlgorithm;
use vestibule_crds::signing_key::SigningKey;
use vestibule_tests::e2e::manifests::{file, policy, secret, with};
use vestibule_tests::e2e::{Load, LocalIssuer, Service, eventually, is};

const RELOADS: usize = 50;
const CONNECTIONS: usize = 8;

/// A service that serves `corp.yaml` and `policy.yaml`.
async fn start(issuer: &LocalIssuer) -> Service {
    Service::builder()
        .manifests("corp.yaml", &[issuer.provider()])
        .manifests("policy.yaml", &[policy()])
        .start()
        .await
}

/// The provider's manifest with another name for people, which is another revision.
fn renamed(issuer: &LocalIssuer, name: &str) -> String {
    file(&[with(issuer.provider(), "/spec/displayName", name)])
}

fn suspended(issuer: &LocalIssuer) -> String {
    file(&[with(issuer.provider(), "/spec/suspended", true)])
}

/// As an editor and `mv` do it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("it can be written");
    fs::rename(new, path).expect("it can be renamed");
}

async fn code_of_signin(service: &Service, issuer: &LocalIssuer) -> String {
    service.signin(&issuer.id_token("alice")).await.code()
}

/// Waits until a sign-in ends like this.
async fn signin_becomes(service: &Service, issuer: &LocalIssuer, code: &str) {
    eventually(&format!("a sign-in answers {code}"), || async {
        is(code_of_signin(service, issuer).await, code.to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_replaced_by_rename_takes_effect() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    assert_eq!(code_of_signin(&service, &issuer).await, "ok");
    let path = service.builder.directory().join("corp.yaml");
    replace(&path, &suspended(&issuer));
    signin_becomes(&service, &issuer, "provider_suspended").await;
    replace(&path, &file(&[issuer.provider()]));
    signin_becomes(&service, &issuer, "ok").await;
}

#[tokio::test]
async fn a_file_that_is_written_in_place_takes_effect() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let path = service.builder.directory().join("corp.yaml");
    fs::write(&path, suspended(&issuer)).expect("it can be written");
    signin_becomes(&service, &issuer, "provider_suspended").await;
    fs::write(&path, file(&[issuer.provider()])).expect("it can be written");
    signin_becomes(&service, &issuer, "ok").await;
}

#[tokio::test]
async fn kubernetes_swap_of_a_symbolic_link_takes_effect() {
    let issuer = LocalIssuer::new();
    let builder = Service::builder();
    let directory = builder.directory();
    // A mounted ConfigMap: the files are links through `..data`, which is a link to the current version.
    let version = |name: &str, text: &str| {
        let version = directory.join(name);
        fs::create_dir(&version).expect("it can be made");
        fs::write(version.join("auth.yaml"), text).expect("it can be written");
        symlink(name, directory.join("..data_tmp")).expect("it can be linked");
        fs::rename(directory.join("..data_tmp"), directory.join("..data"))
            .expect("it can be renamed");
    };
    version("..2026_01", &file(&[issuer.provider(), policy()]));
    symlink("..data/auth.yaml", directory.join("auth.yaml")).expect("it can be linked");
    let service = builder.start().await;
    assert_eq!(code_of_signin(&service, &issuer).await, "ok");

    let suspended = with(issuer.provider(), "/spec/suspended", true);
    version("..2026_02", &file(&[suspended, policy()]));
    fs::remove_dir_all(directory.join("..2026_01")).expect("it can be removed");
    signin_becomes(&service, &issuer, "provider_suspended").await;
    assert_eq!(
        service.revision().await["providers"],
        1,
        "what is behind the link counts once"
    );
}

#[tokio::test]
async fn a_file_that_is_half_written_is_waited_for() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let before = service.revision().await;
    let path = service.builder.directory().join("corp.yaml");
    let text = renamed(&issuer, "Corporation");
    let (first, _) = text.split_at(text.len() / 2);
    for _ in 0..10 {
        // Each half begins the wait anew; the good version serves meanwhile.
        fs::write(&path, first).expect("it can be written");
        assert_eq!(code_of_signin(&service, &issuer).await, "ok");
        let now = service.revision().await;
        assert_eq!(now, before, "nothing changed, and nothing is complained of");
    }
    fs::write(&path, &text).expect("it can be written");
    let after = service.serves_another_than(&before).await;
    assert_eq!(after["refused"]["count"], 0);
    assert_eq!(after["refused"]["error"], Value::Null);
    assert!(
        !service.log().contains("corp.yaml"),
        "no complaint was logged: {}",
        service.log()
    );
}

#[tokio::test]
async fn a_file_that_stays_broken_is_told_and_its_last_good_version_serves_on() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let path = service.builder.directory().join("corp.yaml");
    replace(
        &path,
        "apiVersion: vestibule.dev/v1alpha1\nkind: [OidcProvider\n",
    );
    eventually("/revision tells of the file", || async {
        let refused = service.revision().await["refused"].clone();
        let error = refused["error"].as_str().unwrap_or_default();
        if error.contains("corp.yaml") {
            Ok(())
        } else {
            Err(refused)
        }
    })
    .await;
    service.logs("corp.yaml").await;
    assert_eq!(code_of_signin(&service, &issuer).await, "ok");
    assert_eq!(service.admin_get("/readyz").await.status, 200);

    replace(&path, &suspended(&issuer));
    signin_becomes(&service, &issuer, "provider_suspended").await;
    eventually("the complaint is over", || async {
        is(
            service.revision().await["refused"]["error"].clone(),
            Value::Null,
        )
    })
    .await;
}

#[tokio::test]
async fn an_object_that_does_not_compile_is_told_and_its_last_good_version_serves_on() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let path = service.builder.directory().join("corp.yaml");
    let broken = with(
        issuer.provider(),
        "/spec/claims/mapping/groups",
        "claims.roles.map(",
    );
    replace(&path, &file(&[broken]));
    let refused = eventually("/revision tells of the object", || async {
        let refused = service.revision().await["refused"].clone();
        if refused["count"] == 1 {
            Ok(refused)
        } else {
            Err(refused)
        }
    })
    .await;
    let object = &refused["objects"][0];
    assert_eq!(
        (object["kind"].as_str(), object["name"].as_str()),
        (Some("OidcProvider"), Some("corp"))
    );
    assert_eq!(object["reason"], "ExpressionInvalid");
    assert!(
        object["message"]
            .as_str()
            .is_some_and(|message| message.contains("spec.claims.mapping.groups"))
    );
    service.logs("its last good version is still served").await;
    assert_eq!(code_of_signin(&service, &issuer).await, "ok");

    replace(&path, &suspended(&issuer));
    signin_becomes(&service, &issuer, "provider_suspended").await;
    assert_eq!(service.revision().await["refused"]["count"], 0);
}

#[tokio::test]
async fn deletion_and_suspension_end_sign_in_and_refresh_at_once() {
    let issuer = LocalIssuer::new();
    let service = start(&issuer).await;
    let path = service.builder.directory().join("corp.yaml");
    let mut refresh = Vec::new();
    for _ in 0..3 {
        refresh.push(
            service
                .signin(&issuer.id_token("alice"))
                .await
                .text("refresh_token"),
        );
    }
    assert_eq!(service.refresh(&refresh[0]).await.code(), "ok");

    replace(&path, &suspended(&issuer));
    signin_becomes(&service, &issuer, "provider_suspended").await;
    assert_eq!(
        service.refresh(&refresh[1]).await.code(),
        "provider_suspended"
    );

    fs::remove_file(&path).expect("it is there");
    signin_becomes(&service, &issuer, "provider_required").await;
    let named = json!({"id_token": issuer.id_token("alice"), "provider": "corp"});
    assert_eq!(
        service.post("/auth/id-token/signin", &named).await.code(),
        "provider_unknown"
    );
    assert_ne!(service.refresh(&refresh[2]).await.status, 200);
}

#[tokio::test]
async fn fifty_reloads_under_load_fail_not_one_request() {
    let issuer = Arc::new(LocalIssuer::new());
    let service = start(&issuer).await;
    let path = service.builder.directory().join("corp.yaml");
    let (of_load, base) = (Arc::clone(&issuer), service.url(""));
    let load = Load::start(CONNECTIONS, move |client, number| {
        let id_token = of_load.id_token(&format!("user-{}", number % 1000));
        let base = base.clone();
        async move {
            let url = format!("{base}/auth/id-token/signin");
            let signed_in = client.post(&url, &json!({"id_token": id_token})).await;
            let signed_in = signed_in.expect("the service answers");
            if signed_in.status != 200 {
                return signed_in;
            }
            let body = json!({"refresh_token": signed_in.text("refresh_token")});
            let url = format!("{base}/auth/token/refresh");
            client.post(&url, &body).await.expect("the service answers")
        }
    });
    let mut revision = service.revision().await;
    for reload in 0..RELOADS {
        replace(&path, &renamed(&issuer, &format!("Corp {reload}")));
        revision = service.serves_another_than(&revision).await;
    }
    load.more(CONNECTIONS).await;
    let replies = load.finish().await;
    assert!(replies.len() > RELOADS, "{} requests", replies.len());
    let failed: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}",
        failed.len(),
        replies.len(),
        failed.first()
    );
    let reloads = service
        .metric("vestibule_reloads_total{outcome=\"ok\"}")
        .await;
    assert!(reloads >= RELOADS as f64, "{reloads} reloads");
}

#[tokio::test]
async fn a_new_signing_key_signs_at_once_and_the_old_one_stays_published_as_long_as_it_is_listed() {
    let made = || {
        let pem = SigningKey::generate(SigningAlgorithm::ES256).expect("a key can be made");
        let kid = SigningKey::parse(&pem, None)
            .expect("a made key reads back")
            .kid;
        (pem, kid)
    };
    let ((old, old_kid), (new, new_kid)) = (made(), made());
    let refs = |names: &[&str]| {
        let refs: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "key": "tls.key"}))
            .collect();
        let signing = json!({"secretRefs": refs});
        file(&[with(policy(), "/spec/signing", signing)])
    };
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("corp.yaml", &[issuer.provider()])
        .file("policy.yaml", &refs(&["old"]))
        .manifests("old.yaml", &[secret("old", "tls.key", old.expose())])
        .start()
        .await;
    let published = async || {
        let keys = service.get("/jwks.json").await.json()["keys"].clone();
        let kids = keys
            .as_array()
            .expect("a list")
            .iter()
            .map(|key| key["kid"].clone());
        kids.collect::<Vec<Value>>()
    };
    let signed_by = async || {
        let token = service
            .signin(&issuer.id_token("alice"))
            .await
            .text("access_token");
        let header = token.split('.').next().unwrap_or_default().to_owned();
        (token, kid_of(&header))
    };
    let (before, kid) = signed_by().await;
    assert_eq!(kid, old_kid);

    // The policy comes before its Secret: it is refused until that is there, and what was served serves on.
    let directory = service.builder.directory();
    replace(&directory.join("policy.yaml"), &refs(&["new", "old"]));
    service.logs("RefNotFound").await;
    assert_eq!(signed_by().await.1, old_kid);
    replace(
        &directory.join("new.yaml"),
        &file(&[secret("new", "tls.key", new.expose())]),
    );
    eventually("the new key is published", || async {
        is(published().await.len(), 2)
    })
    .await;
    assert_eq!(published().await, [json!(new_kid), json!(old_kid)]);
    assert_eq!(signed_by().await.1, new_kid);
    assert_eq!(
        service.userinfo(&before).await.code(),
        "ok",
        "the old key still verifies"
    );

    replace(&directory.join("policy.yaml"), &refs(&["new"]));
    eventually("the old key is gone", || async {
        is(published().await.len(), 1)
    })
    .await;
    assert_eq!(
        service.userinfo(&before).await.code(),
        "access_token_invalid"
    );
    assert_eq!(signed_by().await.1, new_kid);
}

fn kid_of(header: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = URL_SAFE_NO_PAD.decode(header).expect("it is base64url");
    let header: Value = serde_json::from_slice(&header).expect("it is JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}
