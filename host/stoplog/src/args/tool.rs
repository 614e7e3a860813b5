//! `tool`: the commands of authors, and of those who accept what they made.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use stoplog_model::{SessionId, Tenant, ToolName};

use crate::lock::Granted;

#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Make the folder of a new tool from a template.
    New(New),
    /// Build the tool of a folder, and check what came out.
    Build {
        /// The tool's folder; this one if not given.
        path: Option<PathBuf>,
    },
    /// Print a component's class, imports, obligations and contract. Runs only `describe`, with no
    /// rights at all.
    Check {
        /// The component, or the folder of a tool; this one if not given.
        path: Option<PathBuf>,
    },
    /// Crash-test a tool with its cases: a far side that counts, a host that is killed at every step
    /// of the call.
    ///
    /// A case is a file NAME.toml: an input, the far side's answers, and what is expected. Nothing
    /// leaves this machine. Exit code 0: all passed; 6: a check failed.
    Test(ToolTest),
    /// Make the component of a tool without code again, of its template: method, URL, headers, body,
    /// fields. `tool new NAME --from TEMPLATE` makes its folder.
    From(ToolFrom),
    /// Accept a component: copy it into the data directory and write it into stoplog.lock, with
    /// what it may reach. Makes a stoplog.toml where there is none.
    Add(Add),
    /// Call an added tool once, through the host: checked, journalled, recovered.
    Run(Run),
    /// List the tools in stoplog.lock.
    List {
        /// As definitions for a model's provider, or as an MCP server lists them.
        #[arg(long, value_enum)]
        format: Option<Format>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct New {
    /// What the model calls it by, and the folder: lower-case letters, digits and `_`.
    pub(crate) name: ToolName,
    /// What it may do; the README says what each class owes.
    #[arg(long, value_enum, required_unless_present = "from")]
    pub(crate) class: Option<ProjectClass>,
    /// The language of the template: rust, python or js.
    #[arg(long, default_value = "rust")]
    pub(crate) lang: String,
    /// A tool without code: a template file of an HTTP request, or a name of the catalogue: http-get,
    /// http-post, webhook, mail, issue-create, issue-comment, payment-charge, payment-refund.
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["class", "lang"])]
    pub(crate) from: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ToolFrom {
    /// A template file, or a name of the catalogue.
    pub(crate) template: String,
    /// What the model calls the tool by; the template's name if not given.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The folder that it is written into; one of the tool's name if not given.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ToolTest {
    /// The component, or the folder of a tool; this one if not given.
    pub(crate) path: Option<PathBuf>,
    /// The folder with the cases; the tool's own, or `cases` beside the component, if not given.
    #[arg(long, value_name = "DIR")]
    pub(crate) cases: Option<PathBuf>,
    /// Only the checks whose name begins so, as the report prints it: CASE or CASE/CHECK.
    #[arg(long, value_name = "CHECK")]
    pub(crate) only: Option<String>,
    /// Kill every case at every point, also where an earlier case went the same way.
    #[arg(long)]
    pub(crate) every_point: bool,
}

/// The classes, as authors write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProjectClass {
    /// Class 0: computes, reaches nothing.
    Pure,
    /// Class 1: looks, changes nothing.
    Read,
    /// Class 2: changes what can be changed back.
    Reversible,
    /// Class 3: changes something at someone else's.
    External,
    /// Class 4: changes what cannot be changed back.
    Irreversible,
}

impl ProjectClass {
    /// The word, and the folder of its templates.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ProjectClass::Pure => "pure",
            ProjectClass::Read => "read",
            ProjectClass::Reversible => "reversible",
            ProjectClass::External => "external",
            ProjectClass::Irreversible => "irreversible",
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Add {
    /// The component, or the folder of a tool; this one if not given.
    pub(crate) path: Option<PathBuf>,
    /// Let it reach this origin, with path and methods if less is enough:
    /// https://api.example.com/v1/=GET,POST. May be given more than once.
    #[arg(long, value_name = "ORIGIN[=METHODS]")]
    pub(crate) grant: Vec<Granted>,
    /// Let it reach every origin that it asks for.
    #[arg(long)]
    pub(crate) grant_asked: bool,
    /// Ask nothing: what is not granted by a flag is not granted.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Needed for class external and irreversible: say that you want that.
    #[arg(long, value_name = "CLASS")]
    pub(crate) accept_class: Option<AcceptClass>,
    /// Needed when a tool of this name is in the lock as another one.
    #[arg(long)]
    pub(crate) replace: bool,
}

/// A class that has to be named to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcceptClass {
    /// Class 3.
    External,
    /// Class 4.
    Irreversible,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// The tool, as stoplog.lock names it.
    pub(crate) name: ToolName,
    /// Its input, as JSON. May be left out to go on with a session.
    #[arg(required_unless_present = "session")]
    pub(crate) input: Option<String>,
    /// Whose data it is. A key with scope tenant is one within it.
    #[arg(long, default_value = "local")]
    pub(crate) tenant: Tenant,
    /// The session's id; a new one if not given. Without an input: go on with this one.
    #[arg(long)]
    pub(crate) session: Option<SessionId>,
    /// Approve the call in this name if it waits for a person; its preview is shown.
    #[arg(long, value_name = "WHO")]
    pub(crate) approve_as: Option<String>,
}

/// Who reads the definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The `tools` of a chat completion of OpenAI, and of those who speak like it.
    Openai,
    /// The `tools` of a message of Anthropic.
    Anthropic,
    /// The result of `tools/list` of the Model Context Protocol.
    Mcp,
}
