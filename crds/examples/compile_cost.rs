//! Prints what compiling many providers costs: from nothing, and after one of them changed.
//!
//! `cargo run --release --package vestibule-crds --example compile_cost`

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use vestibule_crds::compile::{Compiler, Inputs};
use vestibule_crds::object::Object;

const PROVIDERS: usize = 10_000;
const CHANGES: usize = 41;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut objects = vec![object(json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "SigninPolicy",
        "metadata": {"name": "default", "namespace": "auth"},
        "spec": {"token": {"issuer": "https://auth.corp.example", "audiences": ["internal"]}, "signing": {"managed": {}}},
    }))?];
    for number in 0..PROVIDERS {
        objects.push(object(provider(number, "Corp"))?);
    }
    let mut inputs = Inputs {
        objects,
        ..Inputs::default()
    };
    let mut compiler = Compiler::default();
    let began = Instant::now();
    let compiled = compiler.compile(&inputs);
    println!(
        "{PROVIDERS} providers from nothing: {:.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    inputs.previous = Some(Arc::new(compiled.snapshot));

    let mut taken = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        let number = change * 37 % PROVIDERS;
        inputs.objects[number + 1] = object(provider(number, &format!("change {change}")))?;
        let began = Instant::now();
        let compiled = compiler.compile(&inputs);
        taken.push(began.elapsed().as_secs_f64() * 1e3);
        inputs.previous = Some(Arc::new(compiled.snapshot));
    }
    taken.sort_by(f64::total_cmp);
    let (median, slowest) = (taken[CHANGES / 2], taken[CHANGES - 1]);
    println!("after one change: {median:.1} ms, the slowest of {CHANGES} {slowest:.1} ms");
    Ok(())
}

fn provider(number: usize, display_name: &str) -> Value {
    json!({
        "apiVersion": "vestibule.dev/v1alpha1",
        "kind": "OidcProvider",
        "metadata": {"name": format!("many-{number}"), "namespace": "auth"},
        "spec": {
            "issuer": format!("https://login-{number}.corp.example"),
            "audiences": ["web"],
            "displayName": display_name,
            "claims": {"mapping": {"username": "claims.preferred_username", "email": "claims.email"}},
        },
    })
}

fn object(body: Value) -> Result<Object, Box<dyn std::error::Error>> {
    Object::from_value(body, None).map_err(|error| format!("{error:?}").into())
}
