use super::*;

#[test]
fn a_collector_is_named_with_or_without_its_path() {
    for (named, sent_to) in [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        (
            "https://otel.example/in/v1/traces",
            "https://otel.example/in/v1/traces",
        ),
    ] {
        let url = named.parse().expect("a URL");
        assert_eq!(endpoint(&url), sent_to);
    }
}

#[test]
fn spans_of_every_crate_have_the_target_that_is_exported() {
    assert_eq!(vestibule_idtoken::keys::TRACE_TARGET, TARGET);
    assert_eq!(vestibule_store::trace::TARGET, TARGET);
}
