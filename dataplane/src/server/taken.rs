//! An answer that knows when it was taken: its bytes hold a guard that goes with the last of them.
//!
//! HTTP/1 copies them into its buffer, where the socket's own limit holds. HTTP/2 keeps them until
//! the client's window lets them out, so a client that opens no window is seen here.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::progress::Untaken;

#[derive(Debug)]
pub(super) struct Taken {
    body: Full<Bytes>,
    untaken: Option<Untaken>,
}

impl Taken {
    pub(super) fn new(body: Full<Bytes>, untaken: Option<Untaken>) -> Self {
        Self { body, untaken }
    }
}

impl Body for Taken {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let Some(Ok(frame)) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let untaken = self.untaken.take();
        let piece = frame.map_data(|bytes| Piece {
            bytes,
            _untaken: untaken,
        });
        Poll::Ready(Some(Ok(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes on their way to the client.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    _untaken: Option<Untaken>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
