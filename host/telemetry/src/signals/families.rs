//! Every family of series: its name, its labels, and the bounds of its buckets.
//!
//! Invariant: what a name means is in `docs/metrics.md`, which a test compares with what is served.
//! Families whose labels are a closed list are there from the start, at zero: `rate` and `increase`
//! see nothing of the first event of a series that was not there before it.

use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

use super::SignalsError;

/// Seconds of a whole run: fine about 30 (requirement 72) and 60 (81), so that a quantile there says
/// something.
const RUN_S: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 90.0, 120.0,
    300.0, 600.0,
];
/// Seconds of a call, of an effect, of an answer's first byte: 1.5 is the promise of requirement 101.
const CALL_S: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Seconds of a commit: a sync takes less than one millisecond on a good disk.
const COMMIT_S: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];
/// Seconds of one turn of a model, retries among them.
const PROVIDER_S: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];
/// Dollars of a run.
const RUN_USD: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Calls of a run: of the model, of tools. `max_iterations` is 10 to 25 as a rule (requirement 102).
const PER_RUN: &[f64] = &[
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 50.0, 100.0,
];
/// Share of a context window: 0.8 is the alert of requirement 76.
const SHARE: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Bytes of an output, as the model is shown it: what makes the context grow (87c).
const BYTES: &[f64] = &[
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];

/// Declares the families, and makes them in a registry.
macro_rules! families {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $(in $buckets:ident)? = $help:literal;)*) => {
        /// See the module.
        pub(super) struct Families { $(pub(super) $field: $kind,)* }

        impl Families {
            pub(super) fn new(registry: &Registry) -> Result<Families, SignalsError> {
                Ok(Families { $($field: {
                    let family = <$kind as Family>::make(
                        Opts::new($name, $help), &[$($label),*], families!(@ $($buckets)?),
                    )?;
                    registry.register(Box::new(family.clone()))?;
                    family
                },)* })
            }
        }
    };
    (@ $buckets:ident) => { $buckets };
    (@) => { &[] };
}

families! {
    // Latency.
    run_duration: HistogramVec "stoplog_run_duration_seconds" ["outcome"] in RUN_S = "Seconds of a run of the agent, from its start to its end.";
    call_duration: HistogramVec "stoplog_call_duration_seconds" ["tool"] in CALL_S = "Seconds of a tool call that was executed.";
    effect_duration: Histogram "stoplog_effect_duration_seconds" [] in CALL_S = "Seconds from sending an effect to its outcome: the far side, and the network to it.";
    provider_duration: HistogramVec "stoplog_provider_duration_seconds" ["model"] in PROVIDER_S = "Seconds of one turn of a model, retries among them.";
    commit_duration: Histogram "stoplog_commit_duration_seconds" [] in COMMIT_S = "Seconds of a commit of the journal: SQLite's COMMIT with its sync.";
    first_byte: HistogramVec "stoplog_http_first_byte_seconds" ["route"] in CALL_S = "Seconds from a request's head to the head of its answer.";
    // Traffic.
    sessions: IntCounterVec "stoplog_sessions_begun_total" ["tenant", "voice"] = "Sessions that were begun, by who decides on their calls: a model, or a client.";
    runs: IntCounterVec "stoplog_runs_total" ["tenant", "outcome"] = "Runs of the agent that ended. An interrupt waits for a person, or for the next host.";
    calls: IntCounterVec "stoplog_calls_total" ["tool", "disposition", "result"] = "Tool calls that ended, by how they came about.";
    requests: IntCounterVec "stoplog_http_requests_total" ["route", "method", "status"] = "HTTP requests that were answered.";
    streams: IntCounterVec "stoplog_streams_total" ["end"] = "Event streams that ended: whole, left by the client, or cut by the host.";
    // Errors.
    errors: IntCounterVec "stoplog_errors_total" ["where", "reason"] = "Errors by reason code or class of failure, of runs, calls, provider and http.";
    rejected_turns: IntCounterVec "stoplog_rejected_turns_total" ["failure"] = "Answers of a model that cannot be used: off the format, cut off, filtered, refused.";
    // The model.
    finishes: IntCounterVec "stoplog_finishes_total" ["model", "finish"] = "Answers of a model by the reason for which it stopped.";
    tokens: IntCounterVec "stoplog_tokens_total" ["tenant", "kind"] = "Tokens: input (with those of the cache), output, cache_read, cache_write.";
    cost: CounterVec "stoplog_cost_usd_total" ["tenant", "model"] = "Dollars paid for models.";
    run_cost: Histogram "stoplog_run_cost_usd" [] in RUN_USD = "Dollars of a run.";
    run_model_calls: Histogram "stoplog_run_model_calls" [] in PER_RUN = "Requests to a model in a run, failed ones among them.";
    run_tool_calls: Histogram "stoplog_run_tool_calls" [] in PER_RUN = "Tool calls in a run.";
    context_share: HistogramVec "stoplog_context_used_ratio" ["model"] in SHARE = "Share of the model's context window that a turn used.";
    trims: IntCounterVec "stoplog_context_trims_total" ["cause"] = "Times that part of a conversation was left out of the prompt: over the configured share, or refused by the provider.";
    output_bytes: HistogramVec "stoplog_call_output_bytes" ["tool"] in BYTES = "Bytes of a tool's output, as the model is shown it.";
    // Effects and their recovery.
    effects: IntCounterVec "stoplog_effects_total" ["outcome"] = "Effects that were sent, by what came of it.";
    resends: IntCounter "stoplog_resends_total" [] = "Effects that were sent again under their key.";
    probes: IntCounterVec "stoplog_probes_total" ["purpose", "finding"] = "Questions to a far side, whether something was done.";
    resumes: IntCounterVec "stoplog_resumes_total" ["after"] = "Runs that went on with a session: after a crash, or in order.";
    parked: IntCounterVec "stoplog_parked_total" ["reason"] = "Calls that were parked for a person.";
    approvals: IntCounterVec "stoplog_approvals_total" ["step"] = "Approvals that this host asked for, and decisions that reached it.";
    // Saturation: set when it is asked for.
    calls_held: IntGauge "stoplog_calls_running" [] = "Tool calls that have a place.";
    calls_limit: IntGauge "stoplog_calls_running_limit" [] = "Places for tool calls, [limits] calls_at_once.";
    calls_waiting: IntGaugeVec "stoplog_calls_waiting" ["tenant"] = "Tool calls in line for a place.";
    requests_held: IntGauge "stoplog_requests_running" [] = "Requests of clients that have a place at the doors.";
    requests_waiting: IntGaugeVec "stoplog_requests_waiting" ["tenant"] = "Requests of clients in line at the doors.";
    runs_held: IntGauge "stoplog_runs_running" [] = "Sessions that the host is at work on.";
    runs_limit: IntGauge "stoplog_runs_running_limit" [] = "Runs at work at once, [serve] runs_at_work.";
    runs_waiting: IntGauge "stoplog_runs_waiting" [] = "Sessions that could go on and are not at work.";
    writer_waiting: IntGauge "stoplog_writer_waiting" [] = "Batches that wait for the journal's writer.";
    instances: IntGauge "stoplog_sandbox_instances" [] = "Instances of tools in the sandbox.";
    instances_limit: IntGauge "stoplog_sandbox_instances_limit" [] = "Instances that the sandbox has room for.";
    journal_bytes: IntGauge "stoplog_journal_bytes" [] = "Bytes of the journal with its write-ahead log.";
    // What waits for people, and what was configured.
    approvals_waiting: IntGauge "stoplog_approvals_waiting" [] = "Sessions that wait for an approval.";
    approvals_oldest: Gauge "stoplog_approvals_waiting_oldest_seconds" [] = "Seconds since the session that waits longest for an approval came to rest.";
    parked_waiting: IntGauge "stoplog_parked_waiting" [] = "Sessions with a parked call.";
    parked_oldest: Gauge "stoplog_parked_waiting_oldest_seconds" [] = "Seconds since the session that is parked longest came to rest.";
    ready: IntGaugeVec "stoplog_ready" ["condition"] = "Whether a condition of being ready holds: 1 or 0.";
    token_budget: IntGaugeVec "stoplog_token_budget_tokens" [] = "Tokens that a tenant may use in a day, [metrics] tokens_per_day; not there if none is configured.";
    run_cost_target: GaugeVec "stoplog_run_cost_target_usd" [] = "Dollars that 95 of 100 runs may cost, [metrics] run_cost_usd; not there if none is configured.";
    build: IntGaugeVec "stoplog_build_info" ["version"] = "1, with the version of the host.";
    // The process, by the names that every Prometheus client gives them.
    memory: IntGauge "process_resident_memory_bytes" [] = "Resident memory in bytes.";
    files: IntGauge "process_open_fds" [] = "Open file descriptors.";
    started: Gauge "process_start_time_seconds" [] = "Start of the process, in seconds since the Unix epoch.";
}

/// How a kind of family is made.
trait Family: Sized {
    fn make(opts: Opts, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self>;
}

fn bounded(opts: Opts, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(opts).buckets(buckets.to_vec())
}

impl Family for Histogram {
    fn make(opts: Opts, _: &[&str], buckets: &[f64]) -> prometheus::Result<Self> {
        Histogram::with_opts(bounded(opts, buckets))
    }
}

impl Family for HistogramVec {
    fn make(opts: Opts, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self> {
        HistogramVec::new(bounded(opts, buckets), labels)
    }
}

macro_rules! plain {
    ($($alone:ident, $many:ident;)*) => {$(
        impl Family for $alone {
            fn make(opts: Opts, _: &[&str], _: &[f64]) -> prometheus::Result<Self> {
                $alone::with_opts(opts)
            }
        }
        impl Family for $many {
            fn make(opts: Opts, labels: &[&str], _: &[f64]) -> prometheus::Result<Self> {
                $many::new(opts, labels)
            }
        }
    )*};
}
plain! {
    IntCounter, IntCounterVec;
    Gauge, GaugeVec;
    IntGauge, IntGaugeVec;
}

impl Family for CounterVec {
    fn make(opts: Opts, labels: &[&str], _: &[f64]) -> prometheus::Result<Self> {
        CounterVec::new(opts, labels)
    }
}
