//! What a client may make the host hold, by name.

use std::num::NonZeroU32;
use std::time::Duration;

use stoplog_admission::{Bounds, Share};

/// Bounds of the HTTP service. What the operator may set is in `[serve]`; the rest is fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body. A mebibyte: inputs of tools are texts, and a body is held whole.
    pub body_bytes: usize,
    /// Connections at once. Each costs a task and buffers, whatever it sends.
    pub connections: usize,
    /// Time that a client may take for a request's head, and for its body: a client that sends a byte
    /// a second would hold its connection for ever.
    pub read: Duration,
    /// Calls and runs of a tenant at work at once.
    pub at_work: usize,
    /// Those that wait for a place behind them. Who finds that full is told to come again.
    pub waiting: usize,
    /// How long an answer to `POST /agent/run` may take before it says where to look.
    pub run_patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 1024 * 1024,
            connections: 1024,
            read: Duration::from_secs(10),
            at_work: 64,
            waiting: 256,
            run_patience: Duration::from_secs(600),
        }
    }
}

/// Longest wait for a place: who has waited so long is told to come again.
const PLACE_WAIT: Duration = Duration::from_secs(30);

impl Limits {
    /// The places of calls: each tenant has its own, and all together have what connections allow.
    pub(crate) fn bounds(&self) -> Bounds {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let some = |n: usize| NonZeroU32::new(count(n)).unwrap_or(NonZeroU32::MIN);
        let mut bounds = Bounds::open(some(self.connections), count(self.connections), PLACE_WAIT);
        bounds.each = Share {
            places: some(self.at_work),
            waiting: count(self.waiting),
        };
        bounds
    }
}

/// Longest idempotency key, in characters, as it is usual elsewhere.
pub(crate) const KEY_CHARS: usize = 255;

/// Longest name of a conversation, in characters: it is part of a scope.
pub(crate) const CONVERSATION_CHARS: usize = 64;

/// Pause between two comments on a silent stream: what stands in between drops silent ones.
pub(crate) const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams look at the journal at least so often, also when nobody told them of a commit: a command
/// beside the host may have written.
pub(crate) const STREAM_LOOK_EVERY: Duration = Duration::from_secs(1);
