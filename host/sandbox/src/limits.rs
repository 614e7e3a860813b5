//! Every limit of the sandbox, in one place: name, unit, reason.
//!
//! Invariant: whatever a guest can make grow is bounded by a constant here. A guest that meets a
//! limit gets an error that it can handle where the interface has one; else the run ends with
//! `RunError::Limit`, and the instance is thrown away.
//!
//! What may go wrong: a limit is too tight for an honest tool. Then the message names the limit;
//! raise it here, with the reason.

use std::time::Duration;

/// Bytes of a component file. A Python tool has 18 MiB, 40 with its libraries. Stops a file that
/// keeps the compiler busy for hours.
pub const COMPONENT_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of all linear memories of a run together. A Python tool starts at 20 to 60 MiB. Stops a
/// guest that eats the host's memory, also by many memories of a modest size each.
pub const MEMORY_BYTES: usize = 256 * 1024 * 1024;

/// Linear memories of a run. One is usual, an adapter may bring a second.
pub const MEMORIES: u32 = 4;

/// Elements of all tables of a run together. CPython has about 10,000 functions in its table.
/// Stops a guest that grows a table instead of a memory: an element costs the host 8 bytes.
pub const TABLE_ELEMENTS: usize = 200_000;

/// Tables of a run. Dynamic linking, as in Python tools, makes one for each few modules.
pub const TABLES: u32 = 32;

/// Core instances of a run. Python tools link about 30 modules. Stops a component that
/// instantiates itself to death.
pub const CORE_INSTANCES: u32 = 64;

/// Runs at the same time. More wait for their turn, within their time. Sizes the pool, and bounds
/// the memory of all runs together.
pub const CONCURRENT_RUNS: u32 = 64;

/// Bytes of a linear memory of which the written pages stay with its slot when a run ends, wiped. A
/// Rust tool has its stack in the first MiB and its data behind it, and writes a tenth of that.
pub const KEPT_MEMORY_BYTES: usize = 2 * 1024 * 1024;

/// The same of a table: 2,000 elements, a Rust tool's.
pub const KEPT_TABLE_BYTES: usize = 16 * 1024;

/// Bytes that one host call may make the host allocate for what the guest passes in. Must hold a
/// request body and its headers. Stops the cheap trick of passing one large list again and again;
/// wasmtime's own default is 128 MiB.
pub const HOSTCALL_BYTES: usize = 16 * 1024 * 1024;

/// Resources (streams, pollables, requests, permits) that a run may hold at once. Stops a guest
/// that never drops a handle. Each may stand for a map of headers ([`HEADER_BYTES`]) or a third of
/// a body that is not sent yet ([`BODY_CHUNK_BYTES`]), so it bounds those too: 64 MiB of either.
pub const RESOURCES: usize = 1_024;

/// Handles in the component's own tables. Stops the same, on the other side of the border.
pub const HANDLES: usize = 8_192;

/// Bytes of one draw of random numbers. Stops `get-random-bytes(4 GiB)`.
pub const RANDOM_BYTES: u64 = 64 * 1024;

/// Bytes of the log of a run: standard output, standard error and log lines. What comes later is
/// dropped, and the log says so; a print never fails, because Rust's `println!` panics then.
pub const LOG_BYTES: usize = 64 * 1024;

/// Bytes of what an export returns. It goes into the journal, and to the model, who pays for it.
pub const OUTPUT_BYTES: usize = 1024 * 1024;

/// Bytes of a request body. It is held in memory and goes into the journal before it leaves.
pub const REQUEST_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a response body. It is held in memory and goes into the journal.
pub const RESPONSE_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of the headers of one request or response, in memory. Servers take 8 to 64 KiB.
pub const HEADER_BYTES: usize = 64 * 1024;

/// Bytes that the host takes of a body before anybody reads them; it holds two or three such pieces
/// of each body. Stops a guest that fills thousands of bodies and sends none: wasmtime's own default
/// is 1 MiB, which was 2.7 GiB of the host's memory in one call.
pub const BODY_CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of all bodies of a run together, requests and responses: a guest may hold them all. Stops
/// a guest that stays below the limit of one body and has [`REQUESTS`] of them.
pub const TRAFFIC_BYTES: usize = 64 * 1024 * 1024;

/// Requests of a run that are under way at once; more wait for their turn. Bounds the answers that
/// the host holds before they are counted.
pub const REQUESTS_AT_ONCE: usize = 8;

/// Requests of a run, effects and plain ones together. Stops a loop that hammers the far side.
pub const REQUESTS: u32 = 64;

/// Annotations of a run, on its own span and on those of the tool. They become attributes of a span.
pub const ANNOTATIONS: usize = 32;

/// Spans of the tool's own in a run; what is begun later leaves no trace. Stops a guest that fills
/// the journal with them.
pub const SPANS: usize = 32;

/// Bytes of an annotation's name.
pub const ANNOTATION_NAME_BYTES: usize = 128;

/// Bytes of an annotation's value; more is cut off.
pub const ANNOTATION_VALUE_BYTES: usize = 1_024;

/// Bytes of a stack of a run, host frames included. CPython's parser recurses deeply.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of that stack that WebAssembly may use. Stops unbounded recursion; the rest is for host
/// functions called at the deepest point.
pub const WASM_STACK_BYTES: usize = 1024 * 1024;

/// Time between two looks at a running guest. A guest that computes holds its thread no longer.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Time that a run gets over its timeout when it stands in a host function, where epochs do not
/// reach: then its future is dropped.
pub const TIMEOUT_GRACE: Duration = Duration::from_millis(50);

/// Milliseconds that `describe` may take: it should be a constant. Python needs a second to wake.
pub const DESCRIBE_TIMEOUT_MS: u64 = 10_000;
