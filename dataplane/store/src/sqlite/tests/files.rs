//! The file: private, held by one process, and refused with a clear sentence where it cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::conformance::rows::*;
use crate::sqlite::OpenError;

fn refusal(path: &Path) -> OpenError {
    SqliteStore::open(path, SqliteOptions::default()).expect_err("it is refused")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

fn private_files(fixture: &Sqlite) -> Vec<(String, u32)> {
    let mut files: Vec<_> = fs::read_dir(fixture.directory.path())
        .expect("the directory is there")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.file_name().into_string().expect("plain names"),
                mode(&entry.path()),
            )
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn files_are_private_to_their_owner() {
    let fixture = Sqlite::empty();
    committed(&fixture.store(), create("ann")).await;
    let private = [
        "vestibule.db",
        "vestibule.db-shm",
        "vestibule.db-wal",
        "vestibule.db.lock",
    ];
    assert_eq!(
        private_files(&fixture),
        private.map(|name| (name.to_owned(), 0o600))
    );
}

#[tokio::test]
async fn files_that_others_could_read_are_made_private() {
    let mut fixture = Sqlite::empty();
    fixture.close();
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o644)).expect("a mode is set");
    fixture.open();
    committed(&fixture.store(), create("ann")).await;
    assert!(
        private_files(&fixture)
            .iter()
            .all(|(_, mode)| *mode == 0o600)
    );
}

#[test]
fn missing_directory_is_made_private() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().join("data/deep/vestibule.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).expect("it opens");
    assert_eq!(mode(path.parent().expect("it has a parent")), 0o700);
    drop(store);
}

#[test]
fn second_store_on_one_file_is_refused_until_the_first_is_closed() {
    let mut fixture = Sqlite::empty();
    let error = refusal(&fixture.path());
    assert!(
        matches!(&error, OpenError::InUse(path) if *path == fixture.path()),
        "{error}"
    );
    assert!(error.to_string().contains("vestibule.db"));
    fixture.close();
    fixture.open();
}

#[test]
fn store_behind_a_symbolic_link_is_the_same_store() {
    let mut fixture = Sqlite::empty();
    let link = fixture.directory.path().join("link.db");
    std::os::unix::fs::symlink(fixture.path(), &link).expect("a link is made");
    let error = refusal(&link);
    assert!(
        matches!(&error, OpenError::InUse(path) if *path == fixture.path()),
        "{error}"
    );
    fixture.close();
    SqliteStore::open(&link, SqliteOptions::default()).expect("it opens");
}

#[tokio::test]
async fn closed_store_leaves_no_log_behind() {
    let mut fixture = Sqlite::empty();
    let store = fixture.sqlite();
    committed(&store.clone().into(), create("ann")).await;
    assert!(
        found(&store.clone().into(), identity("ann"))
            .await
            .is_some()
    );
    drop(store);
    fixture.close();
    let names: Vec<_> = private_files(&fixture)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["vestibule.db", "vestibule.db.lock"]);
}

#[test]
fn file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().join("vestibule.db");
    let letters = "not a database, but letters ".repeat(400);
    fs::write(&path, &letters).expect("it is written");
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), letters);
}

#[test]
fn database_of_another_program_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().join("vestibule.db");
    let other = Connection::open(&path).expect("it opens");
    other
        .execute_batch("CREATE TABLE notes (text TEXT)")
        .expect("it runs");
    drop(other);
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Foreign(_)), "{error}");
    let other = Connection::open(&path).expect("it opens");
    let tables: i64 = other
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(tables, 1);
}

#[test]
fn damaged_first_page_is_refused() {
    let mut fixture = Sqlite::empty();
    fixture.close();
    let mut bytes = fs::read(fixture.path()).expect("it is there");
    bytes[100..4096].fill(0xA5);
    fs::write(fixture.path(), &bytes).expect("it is written");
    let error = refusal(&fixture.path());
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[test]
fn newer_schema_is_refused_and_left_as_it_is() {
    let mut fixture = Sqlite::empty();
    fixture.close();
    let newer = Connection::open(fixture.path()).expect("it opens");
    newer
        .execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
             VALUES (9999, 'later', '2030-01-01T00:00:00Z', '1')",
            [],
        )
        .expect("it runs");
    drop(newer);
    let error = refusal(&fixture.path());
    assert!(
        matches!(error, OpenError::Newer { found: 9999, .. }),
        "{error}"
    );
    assert_eq!(
        fixture.number("SELECT max(version) FROM refinery_schema_history"),
        9999
    );
}

#[test]
fn directory_in_the_place_of_the_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let path = directory.path().join("vestibule.db");
    fs::create_dir(&path).expect("it is made");
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn file_that_cannot_be_written_is_refused() {
    let mut fixture = Sqlite::empty();
    fixture.close();
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o400)).expect("a mode is set");
    if fs::OpenOptions::new()
        .write(true)
        .open(fixture.path())
        .is_ok()
    {
        // A superuser writes whatever the mode says; the sentence is tested all the same.
        let denied = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        let error = crate::sqlite::open::unusable(&fixture.path(), denied);
        assert!(matches!(error, OpenError::ReadOnly(_)), "{error}");
        return;
    }
    let error = refusal(&fixture.path());
    assert!(matches!(error, OpenError::ReadOnly(_)), "{error}");
}

#[test]
fn volume_without_space_is_told_from_other_errors() {
    let path = Path::new("vestibule.db");
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = crate::sqlite::open::unusable(path, full);
    assert!(matches!(error, OpenError::Full(_)), "{error}");
    let other = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let error = crate::sqlite::open::unusable(path, other);
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}
