//! Errors of the API server in words for a log or a condition.

use std::error::Error;

/// What went wrong, with its causes; of a refusal, the API server's own sentence.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        // Its words may hold a value of what was read.
        kube::Error::SerdeError(error) => unreadable(error),
        other => chain(other),
    }
}

/// An error and its causes, each once; of an answer that cannot be read, no more than where.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<serde_json::Error>() {
            return unreadable(error);
        }
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn unreadable(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("the answer of the API server cannot be read at line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_nothing_of_an_answer_that_cannot_be_read() {
        let error = serde_json::from_str::<u32>("\"hunter2\"").expect_err("no number");
        assert!(error.to_string().contains("hunter2"));
        let error = kube::Error::SerdeError(error);
        assert!(!describe(&error).contains("hunter2"));
        assert!(!chain(&error).contains("hunter2"));
        let watching = kube::runtime::watcher::Error::InitialListFailed(error);
        let text = chain(&watching);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("cannot be read"), "{text}");
    }
}
