//! Figures of a benchmark, printed as they come, each with its bar where it has one.

use serde_json::{Value, json};

/// Printed as it grows, and written as JSON at the end.
#[derive(Debug, Default)]
pub struct Report(Vec<Value>);

impl Report {
    pub fn figure(&mut self, name: &str, unit: &str, figures: &[f64]) {
        let shown: Vec<String> = figures
            .iter()
            .map(|figure| format!("{figure:.2}"))
            .collect();
        println!("{name:62} {} {unit}", shown.join("  "));
        self.0
            .push(json!({"name": name, "unit": unit, "figures": figures}));
    }

    pub fn bar(&mut self, name: &str, figure: f64, bar: f64, unit: &str) {
        let kept = figure <= bar;
        let verdict = if kept { "kept" } else { "MISSED" };
        println!("{name:62} {figure:.2} {unit} (bar {bar} {unit}: {verdict})");
        self.0.push(
            json!({"name": name, "unit": unit, "figures": [figure], "bar": bar, "kept": kept}),
        );
    }

    pub fn json(&self) -> Value {
        json!({"figures": self.0})
    }
}
