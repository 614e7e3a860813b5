//! The log of a run: standard output, standard error and log lines, in the order they came.
//!
//! Invariants: it never holds more than [`limits::LOG_BYTES`]; writing to it never fails and
//! never waits; what it gives out has no control characters but line ends and tabs, so a tool
//! cannot play with the terminal of whoever reads it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::limits;

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    cut: bool,
}

/// A handle to the log; clones write to the same one.
#[derive(Clone, Default)]
pub(crate) struct CallLog(Arc<Mutex<Lines>>);

impl CallLog {
    pub(crate) fn write_bytes(&self, bytes: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limits::LOG_BYTES - lines.bytes.len();
        lines.cut |= bytes.len() > room;
        lines
            .bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// A line of its own, also when standard output stands within one.
    pub(crate) fn line(&self, level: &str, message: &str) {
        let within = {
            let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.bytes.last().is_some_and(|b| *b != b'\n')
        };
        let start = if within { "\n" } else { "" };
        self.write_bytes(format!("{start}[{level}] {message}\n").as_bytes());
    }

    /// The text, cleaned.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text: String = String::from_utf8_lossy(&lines.bytes)
            .chars()
            .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
            .collect();
        if lines.cut {
            text.push_str(&format!(
                "\n[stoplog] the log was cut at {} bytes\n",
                limits::LOG_BYTES
            ));
        }
        text
    }
}

impl IsTerminal for CallLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for CallLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for CallLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_bytes(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(limits::LOG_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for CallLog {
    async fn ready(&mut self) {}
}

impl AsyncWrite for CallLog {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        self.write_bytes(b);
        Poll::Ready(Ok(b.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_says_so() {
        let log = CallLog::default();
        for _ in 0..3 {
            log.write_bytes(&vec![b'x'; limits::LOG_BYTES / 2 + 1]);
        }
        let text = log.text();
        assert!(text.len() < limits::LOG_BYTES + 100);
        assert!(
            text.ends_with("the log was cut at 65536 bytes\n"),
            "{}",
            &text[65_530..]
        );
    }

    #[test]
    fn it_cannot_move_the_cursor() {
        let log = CallLog::default();
        log.write_bytes(b"a\x1b[2Jb\r\xff\n");
        log.line("warn", "c");
        assert_eq!(log.text(), "a[2Jb\u{fffd}\n[warn] c\n");
    }
}
