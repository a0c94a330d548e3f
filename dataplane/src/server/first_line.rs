//! What speaks no HTTP gets no answer in HTTP: the first line of a connection says which protocol
//! it is.
//!
//! A client of HTTP/2 whose preface is broken would otherwise read an answer of HTTP/1.1 as frames
//! (RFC 9113, section 3.4).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// In a request line of HTTP/1 and in the preface of HTTP/2.
const PROTOCOL: &[u8] = b" HTTP/";

/// What the bytes so far show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Unknown,
    Http,
    Other,
}

/// Reads the first line that is not empty, piece by piece.
#[derive(Debug, Default)]
pub struct FirstLine {
    /// The last bytes of the line so far, in which [`PROTOCOL`] may have begun.
    end: Vec<u8>,
    is_named: bool,
    has_begun: bool,
}

impl FirstLine {
    pub fn read(&mut self, bytes: &[u8]) -> Protocol {
        for byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' if !self.has_begun => {}
                b'\n' if self.is_named => return Protocol::Http,
                b'\n' => return Protocol::Other,
                byte => self.add(*byte),
            }
        }
        Protocol::Unknown
    }

    fn add(&mut self, byte: u8) {
        self.has_begun = true;
        if self.is_named {
            return;
        }
        if self.end.len() == PROTOCOL.len() {
            self.end.remove(0);
        }
        self.end.push(byte);
        self.is_named = self.end == PROTOCOL;
    }
}

/// Read at once while the first line is not complete.
const PIECE_BYTES: usize = 1024;
/// A longer first line is left to the parser, which has limits of its own.
const HELD_BYTES_MAX: usize = 16 * PIECE_BYTES;

/// A stream that ends before a first line of another protocol. It holds the line back until it is
/// complete: a parser that saw half of it might answer.
#[derive(Debug)]
pub(super) struct OnlyHttp<S> {
    stream: S,
    first: FirstLine,
    protocol: Protocol,
    held: BytesMut,
}

impl<S> OnlyHttp<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            first: FirstLine::default(),
            protocol: Protocol::Unknown,
            held: BytesMut::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> OnlyHttp<S> {
    fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.protocol == Protocol::Unknown {
            let mut piece = [0; PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
            self.protocol = self.first.read(piece.filled());
            self.held.extend_from_slice(piece.filled());
            if piece.filled().is_empty() || self.held.len() >= HELD_BYTES_MAX {
                self.protocol = Protocol::Http;
            }
        }
        if self.protocol == Protocol::Other {
            self.held.clear();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OnlyHttp<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.protocol == Protocol::Unknown {
            ready!(this.poll_protocol(cx))?;
        }
        if !this.held.is_empty() {
            let length = this.held.len().min(buffer.remaining());
            buffer.put_slice(&this.held.split_to(length));
            return Poll::Ready(Ok(()));
        }
        if this.protocol == Protocol::Other {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OnlyHttp<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_and_the_preface_are_http() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.0\nhost: v\n",
            "\r\n\r\nGET / HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let protocol = FirstLine::default().read(line.as_bytes());
            assert_eq!(protocol, Protocol::Http, "{line:?}");
        }
    }

    #[test]
    fn a_line_without_the_protocols_name_is_another() {
        for line in [
            "INVALID CONNECTION PREFACE\r\n\r\n",
            "GET /\r\n",
            "EHLO mail\r\n HTTP/",
            "GET / HTTQ/1.1\r\n",
        ] {
            let protocol = FirstLine::default().read(line.as_bytes());
            assert_eq!(protocol, Protocol::Other, "{line:?}");
        }
    }

    #[test]
    fn a_line_is_read_in_any_pieces() {
        for (line, expected) in [
            ("\r\nGET / HTTP/1.1\r", Protocol::Unknown),
            ("\r\nGET / HTTP/1.1\r\n", Protocol::Http),
            ("GET / HTTP\r\n", Protocol::Other),
        ] {
            let mut first = FirstLine::default();
            let read = line.as_bytes().chunks(1).map(|piece| first.read(piece));
            assert_eq!(read.last(), Some(expected), "{line:?}");
        }
    }

    async fn passed_on(sent: &[u8]) -> Vec<u8> {
        use tokio::io::AsyncReadExt as _;
        let mut passed = Vec::new();
        let reading = OnlyHttp::new(sent).read_to_end(&mut passed).await;
        reading.expect("it is read");
        passed
    }

    #[tokio::test]
    async fn what_is_http_is_passed_on_as_it_came_and_what_is_not_is_an_end() {
        let long = [b"GET / HTTP/1.1\r\n".to_vec(), vec![b'a'; 50_000]].concat();
        let endless = vec![b'a'; 50_000];
        for sent in [
            &long[..],
            &endless,
            b"GET / HTTP/1.1\r\n",
            b"half a li",
            b"",
        ] {
            assert_eq!(passed_on(sent).await, sent);
        }
        for sent in [&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], b"GET /\r\n"] {
            assert_eq!(passed_on(sent).await, b"");
        }
    }
}
