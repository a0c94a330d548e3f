//! JSON from the API server, cut where it is nested more deeply than it can be read. Otherwise one
//! object with a deep value would make the whole list unreadable, and hide all other objects.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use kube::Client;
use kube::client::Body;
use tower_service::Service;

/// Deepest nesting that is passed on; the reader takes 128 levels.
const NESTING_MAX: usize = 100;
/// What stands in the place of everything deeper. Nothing that reads it takes it for a value of the
/// object.
pub(crate) const CUT: &str = "vestibule.dev/nested-too-deeply";

/// A client whose answers are bounded in their nesting.
pub(crate) fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Bounded(client), namespace)
}

#[derive(Clone)]
struct Bounded(Client);

impl Service<Request<Body>> for Bounded {
    type Response = Response<UnsyncBoxBody<Bytes, kube::Error>>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // The client inside waits for its turn when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move {
            let response = client.send(request).await?;
            let mut nesting = Nesting::default();
            Ok(response.map(|body| {
                let body = body.map_frame(move |frame| frame.map_data(|data| nesting.cut(data)));
                body.boxed_unsync()
            }))
        })
    }
}

/// Where in a stream of JSON texts one is.
#[derive(Debug, Default)]
pub(crate) struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// What is passed on of the next bytes: the same, where nothing is too deep.
    pub(crate) fn cut(&mut self, bytes: Bytes) -> Bytes {
        let mut kept = BytesMut::new();
        // Where what is passed on begins; none while all is too deep.
        let mut from = (self.depth <= NESTING_MAX).then_some(0);
        let mut is_whole = from.is_some();
        for (index, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    if let Some(start) = from.filter(|_| self.depth > NESTING_MAX) {
                        kept.extend_from_slice(&bytes[start..index]);
                        kept.extend_from_slice(format!("\"{CUT}\"").as_bytes());
                        (from, is_whole) = (None, false);
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if from.is_none() && self.depth == NESTING_MAX {
                        from = Some(index + 1);
                    }
                }
                _ => {}
            }
        }
        if is_whole {
            return bytes;
        }
        if let Some(start) = from {
            kept.extend_from_slice(&bytes[start..]);
        }
        kept.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The text through the bound, in pieces of so many bytes.
    fn cut(text: &str, piece: usize) -> String {
        let mut nesting = Nesting::default();
        let pieces = text.as_bytes().chunks(piece.max(1));
        let kept = pieces.map(|piece| nesting.cut(Bytes::copy_from_slice(piece)));
        let kept: Vec<u8> = kept.flat_map(Vec::from).collect();
        String::from_utf8(kept).expect("text")
    }

    fn deep(levels: usize) -> String {
        format!(
            "{}1{}",
            "[{\"a\":".repeat(levels / 2),
            "}]".repeat(levels / 2)
        )
    }

    #[test]
    fn what_is_too_deep_is_cut_and_its_neighbours_are_as_they_were() {
        for levels in [200, 1000, 100_000] {
            let text = format!(
                r#"{{"items":[{{"a":"x}}"}},{{"b":{}}},{{"c":"\"[["}}]}}"#,
                deep(levels)
            );
            for piece in [1, 7, text.len()] {
                let read: Value = serde_json::from_str(&cut(&text, piece)).expect("it is read");
                assert_eq!(read["items"][0], json!({"a": "x}"}));
                assert_eq!(read["items"][2], json!({"c": "\"[["}));
                assert!(read["items"][1].to_string().contains(CUT));
            }
        }
    }

    #[test]
    fn what_is_not_too_deep_is_the_same() {
        let text = format!("{}\n{}\n", deep(NESTING_MAX), r#"{"a":"]]]]\\"}"#);
        for piece in [1, 3, text.len()] {
            assert_eq!(cut(&text, piece), text);
        }
    }

    proptest! {
        #[test]
        fn in_whatever_pieces_it_comes_the_outcome_is_one(text in "[\\[\\]{}\",\\\\a:]{0,400}", piece in 1_usize..50) {
            prop_assert_eq!(cut(&text, piece), cut(&text, text.len()));
        }
    }
}
