//! A disk that is full and then is not, under a running service.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use vestibule_tests::e2e::manifests::policy;
use vestibule_tests::e2e::{LocalIssuer, Service, eventually, is};

/// A file system of its own, small enough to fill. Mounting wants privileges that not everybody has.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
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
    let Some(disk) = SmallDisk::mount() else {
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
