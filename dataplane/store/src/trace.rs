//! Spans of what a request waits for.

use tracing::instrument::{Instrument as _, Instrumented};

/// Of the spans, so that a filter tells them from log messages.
pub const TARGET: &str = "vestibule_trace";

/// A part of a request that waits for the database.
pub(crate) fn query<Question, F: Future>(system: &'static str, future: F) -> Instrumented<F> {
    future.instrument(tracing::info_span!(
        target: TARGET,
        "query",
        otel.name = %format_args!("{system} {}", name_of::<Question>()),
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = name_of::<Question>(),
    ))
}

/// The name of a type, without its modules.
fn name_of<T>() -> &'static str {
    let whole = std::any::type_name::<T>();
    let plain = whole.split('<').next().unwrap_or(whole);
    plain.rsplit("::").next().unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_called_by_its_type() {
        assert_eq!(
            name_of::<std::marker::PhantomData<Vec<u8>>>(),
            "PhantomData"
        );
        assert_eq!(name_of::<u8>(), "u8");
    }
}
