//! The generated schemas, and the API server's judgement by them without an API server.
//!
//! `kubectl apply` and `vestibule check` must say the same, so there is one source: the OpenAPI
//! schema of the generated CustomResourceDefinition, CEL rules included. The walker here reads it
//! and nothing else.

mod check;
mod did_you_mean;
mod node;
mod path;
mod prepare;
mod rule;

use std::fmt;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde::Serialize;
use serde_json::Value;

use crate::expression::Pattern;
use crate::object::Kind;
use crate::oidc_provider::OidcProvider;
use crate::reference::NAME_PATTERN;
use crate::signin_policy::SigninPolicy;
use check::Findings;
use node::Node;
use path::Path;

/// What is wrong at one place of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// For example `spec.token.clockSkew`.
    pub path: String,
    /// Says what to change.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The CustomResourceDefinition of a kind, as it is applied.
pub fn definition(kind: Kind) -> CustomResourceDefinition {
    match kind {
        Kind::OidcProvider => OidcProvider::crd(),
        Kind::SigninPolicy => SigninPolicy::crd(),
    }
}

/// A label of RFC 1123, as namespaces are named.
static LABEL: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::parse("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$").expect("a constant pattern parses")
});
static NAME: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::parse(NAME_PATTERN).expect("a constant pattern parses"));
static PROVIDER: LazyLock<Node> = LazyLock::new(|| spec_node(Kind::OidcProvider));
static POLICY: LazyLock<Node> = LazyLock::new(|| spec_node(Kind::SigninPolicy));

/// Longest name of an object, RFC 1123.
const NAME_CHARS_MAX: usize = 253;

fn spec_node(kind: Kind) -> Node {
    let mut versions = definition(kind).spec.versions;
    let schema = versions.pop().and_then(|version| version.schema);
    let spec = schema
        .and_then(|schema| schema.open_api_v3_schema)
        .and_then(|schema| schema.properties)
        .and_then(|mut properties| properties.remove("spec"))
        .expect("a derived definition has a schema with a spec");
    Node::build(&spec, "spec").expect("a test builds the node of every kind")
}

/// The spec as the API server would store it, defaults filled in; or all that it, or `kubectl`'s
/// strict field validation, would refuse.
pub fn validate(kind: Kind, object: &Value) -> Result<Value, Vec<FieldError>> {
    let mut findings = Findings::default();
    check_envelope(object, &mut findings);
    let node = match kind {
        Kind::OidcProvider => &*PROVIDER,
        Kind::SigninPolicy => &*POLICY,
    };
    let mut spec = object.get("spec").cloned().unwrap_or(Value::Null);
    if spec.is_null() {
        findings.add("spec", "it is required");
    } else {
        prepare::prepare(node, &mut spec);
        // Errors come in one order, whatever else is built with and asks of the JSON library.
        spec.sort_all_objects();
        check::check(node, &spec, &Path::Root("spec"), &mut findings);
    }
    let errors = findings.into_errors();
    if errors.is_empty() {
        Ok(spec)
    } else {
        Err(errors)
    }
}

fn check_envelope(object: &Value, findings: &mut Findings) {
    const MEMBERS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in object
        .as_object()
        .into_iter()
        .flat_map(|members| members.keys())
    {
        if !MEMBERS.contains(&name.as_str()) {
            findings.add(
                Path::Root(name),
                did_you_mean::did_you_mean(name, MEMBERS.into_iter()),
            );
        }
    }
    let metadata = |name: &str| {
        object
            .pointer("/metadata")
            .and_then(|all| all.get(name)?.as_str())
    };
    let name = metadata("name").unwrap_or_default();
    if name.len() > NAME_CHARS_MAX || !NAME.matches(name) {
        findings.add(
            "metadata.name",
            "a name has at most 253 lower-case letters, digits, `-` and `.`, and begins and ends with a letter or digit",
        );
    }
    if metadata("namespace")
        .is_some_and(|namespace| !namespace.is_empty() && !LABEL.matches(namespace))
    {
        findings.add(
            "metadata.namespace",
            "a namespace has at most 63 lower-case letters, digits and `-`, and begins and ends with a letter or digit",
        );
    }
}
