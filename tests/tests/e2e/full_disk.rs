//! A disk that is full and then is not, under a running service.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_tests::e2e::manifests::{policy, with};
use vestibule_tests::e2e::{Load, LocalIssuer, Service, eventually, is};

/// Refused requests of a flood; the service answers thousands of them in a second.
const FLOOD: usize = 5000;
const MIB: u64 = 1024 * 1024;

/// Whose rate limit no flood of one address meets.
fn patient_policy() -> Value {
    with(policy(), "/spec/limits/failuresPerIpPerMinute", 1_000_000)
}

/// Sends junk from several connections until the load is ended.
fn junk(service: &Service) -> Load<u16> {
    let url = service.url("/auth/id-token/signin");
    Load::start(8, move |client, number| {
        let url = url.clone();
        async move {
            let body = json!({"id_token": format!("junk-{number}"), "provider": "corp"});
            client
                .post(&url, &body)
                .await
                .map_or(0, |reply| reply.status)
        }
    })
}

/// A file system of its own, small enough to fill. Mounting wants privileges that not everybody has.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn fill(&self) {
        let mut filler = File::create(self.path().join("filler")).expect("it can be made");
        while filler.write_all(&[0; 1024]).is_ok() {}
    }

    fn fill_with(&self, bytes: usize) {
        fs::write(self.path().join("filler"), vec![0; bytes]).expect("it fits");
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: it must go even when somebody still has a file open.
        let _gone = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_503_and_a_free_one_is_200_again() {
    let Some(disk) = SmallDisk::mount("1m") else {
        vestibule_tests::skip("cargo", "a small disk cannot be mounted here");
        return;
    };
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), policy()])
        .data(&disk.path().join("data"))
        .start()
        .await;
    let before = service.signin(&issuer.id_token("alice")).await;
    assert_eq!(before.code(), "ok");

    disk.fill();
    let mut number = 0;
    let refused = eventually("a sign-in cannot be kept", || {
        // The log has some room left, which new users fill.
        number += 1;
        let token = issuer.id_token(&format!("user-{number}"));
        let service = &service;
        async move {
            let reply = service.signin(&token).await;
            if reply.status == 200 {
                Err("it was kept")
            } else {
                Ok(reply)
            }
        }
    })
    .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "store_unavailable")
    );
    assert!(refused.retry_after() >= 1);
    service.logs("no space is left").await;
    eventually("/readyz says so", || async {
        is(service.admin_get("/readyz").await.status, 503)
    })
    .await;
    assert_eq!(service.admin_get("/healthz").await.status, 200);

    disk.free();
    eventually("it recovers by itself", || async {
        is(service.admin_get("/readyz").await.status, 200)
    })
    .await;
    assert_eq!(service.signin(&issuer.id_token("bob")).await.code(), "ok");
    let refreshed = service.refresh(&before.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "ok", "what was answered before is there");
    service.logs("can be written to again").await;
}

#[tokio::test]
async fn a_flood_of_junk_fills_no_disk_and_every_sign_in_is_in_the_audit_trail() {
    let Some(disk) = SmallDisk::mount("16m") else {
        vestibule_tests::skip("cargo", "a small disk cannot be mounted here");
        return;
    };
    let issuer = LocalIssuer::new();
    let data = disk.path().join("data");
    let audit = disk.path().join("audit.jsonl");
    let mut argument = std::ffi::OsString::from("--audit-log=");
    argument.push(&audit);
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), patient_policy()])
        .data(&data)
        .argument(argument)
        .start()
        .await;
    let load = junk(&service);
    let mut signed_in = 0;
    for number in 0..100 {
        let token = issuer.id_token(&format!("user-{number}"));
        assert_eq!(service.signin(&token).await.code(), "ok");
        signed_in += 1;
        load.more(FLOOD / 100).await;
    }
    let refused = load.finish().await;
    assert!(refused.iter().all(|status| *status == 401), "{refused:?}");
    let aggregated = service
        .metric("vestibule_audit_events_aggregated_total ")
        .await;
    assert!(aggregated > 0.9 * FLOOD as f64, "{aggregated}");
    let dropped = "vestibule_audit_events_dropped_total ";
    assert_eq!(service.metric(dropped).await, 0.0);
    assert!(service.stop().await.success());

    let lines = fs::read_to_string(&audit).expect("it is written");
    assert!(lines.len() < 100_000, "{} bytes", lines.len());
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON");
    let counts = |outcome: &str| -> Vec<u64> {
        let lines = lines.iter().filter(|line| line["outcome"] == outcome);
        lines
            .map(|line| line["count"].as_u64().unwrap_or(1))
            .collect()
    };
    assert_eq!(counts("ok"), vec![1; signed_in]);
    let of_junk = counts("token_malformed");
    assert!(of_junk.len() < 50, "{of_junk:?}");
    assert_eq!(of_junk.iter().sum::<u64>(), refused.len() as u64);
    let used: u64 = fs::read_dir(&data)
        .expect("it is there")
        .map(|file| {
            file.and_then(|file| file.metadata())
                .map_or(0, |file| file.len())
        })
        .sum();
    assert!(used < 8 * MIB, "{used} bytes");
}

#[tokio::test]
async fn refusals_leave_the_last_of_a_disk_to_sign_ins() {
    let Some(disk) = SmallDisk::mount("64m") else {
        vestibule_tests::skip("cargo", "a small disk cannot be mounted here");
        return;
    };
    let issuer = LocalIssuer::new();
    let service = Service::builder()
        .manifests("all.yaml", &[issuer.provider(), patient_policy()])
        .data(&disk.path().join("data"))
        .start()
        .await;
    let dropped = "vestibule_audit_events_dropped_total ";
    assert_eq!(service.signin("junk").await.code(), "token_malformed");
    assert_eq!(service.metric(dropped).await, 0.0);
    // Less than an eighth is left.
    disk.fill_with(58 * 1024 * 1024);
    eventually("refusals are no longer written", || async {
        // By its provider, so that it is held to the patient policy.
        let junk = serde_json::json!({"id_token": "junk", "provider": "corp"});
        let reply = service.post("/auth/id-token/signin", &junk).await;
        assert_eq!(reply.status, 401);
        if service.metric(dropped).await > 0.0 {
            Ok(())
        } else {
            Err("they are")
        }
    })
    .await;
    for number in 0..20 {
        let token = issuer.id_token(&format!("user-{number}"));
        assert_eq!(service.signin(&token).await.code(), "ok");
    }
}
