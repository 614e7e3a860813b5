//! The command line as it may be typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stoplog_model::{ApprovalId, SessionId, Tenant, ToolName, TraceContext};

use crate::config::{LogFormat, LogLevel, parse_age};

mod front;
mod moment;
mod question;
mod tool;
pub(crate) use front::{Client, Health, Install, KeyCommand, Mcp, McpCommand, Role, Serve};
pub(crate) use moment::Moment;
pub(crate) use question::{
    Cost, Eval, EvalExport, EvalLabel, Feedback, Incident, Listed, Outcome, Slowest, SortBy, Sql,
    Which,
};
pub(crate) use tool::{
    AcceptClass, Add, Format, New, ProjectClass, Run as RunTool, Tool, ToolFrom, ToolTest,
};

/// The command of the far side of `tool test`: for itself alone.
pub(crate) const FAR_SIDE: &str = "tool-test-far-side";
/// The command of the host that `tool test` kills: for itself alone.
pub(crate) const DOOMED_HOST: &str = "tool-test-doomed-host";

/// Runs agents whose tools cannot pay twice.
///
/// Every tool is a WebAssembly component; every request that may change something is journalled
/// before it leaves, carries a key, and is recovered after a crash.
#[derive(Debug, Parser)]
#[command(
    name = "stoplog",
    version,
    after_help = "Exit codes:\n  0  done, or shut down in order\n  1  the run ended with an error, or the command failed\n  \
                  2  the command line is wrong\n  3  the run waits for a person (approval or parked call)\n  \
                  4  the configuration, the lock file or a tool is wrong\n  \
                  5  the journal, the data directory or the session cannot be used now\n  \
                  6  `tool test` ran, and a check failed\n  \
                  130, 143  ended at once by a second SIGINT or SIGTERM\n\n\
                  SIGTERM or SIGINT, once: `run` and `resume` begin nothing new, wait for the calls that are\n\
                  under way ([shutdown] grace_seconds, 30 unless the configuration says otherwise), give\n\
                  the sessions back, and exit with 0. Go on with `stoplog resume --all`.\n\n\
                  Every error has a reason code, and each code a page in docs/reasons/."
)]
pub(crate) struct Args {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "stoplog.toml"
    )]
    pub(crate) config: PathBuf,
    /// The data directory; wins over the configuration's.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Which lines a host logs: one for each step and each run, those that failed, or none. Wins
    /// over [log] level.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// How they look: one JSON object a line, or text for people. Without it and [log] format: text
    /// on a terminal, and JSON everywhere else.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin a session and run it as far as it gets.
    Run(Run),
    /// Go on with a session, after a crash, an approval, or a decision about a parked call; or
    /// with all that can go on by themselves.
    Resume(Resume),
    /// Let clients in over HTTP and MCP, and run what they ask for; sessions that an earlier host
    /// left are gone on with.
    Serve(Serve),
    /// Ask a service that runs on this machine whether it lives: exits with 0, or with 1.
    Health(Health),
    /// Serve one client over MCP on standard input and output; `mcp install` tells a client to.
    Mcp(Mcp),
    /// Keys of the service's callers.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The sessions in the journal.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Tools: make one, build it, look at it, add it, run it, list them.
    #[command(subcommand)]
    Tool(Tool),
    /// Calls that wait for a person's approval.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Calls that wait for a person because nobody knows whether they were done.
    #[command(subcommand)]
    Parked(Parked),
    /// One trace, or one session: shown, explained, compared.
    #[command(subcommand)]
    Trace(Trace),
    /// All traces: which were slow, which failed, which were dear, and in which group.
    ///
    /// Without --group-by it lists spans: runs, or calls of tools where a question is about tools, or
    /// turns of the model where it is about models; --kind says otherwise. docs/questions.md has every
    /// column.
    Traces(Traces),
    /// Ask the trace store in SQL: one SELECT over the views that docs/questions.md explains. Nothing is
    /// written. Without a statement it prints the views and their columns.
    Sql(Sql),
    /// What was paid: for models, attempts that failed among it. Days are those of UTC.
    Cost(Cost),
    /// Sessions as candidates for evaluation, and what people say of them.
    #[command(subcommand)]
    Eval(Eval),
    /// Evidence of one run, as a folder.
    #[command(subcommand)]
    Incident(Incident),
    /// What tools keep between their calls, for each tenant apart.
    #[command(subcommand)]
    State(State),
    /// Check that the journal, or what was exported, is what was written: chain, fold, and all that
    /// is derived. Looks only, takes no lock, and changes nothing.
    Verify(Verify),
    /// Write a session to a file that `verify` can check without the journal. The file holds raw
    /// personal data, not redacted: it is made for its owner alone (mode 0600).
    Export(Export),
    /// Delete sessions that are over and old, with their events; beside a running host too.
    ///
    /// A key of an act outlives its session for as long as [retention] says, with its result, so
    /// that the same act is not done again. Spans in the trace store go by [retention] traces_days,
    /// whether their session is there or not; spans.jsonl stays as it is.
    Prune(Prune),
    /// Say what is wrong with configuration, tools, journal and toolchain, and what to do.
    Doctor,
    /// Print a script that completes this command line, for the start-up file of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual pages, one a command, into a directory; it is made if it is not there.
    Man {
        /// Such as /usr/local/share/man/man1.
        dir: PathBuf,
    },
    /// The far side of `tool test`, for itself.
    #[command(hide = true, name = FAR_SIDE)]
    FarSide,
    /// The host that `tool test` kills, for itself.
    #[command(hide = true, name = DOOMED_HOST)]
    DoomedHost,
}

impl Command {
    /// Whether it puts sessions to work, and so ends in order when it is told to.
    pub(crate) fn runs_sessions(&self) -> bool {
        matches!(
            self,
            Command::Run(_)
                | Command::Resume(_)
                | Command::Tool(Tool::Run(_))
                | Command::Serve(_)
                | Command::Mcp(Mcp { command: None, .. })
        )
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// What the agent is asked to do.
    pub(crate) task: String,
    /// Whose data and budget it is. Never defaulted.
    #[arg(long)]
    pub(crate) tenant: Tenant,
    /// Who talks; in spans and cost.
    #[arg(long, default_value = "unknown")]
    pub(crate) user: String,
    /// The session's id; a new one if not given.
    #[arg(long)]
    pub(crate) session: Option<SessionId>,
    /// The workflow's name; wins over the configuration's.
    #[arg(long)]
    pub(crate) feature: Option<String>,
    /// The scripted model's file; wins over the configuration's.
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// The span of who begins the run (W3C `traceparent`): collectors see the run below it.
    #[arg(long, value_name = "CONTEXT", conflicts_with = "admit")]
    pub(crate) traceparent: Option<TraceContext>,
    /// Only begin it, durably; `resume` runs it.
    #[arg(long, conflicts_with = "script")]
    pub(crate) admit: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Resume {
    /// The session.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) session: Option<SessionId>,
    /// Every session that can go on by itself: its run died or was shut down, or it was only
    /// admitted, or a person has decided.
    #[arg(long)]
    pub(crate) all: bool,
    /// The span of who resumes the session (W3C `traceparent`).
    #[arg(long, value_name = "CONTEXT", conflicts_with = "all")]
    pub(crate) traceparent: Option<TraceContext>,
    /// With --all: sessions at work at once.
    #[arg(long, value_name = "N", default_value_t = 16, conflicts_with = "session",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// The scripted model's file; wins over the configuration's.
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    /// Only this session; prints its last link, to be kept elsewhere.
    #[arg(long, conflicts_with = "file")]
    pub(crate) session: Option<SessionId>,
    /// An exported file, or a folder of `incident export`, instead of the journal.
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// The session.
    #[arg(long)]
    pub(crate) session: SessionId,
    /// Where to; SESSION.stoplog.jsonl here if not given. A file that is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Prune {
    /// Age behind the last event, such as 30d, 12h, 90m; wins over [retention] sessions_days.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) older_than: Option<u64>,
    /// So many of the latest sessions that are over stay, whatever their age.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_latest: u64,
    /// Only count what would go.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List them, the latest first.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// List the keys, with their sizes and who wrote them last; no values.
    List {
        /// Only of this tenant.
        #[arg(long)]
        tenant: Option<Tenant>,
        /// Only of this tool.
        #[arg(long)]
        tool: Option<ToolName>,
    },
    /// Print a value as it was kept, raw: it may be personal.
    Get {
        /// Whose.
        #[arg(long)]
        tenant: Tenant,
        /// Which tool's.
        #[arg(long)]
        tool: ToolName,
        /// The key.
        key: String,
    },
    /// Delete a key, or all of a tool; beside a running host too. A call that is under way, and has
    /// read it, may write it again.
    Delete {
        /// Whose.
        #[arg(long)]
        tenant: Tenant,
        /// Which tool's.
        #[arg(long)]
        tool: ToolName,
        /// The key.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        key: Option<String>,
        /// Every key of the tool, for this tenant.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List what waits; with --all also what is decided.
    List {
        /// Decided ones too.
        #[arg(long)]
        all: bool,
    },
    /// The whole packet.
    Show {
        /// The approval.
        id: ApprovalId,
    },
    /// Say yes. Good once, for these arguments.
    Approve {
        /// The approval.
        id: ApprovalId,
        /// Who decides.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Say no. The model is told why and plans again.
    Reject {
        /// The approval.
        id: ApprovalId,
        /// Who decides.
        #[arg(long)]
        by: String,
        /// Why: the model reads it.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Parked {
    /// List them.
    List,
    /// Everything that is known about one.
    Show {
        /// SESSION/ITERATION.ORDINAL, as `parked list` prints it.
        id: String,
    },
    /// Decide about one.
    Resolve {
        /// SESSION/ITERATION.ORDINAL, as `parked list` prints it.
        id: String,
        /// What you found out.
        #[arg(long = "as", value_name = "WHAT")]
        what: ResolveAs,
        /// With `done`: the output that the tool would have given, as JSON.
        #[arg(long)]
        output: Option<String>,
        /// Who decides.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
}

/// What a person found out about a parked call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResolveAs {
    /// It was done.
    Done,
    /// It was not done: it may be sent again under its key.
    NotDone,
    /// Leave it: the model is told that nobody knows.
    Abandon,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Traces {
    #[command(subcommand)]
    pub(crate) command: Option<TracesCommand>,
    #[command(flatten)]
    pub(crate) listed: Listed,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TracesCommand {
    /// Make the trace store anew from the journal, beside a running host too. Spans of sessions
    /// that the journal has no more are kept.
    Rebuild,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trace {
    /// Print the trees of a session, or of one trace.
    Show {
        /// Session id or trace id.
        what: String,
    },
    /// Tell in plain sentences what the agent did, from spans alone.
    Explain {
        /// Session id or trace id.
        what: String,
    },
    /// Compare two sessions, such as a clean one and one that was killed and resumed. What a resume
    /// brings with it is told apart from what differs beyond that; exit code 1 if something does.
    Diff {
        /// Session id or trace id. Of a trace, everything of its session up to it.
        clean: String,
        /// The other.
        resumed: String,
    },
    /// What took longest: the model, a tool, or a person?
    Slowest(Slowest),
}
