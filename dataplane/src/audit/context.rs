//! The audit context: what becomes known about a request on its way, for the audit event at its
//! end, however it ends.

use uuid::Uuid;

use crate::failure::Failure;
use vestibule_risk::RECORD_BYTES_MAX;
use vestibule_store::{EVENT_DETAIL_BYTES_MAX, Event, EventClass, EventKind, Session, User};

/// An assessment has room in an event, with the longest name of an OAuth client before it.
const _: () = {
    let client = r#""client":"","#.len() + 128;
    assert!(RECORD_BYTES_MAX + client <= EVENT_DETAIL_BYTES_MAX);
};

#[derive(Debug)]
pub struct AuditContext {
    pub kind: EventKind,
    pub at: i64,
    pub request_id: String,
    pub network: String,
    pub policy: String,
    pub provider: String,
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    /// How the sign-in was assessed; empty where it was not.
    pub assessment: String,
    /// The OAuth client that asked: of few characters, none of which means anything in JSON.
    pub client: Option<String>,
}

impl AuditContext {
    pub fn new(kind: EventKind, at: i64, request_id: &str, network: String) -> Self {
        Self {
            kind,
            at,
            request_id: request_id.to_owned(),
            network,
            policy: String::new(),
            provider: String::new(),
            user_id: None,
            session_id: None,
            assessment: String::new(),
            client: None,
        }
    }

    /// Whose session it is about.
    pub fn of_session(&mut self, session: &Session, user: &User) {
        self.session_id = Some(session.id);
        self.user_id = Some(user.id);
        self.policy.clone_from(&session.policy);
        self.provider.clone_from(&session.provider);
    }

    pub fn success(&self) -> Event {
        self.event("ok", EventClass::Accepted, &self.assessment)
    }

    /// The sign-in waits for a second factor.
    pub fn challenged(&self) -> Event {
        self.event("mfa_required", EventClass::Accepted, &self.assessment)
    }

    /// Something of a request that goes on.
    pub fn noted(&self, what: &'static str, detail: &str) -> Event {
        self.event(what, EventClass::Accepted, detail)
    }

    pub fn failure(&self, failure: &Failure) -> Event {
        self.event(failure.code(), failure.class(), failure.audit())
    }

    fn event(&self, outcome: &'static str, class: EventClass, detail: &str) -> Event {
        let named;
        let detail = match &self.client {
            None => detail,
            Some(client) => {
                named = with_client(client, detail);
                &named
            }
        };
        let mut end = detail.len().min(EVENT_DETAIL_BYTES_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        Event {
            at: self.at,
            kind: self.kind,
            outcome,
            class,
            policy: self.policy.clone(),
            provider: self.provider.clone(),
            user_id: self.user_id,
            session_id: self.session_id,
            request_id: self.request_id.clone(),
            network: self.network.clone(),
            detail: detail[..end].to_owned(),
            count: 1,
        }
    }
}

/// An assessment is a JSON object, and stays one.
fn with_client(client: &str, detail: &str) -> String {
    match detail.strip_prefix('{') {
        Some(members) => format!("{{\"client\":\"{client}\",{members}"),
        None if detail.is_empty() => format!("client {client}"),
        None => format!("client {client}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_client_whatever_else_it_says() {
        for (detail, expected) in [
            ("", "client gateway"),
            ("no key", "client gateway: no key"),
            ("{\"engine\":1}", "{\"client\":\"gateway\",\"engine\":1}"),
        ] {
            assert_eq!(with_client("gateway", detail), expected);
        }
    }
}
