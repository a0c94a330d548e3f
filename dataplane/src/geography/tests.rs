use super::*;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

fn both() -> Geography {
    Geography::open(&[testdata("city.mmdb"), testdata("asn.mmdb")]).expect("databases")
}

fn locate(geography: &Geography, address: &str) -> Location {
    geography.locate(address.parse().expect("an address"))
}

#[test]
fn an_address_has_an_operator_a_country_and_a_place() {
    let geography = both();
    let london = Place {
        latitude: 51.5,
        longitude: -0.1,
    };
    let expected = Location {
        asn: Some(20_712),
        country: Some(*b"GB"),
        place: Some(london),
    };
    assert_eq!(locate(&geography, "81.2.69.160"), expected);
    let norway = locate(&geography, "2a02:cf40::1");
    assert_eq!((norway.asn, norway.country), (None, Some(*b"NO")));
}

#[test]
fn what_no_database_knows_and_what_is_no_record_says_nothing() {
    let geography = both();
    for address in ["203.0.113.1", "::1", "175.16.200.1"] {
        assert_eq!(
            locate(&geography, address),
            Location::default(),
            "{address}"
        );
    }
    assert_eq!(locate(&geography, "175.16.199.1"), Location::default());
    assert_eq!(
        locate(&Geography::default(), "81.2.69.160"),
        Location::default()
    );
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("city.mmdb");
    for (content, said) in [
        (None, "No such file"),
        (Some("not one"), "no MaxMind database"),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).expect("written");
        }
        let error = Geography::open(std::slice::from_ref(&path)).expect_err("no database");
        let error = error.to_string();
        assert!(
            error.contains("city.mmdb") && error.contains(said),
            "{error}"
        );
    }
}

#[test]
fn any_damage_is_survived() {
    let whole = std::fs::read(testdata("city.mmdb")).expect("it is there");
    let addresses: Vec<IpAddr> = ["81.2.69.160", "89.160.20.1", "2a02:cf40::1", "175.16.199.1"]
        .map(|address| address.parse().expect("an address"))
        .to_vec();
    for at in 0..whole.len() {
        for flip in [0xff, 0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let Ok(reader) = Reader::from_source(bytes) else {
                continue;
            };
            let stamp = FileTimes {
                bytes: 0,
                modified: None,
            };
            let version = Version { stamp, reader };
            for address in &addresses {
                let _location = version.locate(*address);
            }
        }
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_one_that_breaks_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("geo.mmdb");
    std::fs::copy(testdata("asn.mmdb"), &path).expect("copied");
    let geography = Geography::open(std::slice::from_ref(&path)).expect("a database");
    assert!(geography.reload().is_empty(), "nothing has changed");
    assert_eq!(locate(&geography, "81.2.69.160").country, None);

    std::fs::copy(testdata("city.mmdb"), &path).expect("copied");
    assert!(matches!(geography.reload()[..], [Ok(_)]));
    assert_eq!(locate(&geography, "81.2.69.160").country, Some(*b"GB"));

    std::fs::write(&path, "half").expect("written");
    assert!(matches!(geography.reload()[..], [Err(_)]));
    assert_eq!(locate(&geography, "81.2.69.160").country, Some(*b"GB"));
}
