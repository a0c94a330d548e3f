//! From files to documents to objects.

use std::collections::BTreeMap;

use serde::de::DeserializeSeed as _;
use serde_json::Value;

use super::value::{Bounded, Budget, Language};
use super::{
    DOCUMENTS_MAX, FILE_BYTES_MAX, FileError, Ignored, ManifestFile, ManifestObjects, note, secret,
};
use crate::compile::USE_LABEL;
use crate::object::{GROUP, NamespacedName, Object};

/// Longest kind and name that a message or a note repeats.
const NAME_CHARS_MAX: usize = 253;
/// Brackets left open at once. The reader refuses a nesting of more than 128, but only after the
/// whole document went through a parser whose time for each word grows with the open brackets:
/// hours for a file of 4 MiB.
const OPEN_BRACKETS_MAX: usize = 256;

/// What was read so far.
#[derive(Default)]
pub(super) struct Reader {
    found: ManifestObjects,
    errors: Vec<FileError>,
    /// Where each object stood first: a second one would silently replace it in a cluster.
    places: BTreeMap<(String, NamespacedName), String>,
}

/// A document of a file, for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    document: usize,
}

impl Place<'_> {
    fn error(self, message: impl Into<String>) -> FileError {
        FileError {
            path: self.path.to_owned(),
            document: Some(self.document),
            line: None,
            message: message.into(),
        }
    }
}

/// One document, or why the file cannot be read from there on.
type Parsed = Result<Value, (Option<usize>, String)>;

impl Reader {
    pub(super) fn finish(self) -> (ManifestObjects, Vec<FileError>) {
        (self.found, self.errors)
    }

    pub(super) fn read_file(&mut self, file: &ManifestFile) {
        if file.text.len() > FILE_BYTES_MAX {
            self.errors.push(FileError {
                path: file.path.clone(),
                document: None,
                line: None,
                message: "the file is larger than 4 MiB: split it".to_owned(),
            });
            return;
        }
        self.found.notes.extend(note::bare_off(file));
        let mut left = DOCUMENTS_MAX;
        for (index, parsed) in documents(file).into_iter().enumerate() {
            let place = Place {
                path: &file.path,
                document: index + 1,
            };
            match parsed {
                Ok(value) => self.read_value(place, value, &mut left),
                Err((line, message)) => self.errors.push(FileError {
                    line,
                    ..place.error(message)
                }),
            }
        }
    }

    fn read_value(&mut self, place: Place<'_>, value: Value, left: &mut usize) {
        if value.is_null() {
            return;
        }
        if let Some(items) = list_items(&value) {
            for item in items {
                self.read_value(place, item.clone(), left);
            }
            return;
        }
        if *left == 0 {
            return;
        }
        *left -= 1;
        if *left == 0 {
            self.errors.push(place.error(format!(
                "the file holds more than {DOCUMENTS_MAX} objects: split it"
            )));
            return;
        }
        if let Err(error) = self.read_object(place, value) {
            self.errors.push(error);
        }
    }

    fn read_object(&mut self, place: Place<'_>, value: Value) -> Result<(), FileError> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(shortened);
        let (Some(kind), Some(api_version)) = (text("kind"), text("apiVersion")) else {
            return Err(place.error("write apiVersion and kind"));
        };
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, kind.as_str()) {
            (GROUP, _) => {
                let object = Object::from_value(value, Some(place.path.to_owned()))
                    .map_err(|error| place.error(error.to_string()))?;
                self.remember(place, &kind, &object.id)?;
                self.found.objects.push(object);
            }
            ("", "Secret") if api_version == "v1" => {
                let id = core_id(place, &value)?;
                let data = secret::secret_data(&value)
                    .map_err(|message| place.error(format!("Secret {id}: {message}")))?;
                self.remember(place, &kind, &id)?;
                let labels = value.pointer("/metadata/labels");
                let label = labels
                    .and_then(|labels| labels.get(USE_LABEL))
                    .and_then(Value::as_str);
                if let Some(label) = label {
                    self.found.secret_uses.insert(id.clone(), label.to_owned());
                }
                self.found.secrets.insert(id, data);
            }
            ("", "ConfigMap") if api_version == "v1" => {
                let id = core_id(place, &value)?;
                let data = secret::config_map_data(&value)
                    .map_err(|message| place.error(format!("ConfigMap {id}: {message}")))?;
                self.remember(place, &kind, &id)?;
                self.found.config_maps.insert(id, data);
            }
            _ => self.found.ignored.push(Ignored {
                path: place.path.to_owned(),
                document: place.document,
                kind,
                name: value
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .map(shortened)
                    .unwrap_or_default(),
            }),
        }
        Ok(())
    }

    fn remember(
        &mut self,
        place: Place<'_>,
        kind: &str,
        id: &NamespacedName,
    ) -> Result<(), FileError> {
        let first = self.places.entry((kind.to_owned(), id.clone()));
        match first {
            std::collections::btree_map::Entry::Occupied(first) => Err(place.error(format!(
                "{kind} {id} stands in {} already: remove one of them",
                first.get()
            ))),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(place.path.to_owned());
                Ok(())
            }
        }
    }
}

/// Every document of a file. JSON is read as JSON, since YAML reads a few texts of it otherwise; a
/// file whose name says that it is JSON is nothing else, and any other is YAML where it is no JSON.
fn documents(file: &ManifestFile) -> Vec<Parsed> {
    let text = file.text.as_str();
    let is_json = file.path.ends_with(".json");
    if is_json || text.trim_start().starts_with('{') {
        let documents = json_documents(text);
        if is_json || documents.iter().all(Result::is_ok) {
            return documents;
        }
    }
    if open_brackets(text) > OPEN_BRACKETS_MAX {
        let message = "brackets are nested too deeply: close some of them";
        return vec![Err((None, message.to_owned()))];
    }
    let budget = Budget::default();
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        if documents.len() == DOCUMENTS_MAX {
            let message = format!("the file holds more than {DOCUMENTS_MAX} documents: split it");
            documents.push(Err((None, message)));
            break;
        }
        let bounded = Bounded {
            budget: &budget,
            language: Language::Yaml,
        };
        match bounded.deserialize(document) {
            Ok(value) => documents.push(Ok(value)),
            Err(error) => {
                let line = error.location().map(|place| place.line());
                documents.push(Err((line, error.to_string())));
                break;
            }
        }
    }
    documents
}

/// One or more JSON texts, up to the first that is none.
fn json_documents(text: &str) -> Vec<Parsed> {
    let budget = Budget::default();
    let bounded = Bounded {
        budget: &budget,
        language: Language::Json,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut documents = Vec::new();
    // The end of the text is looked for first: a file may hold nothing at all.
    while deserializer.end().is_err() {
        if documents.len() == DOCUMENTS_MAX {
            let message = format!("the file holds more than {DOCUMENTS_MAX} documents: split it");
            documents.push(Err((None, message)));
            break;
        }
        match bounded.deserialize(&mut deserializer) {
            Ok(value) => documents.push(Ok(value)),
            Err(error) => {
                documents.push(Err((Some(error.line()), error.to_string())));
                break;
            }
        }
    }
    documents
}

/// Most brackets open at once, those in texts and comments included.
fn open_brackets(text: &str) -> usize {
    let mut open = 0_usize;
    let mut most = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn list_items(value: &Value) -> Option<&Vec<Value>> {
    let is_list = value.get("apiVersion").and_then(Value::as_str) == Some("v1")
        && value.get("kind").and_then(Value::as_str) == Some("List");
    if !is_list {
        return None;
    }
    value.get("items").and_then(Value::as_array)
}

fn core_id(place: Place<'_>, value: &Value) -> Result<NamespacedName, FileError> {
    let metadata = |name: &str| {
        value
            .pointer("/metadata")
            .and_then(|metadata| metadata.get(name))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let name = metadata("name").ok_or_else(|| place.error("write a metadata.name"))?;
    let namespace = metadata("namespace").unwrap_or_else(|| "default".to_owned());
    Ok(NamespacedName::new(namespace, name))
}

fn shortened(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).collect()
}
