//! Limits of what leaves and what comes back: each with its unit, and the accident it stops.

use std::time::Duration;

/// Bytes of a request body. A guest that uploads more wants another tool: the body is held in
/// memory and written to the journal.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a response body. Stops a far side that answers without end from filling the memory
/// of the host.
pub const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a collector's answer: it says what it did not take, in a few words.
pub const MAX_COLLECTOR_ANSWER_BYTES: usize = 64 * 1024;

/// Headers of a request. Most servers refuse more than 100; the host adds a few of its own.
pub const MAX_HEADERS: usize = 64;

/// Bytes of one header, name and value. The usual limit of servers for a whole head is twice
/// that.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Bytes of a URL. Longer ones are refused by most servers, in ways that look like a lost answer.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// How long a connection may take to come up, TLS included. Shorter than any sensible deadline of
/// a call, so that a dead address is `NotSent`, which is safe to try again, and not a deadline
/// that leaves the effect in doubt.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the resolver may take. `getaddrinfo` has no limit of its own.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried in turn. A name with a thousand dead addresses would
/// use up the deadline of the call.
pub const MAX_ADDRESSES: usize = 4;

/// How long an idle connection is kept. Shorter than the 60 s after which usual servers and load
/// balancers close it: a connection closed at the moment of writing leaves an effect in doubt.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Idle connections kept for one address: more than the writes of a session that can be under way.
pub const MAX_IDLE_PER_HOST: usize = 16;

/// TLS clients kept, one for each (name, address). A guest that walks through many names must
/// not fill the memory of the host.
pub const MAX_PINNED_CLIENTS: usize = 128;

/// Shortest secret in bytes. Shorter ones would be found by chance in every second answer, and
/// scrubbed.
pub const MIN_SECRET_BYTES: usize = 4;
