//! Files as people write them, and files that nobody should have written.

use serde_json::{Value, json};

use super::*;
use crate::object::Kind;

const PROVIDER: &str = "apiVersion: vestibule.dev/v1alpha1\nkind: OidcProvider\nmetadata: {name: corp, namespace: auth}\nspec: {issuer: 'https://a.example', audiences: [web]}\n";

fn file(text: impl Into<String>) -> ManifestFile {
    ManifestFile {
        path: "a.yaml".to_owned(),
        text: text.into(),
    }
}

fn read_text(text: impl Into<String>) -> (ManifestObjects, Vec<FileError>) {
    read(&[file(text)])
}

fn good(text: impl Into<String>) -> ManifestObjects {
    let (objects, errors) = read_text(text);
    assert_eq!(errors, []);
    objects
}

fn error(text: impl Into<String>) -> String {
    let (_, errors) = read_text(text);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.concat()
}

#[test]
fn several_documents_of_one_file_are_read() {
    let second = PROVIDER.replace("corp", "other");
    let objects = good(format!("---\n{PROVIDER}---\n# nothing\n---\n{second}---\n"));
    let names: Vec<&str> = objects
        .objects
        .iter()
        .map(|object| object.id.name.as_str())
        .collect();
    assert_eq!(names, ["corp", "other"]);
    assert_eq!(objects.objects[0].kind, Kind::OidcProvider);
    assert_eq!(objects.objects[0].source.as_deref(), Some("a.yaml"));
}

#[test]
fn json_is_read_as_json() {
    let body = json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "OidcProvider",
        "metadata": {"name": "corp"},
        "spec": {"displayName": "\u{1f511}\tkey", "note": "~"},
    });
    let other = body
        .to_string()
        .replace("corp", "other")
        .replace('\u{1f511}', "\\ud83d\\udd11");
    let objects = good(format!("{body:#}\n{other}"));
    assert_eq!(*objects.objects[0].body, body);
    assert_eq!(objects.objects[1].body["spec"], body["spec"]);
}

#[test]
fn a_file_of_json_is_read_by_a_json_reader_alone() {
    let named = |path: &str, text: &str| {
        let file = ManifestFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        read(&[file])
    };
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_eq!(named("a.yaml", yaml).0.config_maps.len(), 1);
    let (found, errors) = named("a.json", yaml);
    assert!(found.config_maps.is_empty());
    assert_eq!((errors.len(), errors[0].line), (1, Some(1)));

    let flow = r#"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"#;
    assert_eq!(named("a.yaml", flow).1, []);
    assert_eq!(named("a.json", flow).1.len(), 1);

    let twice =
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "kind": "Secret", "metadata": {"name": "a"}}"#;
    let (_, errors) = named("a.json", twice);
    assert!(
        errors[0].message.contains("the key `kind` stands twice"),
        "{}",
        errors[0].message
    );

    let object = |name: &str| {
        let claims = json!({"<<": {"sub": "b"}, "$serde_json::private::RawValue": 5});
        let spec = json!({"examples": [{"name": "a", "claims": claims}]});
        json!({"apiVersion": "vestibule.dev/v1alpha1", "kind": "OidcProvider", "metadata": {"name": name}, "spec": spec})
    };
    let (found, errors) = named("a.json", &format!("{}\n{}\n", object("a"), object("b")));
    assert_eq!(errors, []);
    let bodies: Vec<&Value> = found.objects.iter().map(|object| &*object.body).collect();
    assert_eq!(
        bodies,
        [&object("a"), &object("b")],
        "neither key means anything"
    );
    assert_eq!(named("empty.json", "\n").1, []);
}

#[test]
fn a_flow_mapping_is_yaml_although_it_begins_like_json() {
    let text = "{apiVersion: vestibule.dev/v1alpha1, kind: SigninPolicy, metadata: {name: a}}";
    assert_eq!(good(text).objects[0].kind, Kind::SigninPolicy);
}

#[test]
fn a_namespace_that_is_left_out_is_default() {
    let objects = good(PROVIDER.replace(", namespace: auth", ""));
    assert_eq!(
        objects.objects[0].id,
        NamespacedName::new("default", "corp")
    );
}

#[test]
fn lists_are_unrolled() {
    let item = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [item("a"), item("b")]});
    let objects = good(list.to_string());
    assert_eq!(objects.config_maps.len(), 2);
}

#[test]
fn the_entries_of_secrets_and_config_maps_are_decoded() {
    let objects = good(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\n\
         data: {a: aHVu\u{20}dGVyMg==, both: b2xk, binary: /w==}\nstringData: {both: new}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: n}\n\
         data: {8080: port}\nbinaryData: {b: aGk=}\n",
    );
    let id = |name: &str| NamespacedName::new("n", name);
    let secret = &objects.secrets[&id("s")];
    assert_eq!(secret["a"].expose(), "hunter2");
    assert_eq!(secret["both"].expose(), "new");
    assert!(!secret.contains_key("binary"));
    let config_map = &objects.config_maps[&id("c")];
    assert_eq!(
        (config_map["8080"].as_str(), config_map["b"].as_str()),
        ("port", "hi")
    );
    assert!(!format!("{objects:?}").contains("hunter2"));
}

#[test]
fn a_secret_is_in_no_error_and_no_debug_output() {
    let secret =
        |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{data}\n");
    for data in [
        "data: {key: hunter2!}",
        "data: hunter2",
        "stringData: {key: [hunter2]}",
        "stringData: {key: {hunter2: hunter2}}",
        "stringData: {key: hunter2, key: hunter2}",
        "stringData: {key: !hunter hunter2}",
        "stringData: {key: \"hunter2}",
        "stringData: {key: &a hunter2, other: *b}",
    ] {
        let text = secret(data);
        let (objects, errors) = read_text(text.clone());
        assert_eq!(errors.len(), 1, "{data}: {errors:?}");
        let told = format!("{errors:?}{objects:?}{:?}{}", file(text), errors[0]);
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn other_kinds_are_noted_and_ignored() {
    let objects = good("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n");
    let ignored = &objects.ignored[0];
    assert_eq!(
        (ignored.kind.as_str(), ignored.name.as_str()),
        ("Deployment", "web")
    );
    assert_eq!((ignored.path.as_str(), ignored.document), ("a.yaml", 1));
}

#[test]
fn another_version_of_our_group_is_an_error() {
    let told = error(PROVIDER.replace("v1alpha1", "v1"));
    assert!(
        told.contains("write apiVersion: vestibule.dev/v1alpha1"),
        "{told}"
    );
}

#[test]
fn a_document_that_is_no_object_is_an_error_and_harms_no_other() {
    let (objects, errors) = read_text(format!("just text\n---\n[1]\n---\n{PROVIDER}"));
    assert_eq!(objects.objects.len(), 1);
    let documents: Vec<_> = errors.iter().map(|error| error.document).collect();
    assert_eq!(documents, [Some(1), Some(2)]);
    assert_eq!(errors[0].message, "write apiVersion and kind");
}

#[test]
fn a_syntax_error_says_file_document_and_line() {
    let (objects, errors) = read_text(format!("{PROVIDER}---\na: b\nc: [\n---\nx: y\n"));
    assert_eq!(objects.objects.len(), 1);
    assert_eq!(errors.len(), 1);
    assert_eq!(
        (errors[0].path.as_str(), errors[0].document),
        ("a.yaml", Some(2))
    );
    assert_eq!(errors[0].line, Some(8));
    assert!(
        errors[0].to_string().starts_with("a.yaml:8 (document 2): "),
        "{}",
        errors[0]
    );
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let told = error(format!("{PROVIDER}kind: SigninPolicy\n"));
    assert!(told.contains("the key `kind` stands twice"), "{told}");
    let told = error(r#"{"kind": "List", "apiVersion": "v1", "items": [], "items": []}"#);
    assert!(told.contains("the key `items` stands twice"), "{told}");
}

#[test]
fn an_object_that_stands_twice_is_refused() {
    let (objects, errors) = read(&[
        file(PROVIDER),
        ManifestFile {
            path: "b.yaml".to_owned(),
            ..file(PROVIDER)
        },
    ]);
    assert_eq!(objects.objects.len(), 1);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].path, "b.yaml");
    assert_eq!(
        errors[0].message,
        "OidcProvider auth/corp stands in a.yaml already: remove one of them"
    );
}

#[test]
fn an_object_without_a_name_is_refused() {
    assert!(error(PROVIDER.replace("name: corp, ", "")).contains("metadata.name"));
    assert!(error(PROVIDER.replace("corp", "5")).contains("metadata.name must be a string"));
    assert!(error("apiVersion: v1\nkind: Secret\nmetadata: {}\n").contains("metadata.name"));
}

#[test]
fn anchors_and_merge_keys_are_followed() {
    let objects = good(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n\
         data: {<<: [{a: first, b: first}, {a: second, c: second}], b: own}\n",
    );
    let data = &objects.config_maps[&NamespacedName::new("default", "c")];
    let data: Vec<(&str, &str)> = data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(data, [("a", "first"), ("b", "own"), ("c", "second")]);
    assert!(error("a: {<<: 5}").contains("takes an object"));
}

#[test]
fn a_billion_laughs_are_cut_short() {
    let mut text =
        String::from("a0: &a0 [laugh, laugh, laugh, laugh, laugh, laugh, laugh, laugh]\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        let row = vec![alias; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    let told = error(text);
    assert!(
        told.contains("aliases") || told.contains("repetition limit"),
        "{told}"
    );
}

#[test]
fn a_long_text_that_is_copied_often_is_cut_short() {
    let long = "x".repeat(1024 * 1024);
    let aliases = vec!["*a"; 2000].join(", ");
    let told = error(format!("a: &a {long}\nb: [{aliases}]\n"));
    assert!(
        told.contains("too large once its aliases are expanded"),
        "{told}"
    );
    assert!(told.len() < 1000);
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let told = error(format!("# {}\n{PROVIDER}", "x".repeat(FILE_BYTES_MAX)));
    assert_eq!(told, "a.yaml: the file is larger than 4 MiB: split it");
    assert_eq!(
        good(format!("# {}\n{PROVIDER}", "x".repeat(FILE_BYTES_MAX / 2)))
            .objects
            .len(),
        1
    );
}

#[test]
fn documents_without_end_are_cut_short() {
    let told = error("---\n".repeat(DOCUMENTS_MAX + 2));
    assert!(told.contains("more than 20000 documents"), "{told}");
    let items = vec!["{}"; DOCUMENTS_MAX + 2].join(", ");
    let (_, errors) = read_text(format!("{{apiVersion: v1, kind: List, items: [{items}]}}"));
    assert!(
        errors
            .iter()
            .any(|error| error.message.contains("more than 20000 objects"))
    );
}

#[test]
fn what_nests_too_deeply_is_refused() {
    let nested = |open: &str, depth: usize| open.repeat(depth);
    for (text, part) in [
        (nested("{a: ", 1_000_000), "brackets are nested too deeply"),
        (nested("[", 200), "recursion limit"),
        (nested("- ", 100_000), "recursion limit"),
        (
            nested(r#"{"a":"#, 200_000),
            "brackets are nested too deeply",
        ),
    ] {
        let told = error(text);
        assert!(told.contains(part), "{told}");
    }
    let list = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(
        error(list),
        "a.yaml (document 1): write apiVersion and kind"
    );
}

#[test]
fn tags_are_refused() {
    let told = error(PROVIDER.replace("'https://a.example'", "!url 'https://a.example'"));
    assert!(told.contains("without a YAML tag"), "{told}");
}

#[test]
fn a_bare_off_is_noted_since_kubectl_takes_it_for_false() {
    let note = |spec: &str| {
        let text = PROVIDER.replace("audiences: [web]", spec);
        good(text)
            .notes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        note("token: {nonce: Off}"),
        ["a.yaml:4: kubectl takes a bare Off for false: write \"Off\", in quotes"]
    );
    assert_eq!(note("token: {nonce: 'Off'}"), Vec::<String>::new());
    assert_eq!(note("token: {nonce: Offset}"), Vec::<String>::new());
}
