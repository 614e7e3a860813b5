//! Questions on the command line: which spans, sorted or grouped how, and in which form.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use stoplog_model::{SessionId, Tenant, TraceId};
use stoplog_query::cost;
use stoplog_query::question::{Dimension, Kind};

use super::Moment;

/// Rows that are shown if nobody says otherwise: a screen or two.
const DEFAULT_LIMIT: usize = 50;
/// Rows that may be asked for: an answer is held in memory.
const MAX_LIMIT: i64 = 100_000;
/// Longest time for a statement of a person, seconds.
const MAX_SECONDS: i64 = 3600;

/// Which spans.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct Which {
    /// Began then or later: an age such as 24h or 7d, a day, or a moment. UTC.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Began before then.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Of this tenant; several with commas, as all of these.
    #[arg(long, value_delimiter = ',')]
    pub(crate) tenant: Vec<Tenant>,
    /// Of this user.
    #[arg(long, value_delimiter = ',')]
    pub(crate) user: Vec<String>,
    /// Of this workflow.
    #[arg(long, value_delimiter = ',')]
    pub(crate) feature: Vec<String>,
    /// Of this session.
    #[arg(long, value_delimiter = ',')]
    pub(crate) session: Vec<SessionId>,
    /// Of this trace.
    #[arg(long, value_delimiter = ',')]
    pub(crate) trace: Vec<TraceId>,
    /// Calls of this tool.
    #[arg(long, value_delimiter = ',')]
    pub(crate) tool: Vec<String>,
    /// Calls of this blast-radius class.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=4))]
    pub(crate) class: Vec<u8>,
    /// That ended so, or go on.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new([
        "success", "error", "timeout", "interrupt", "crashed", "running", "waiting"]))]
    pub(crate) status: Vec<String>,
    /// With this reason code or kind of error.
    #[arg(long, value_delimiter = ',')]
    pub(crate) reason: Vec<String>,
    /// Calls that came about so. Without it, calls that a later run only remembers (replayed) are left
    /// out.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new([
        "executed", "replayed", "deduplicated", "probed", "refused", "parked", "in_doubt", "running"]))]
    pub(crate) disposition: Vec<String>,
    /// Of the model that was asked for; of a call, the one that asked for it.
    #[arg(long, value_delimiter = ',')]
    pub(crate) model_id: Vec<String>,
    /// Of the model that answered.
    #[arg(long, value_delimiter = ',')]
    pub(crate) model_version: Vec<String>,
    /// Of this prompt.
    #[arg(long, value_delimiter = ',')]
    pub(crate) prompt_version_hash: Vec<String>,
    /// Turns that stopped for this reason.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new([
        "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "context_exceeded",
        "malformed_tool_call", "error", "unknown"]))]
    pub(crate) finish_reason: Vec<String>,
}

/// A dimension as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupBy(pub(crate) Dimension);

impl ValueEnum for GroupBy {
    fn value_variants<'a>() -> &'a [GroupBy] {
        const ALL: [GroupBy; Dimension::ALL.len()] = {
            let mut all = [GroupBy(Dimension::Tenant); Dimension::ALL.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = GroupBy(Dimension::ALL[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.word()).alias(self.0.column()))
    }
}

/// A dimension of money as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MoneyBy(pub(crate) Dimension);

impl ValueEnum for MoneyBy {
    fn value_variants<'a>() -> &'a [MoneyBy] {
        const ALL: [MoneyBy; cost::BY.len()] = {
            let mut all = [MoneyBy(Dimension::Tenant); cost::BY.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = MoneyBy(cost::BY[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let value = match self.0 {
            Dimension::ModelId => clap::builder::PossibleValue::new("model"),
            other => clap::builder::PossibleValue::new(other.word()),
        };
        Some(value.alias(self.0.column()))
    }
}

/// A kind of span as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanKind(pub(crate) Kind);

impl ValueEnum for SpanKind {
    fn value_variants<'a>() -> &'a [SpanKind] {
        const ALL: [SpanKind; Kind::ALL.len()] = [
            SpanKind(Kind::Run),
            SpanKind(Kind::Step),
            SpanKind(Kind::LlmCall),
            SpanKind(Kind::ToolCall),
            SpanKind(Kind::Retry),
            SpanKind(Kind::Approval),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.word()))
    }
}

/// By what an answer is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// The slowest first; of groups, by p95.
    Latency,
    /// The dearest first.
    Cost,
    /// The latest first; of a list.
    Start,
    /// The largest first; of groups.
    Count,
    /// Most errors first; of groups.
    Errors,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Listed {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Spans of this kind.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<SpanKind>,
    /// In groups: how many, errors, p50, p95 and p99 of the latency, cost. One or several, with commas.
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    pub(crate) group_by: Vec<GroupBy>,
    /// Without it: the latest first, or the largest group.
    #[arg(long, value_name = "WHAT")]
    pub(crate) sort_by: Option<SortBy>,
    /// Rows at most.
    #[arg(long, default_value_t = DEFAULT_LIMIT, value_parser = limit())]
    pub(crate) limit: usize,
    /// Write it as CSV to a file; - is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) csv: Option<PathBuf>,
    /// Print the question as SQL, for `stoplog sql`, and ask nothing.
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    pub(crate) as_sql: bool,
}

fn limit() -> clap::builder::ValueParser {
    let parser = clap::value_parser!(i64).range(1..=MAX_LIMIT);
    clap::builder::TypedValueParser::map(parser, |n| n as usize).into()
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Slowest {
    /// Session id or trace id; all of them if not given.
    pub(crate) what: Option<String>,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Rows at most.
    #[arg(long, default_value_t = 10, value_parser = limit())]
    pub(crate) limit: usize,
    /// Write it as CSV to a file; - is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) csv: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Sql {
    /// Such as "SELECT tenant_id, count(*) FROM runs GROUP BY 1".
    pub(crate) statement: Option<String>,
    /// Rows at most; the rest is cut off, and told.
    #[arg(long, default_value_t = 1000, value_parser = limit())]
    pub(crate) limit: usize,
    /// Longest time, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS as u64))]
    pub(crate) timeout: u64,
    /// Write it as CSV to a file; - is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) csv: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Cost {
    /// By what it is summed, with commas.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "WHAT",
        default_value = "tenant"
    )]
    pub(crate) by: Vec<MoneyBy>,
    /// Paid then or later: an age such as 24h or 7d, a day, or a moment. UTC.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Paid before then.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Of this tenant; several with commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) tenant: Vec<Tenant>,
    /// Of this workflow.
    #[arg(long, value_delimiter = ',')]
    pub(crate) feature: Vec<String>,
    /// Of this user.
    #[arg(long, value_delimiter = ',')]
    pub(crate) user: Vec<String>,
    /// Write it as CSV to a file; - is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) csv: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Eval {
    /// Write a line for each session that has ended: what went in, what came out, the calls, what people
    /// said. The task and the answer are hidden, as everything personal is, unless --raw is given.
    Export(EvalExport),
    /// Say how good a session was. It is kept apart from the journal and the traces, and survives
    /// `traces rebuild`; the last word counts, and the earlier ones stay.
    Label(EvalLabel),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcome {
    /// With an answer.
    Success,
    /// With an error.
    Error,
    /// Its last run stopped to wait for a person, or with the host.
    Interrupt,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EvalExport {
    /// Its last run began then or later: an age such as 24h or 7d, a day, or a moment. UTC.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Its last run began before then.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Of this tenant; several with commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) tenant: Vec<Tenant>,
    /// That ended so; all of them if not given.
    #[arg(long, value_delimiter = ',')]
    pub(crate) outcome: Vec<Outcome>,
    /// Only those that somebody has labelled.
    #[arg(long)]
    pub(crate) labelled: bool,
    /// Read the journal, and write task, answer, arguments, results and notes as they are: personal data.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Where to; standard output if not given. The file is made for its owner alone (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// What a person thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Feedback {
    /// It was good.
    ThumbsUp,
    /// It was not.
    ThumbsDown,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EvalLabel {
    /// The session.
    pub(crate) session: SessionId,
    /// How good it was.
    #[arg(long)]
    pub(crate) feedback: Feedback,
    /// Who says so.
    #[arg(long)]
    pub(crate) by: String,
    /// Why. Shown in `eval export --raw` alone.
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Incident {
    /// Write a folder: a postmortem with its timeline and the model's inferences filled in, the spans, the
    /// session's journal as far as it may be shown, versions and digests, and a manifest that
    /// `stoplog verify DIR` checks. It is there as a whole, or not at all.
    Export {
        /// Session id or trace id.
        what: String,
        /// The folder to make. There must be none yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}
