//! The demo: three customers, one `kill -9`, one refund for each who gets one, and the questions of the
//! people on call.
//!
//! Everything that it does is a command of the host, run as a process of its own and printed
//! before its output, so that a reader can do it again by hand. Whatever does not come out as
//! promised is an error: the demo proves, it does not show off.

mod folder;
mod process;
mod query;
mod service;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::{TOOLS, tool_file};
use folder::Folder;
use process::{Backend, Host, wait_for};
use query::{Intent, Journal, Run};
pub use service::serve;

/// The host did what it was told.
const EXIT_DONE: i32 = 0;
/// The run ended with an error.
const EXIT_FAILED: i32 = 1;
/// The run waits for a person.
const EXIT_WAITS: i32 = 3;

const PRIYA: &str = "Order 448100 came five days late. I want my money back. (priya@example.com)";
const SURESH: &str =
    "My laptop, order 448200, came nine days late. I want my money back. (suresh@example.com)";
const FARHAN: &str = "My desk lamp, order 441800, came two days late. (farhan@example.com)";
/// Who decides about large refunds.
const FINANCE: &str = "Meera, finance lead";
/// The key of the refund that must not be paid twice: `refund_{order_id}_{reason}`.
const KEY: &str = "refund_448200_delay";
/// The iteration of Suresh's refund, from 1: customer, orders, policy, refund.
const REFUND_ITERATION: i64 = 4;

/// How long the backend holds its answer back: longer than the demo needs to kill the host.
const HELD_ANSWER_MS: u64 = 60_000;
/// How long the refund may take to arrive at the backend. A busy machine needs seconds.
const REFUND_WITHIN: Duration = Duration::from_secs(60);

/// Plays the demo in `dir`, by default `target/nimbus-pay` in the workspace.
///
/// # Errors
///
/// The folder is not a demo's, a process could not be run, or anything came out otherwise than
/// promised.
pub fn play(dir: Option<&Path>) -> anyhow::Result<()> {
    let folder = Folder::make_empty(dir)?;
    heading("The backend of NimbusPay, a process of its own with a ledger of its own")?;
    let backend = Backend::start(&folder)?;
    say(&format!("It listens at {}.", backend.address()))?;
    let host = Host::new(&folder, &backend)?;
    say(&format!("Below, `host` stands for: {}", host.stands_for()))?;

    add_tools(&host)?;
    priya(&host)?;
    farhan(&host)?;
    rehearsal(&folder, &host)?;
    suresh(&folder, &host, &backend)?;
    questions(&host)?;
    account(&folder, &host, &backend)
}

fn add_tools(host: &Host) -> anyhow::Result<()> {
    heading("Add five tools: WebAssembly components, read before they are ever run for the agent")?;
    for (tool, accepted) in TOOLS {
        let file = tool_file(tool);
        let file = file.to_str().context("the path of the tools is no UTF-8")?;
        let mut command = vec!["tool", "add", file];
        if let Some(class) = accepted {
            command.extend(["--accept-class", class]);
        }
        host.run(&command, EXIT_DONE)?;
    }
    Ok(())
}

fn priya(host: &Host) -> anyhow::Result<()> {
    heading("Priya: Rs 6,400, below the limit, so nobody is asked")?;
    host.run(
        &run("acme", "priya", "sess_88", &host.script("priya"), PRIYA),
        EXIT_DONE,
    )?;
    host.run(&["trace", "show", "sess_88"], EXIT_DONE)?;
    Ok(())
}

fn farhan(host: &Host) -> anyhow::Result<()> {
    heading("Farhan: the model turns two digits round, and says that it paid what was declined")?;
    let script = host.script("farhan");
    let run = run("initech", "farhan", "sess_farhan", &script, FARHAN);
    host.run(&run, EXIT_FAILED)?;
    say("No call did what the answer claims, so nobody was told it.")
}

/// Suresh's case without a kill, for comparing: at a copy of the backend, so that no money moves.
fn rehearsal(folder: &Folder, host: &Host) -> anyhow::Result<()> {
    heading("A rehearsal of the next case, undisturbed, at a copy of the backend")?;
    let copy = Backend::start_copy(folder, "rehearsal")?;
    let host = host.at(&copy, "rehearsal.toml")?;
    let script = host.script("suresh");
    let session = "sess_suresh_clean";
    host.run(
        &run("rehearsal", "suresh", session, &script, SURESH),
        EXIT_WAITS,
    )?;
    approve(&host)?;
    host.run(&["resume", session, "--script", &script], EXIT_DONE)?;
    Ok(())
}

/// Says yes to the one question that waits.
fn approve(host: &Host) -> anyhow::Result<()> {
    let listed = host.run(&["approvals", "list", "--json"], EXIT_DONE)?;
    let approval = only_approval(&listed)?;
    host.run(&["approvals", "show", &approval], EXIT_DONE)?;
    host.run(
        &["approvals", "approve", &approval, "--by", FINANCE],
        EXIT_DONE,
    )?;
    Ok(())
}

fn suresh(folder: &Folder, host: &Host, backend: &Backend) -> anyhow::Result<()> {
    let script = host.script("suresh");
    let resume = ["resume", "sess_suresh", "--script", &script];

    heading("Suresh: Rs 72,000, above the limit, so the run waits for a person")?;
    host.run(
        &run("initech", "suresh", "sess_suresh", &script, SURESH),
        EXIT_WAITS,
    )?;

    heading("The finance lead reads what would be done, and approves")?;
    approve(host)?;

    heading("The worst moment: the money has left, the answer has not come, kill -9")?;
    say("The backend is told to do the next refund and to keep its answer to itself.")?;
    let fault = json!({ "path": "/refunds", "mode": "hold_answer", "delay_ms": HELD_ANSWER_MS });
    backend.post("/admin/misbehave", &fault)?;
    let mut resumed = host.start(&resume)?;
    wait_for("the refund to arrive at the backend", REFUND_WITHIN, || {
        resumed.still_runs()?;
        Ok(!refunds(backend)?.is_empty())
    })?;
    let pid = resumed.id();
    resumed.kill()?;
    say(&format!("$ kill -9 {pid}"))?;
    let journal = Journal::new(folder);
    say("The host's journal holds what it was about to do, and no outcome:")?;
    say(&format!("  {}", query::INTENTS_SQL))?;
    let intents = journal.open_intents()?;
    for Intent { iteration, key } in &intents {
        say(&format!("  {iteration} | {key}"))?;
    }
    let refund = Intent {
        iteration: REFUND_ITERATION,
        key: KEY.to_owned(),
    };
    ensure!(
        intents == [refund],
        "one intent should be open, for {KEY} at iteration {REFUND_ITERATION}"
    );
    backend.delete("/admin/misbehave")?;

    heading("Start again: the same session goes on where it stopped")?;
    host.run(&resume, EXIT_DONE)?;
    host.run(&["trace", "show", "sess_suresh"], EXIT_DONE)?;
    Ok(())
}

/// What the people on call ask, of all of it.
fn questions(host: &Host) -> anyhow::Result<()> {
    heading("Three in the morning: questions")?;
    let csv = host.file("cost-summary.csv");
    let evals = host.file("eval_candidates.jsonl");
    for question in [
        &[
            "traces",
            "--tenant",
            "acme",
            "--since",
            "1h",
            "--sort-by",
            "latency",
        ][..],
        &[
            "traces",
            "--tool",
            "issue_refund",
            "--status",
            "error",
            "--since",
            "24h",
        ],
        &["traces", "--group-by", "model_version"],
        &["traces", "--group-by", "prompt_version_hash"],
        &["cost", "--by", "tenant,feature,day", "--csv", &csv],
        &["trace", "explain", "sess_suresh"],
        &["trace", "diff", "sess_suresh_clean", "sess_suresh"],
        &["eval", "export", "--out", &evals],
    ] {
        host.run(question, EXIT_DONE)?;
    }
    say("The kill has left no other trace than that: the diff would have failed.")
}

/// The last word has the backend, which counts what it really did.
fn account(folder: &Folder, host: &Host, backend: &Backend) -> anyhow::Result<()> {
    heading("What the journal says")?;
    let journal = Journal::new(folder);
    let transitions = journal.transitions()?;
    say(&format!("  {}", query::TRANSITIONS_SQL))?;
    for transition in &transitions {
        say(&format!("  {transition}"))?;
    }
    let iterations: Vec<i64> = transitions.iter().map(|t| t.iteration).collect();
    ensure!(
        iterations == [1, 2, 3, 4, 5],
        "Suresh's iterations should be observed once each, in order: {iterations:?}"
    );
    let refund = transitions.iter().find(|t| t.tool == "issue_refund");
    let key = refund.map(|t| t.key.as_str());
    ensure!(
        key == Some(KEY),
        "the key after the crash is {key:?}, not {KEY}"
    );
    let run = journal.last_run()?;
    let expected = Run {
        at_iteration: REFUND_ITERATION,
        after_crash: true,
    };
    ensure!(
        run == Some(expected),
        "the last run began otherwise: {run:?}"
    );
    say(&format!(
        "It resumed at iteration {REFUND_ITERATION}. The key before and after: {KEY}"
    ))?;

    heading("What the backend says")?;
    say("The refunds that it was asked for, in order:")?;
    for request in refund_requests(backend)? {
        say(&format!("  {request}"))?;
    }
    let counted = backend.get("/admin/counts")?;
    let all = &counted["refunds"]["executed"];
    ensure!(
        *all == 2,
        "the backend paid {all} refunds: one for Priya and one for Suresh were promised"
    );
    say("Priya and Suresh got one refund each, Farhan none.")?;
    say(&format!("Everything lies in {}:", folder.path().display()))?;
    say("  data/  the host's journal and traces    backend.db  the backend's ledger")?;
    say(&format!("To look around: {} --help", host.stands_for()))?;
    let done = refunds(backend)?;
    for refund in &done {
        say(&format!("Under {KEY}: {refund}"))?;
    }
    ensure!(
        done.len() == 1,
        "the backend did {} refunds under {KEY}: one was promised",
        done.len()
    );
    say(&format!("refunds done by the backend: {}", done.len()))
}

fn run<'a>(
    tenant: &'a str,
    user: &'a str,
    session: &'a str,
    script: &'a str,
    task: &'a str,
) -> [&'a str; 10] {
    [
        "run",
        "--tenant",
        tenant,
        "--user",
        user,
        "--session",
        session,
        "--script",
        script,
        task,
    ]
}

fn only_approval(listed: &str) -> anyhow::Result<String> {
    let approvals: Vec<Value> =
        serde_json::from_str(listed).context("reading the list of approvals")?;
    match approvals.as_slice() {
        [approval] => {
            let id = approval["id"].as_str().context("the approval has no id")?;
            Ok(id.to_owned())
        }
        other => bail!("one approval should wait, not {}", other.len()),
    }
}

/// What the backend did under Suresh's key.
fn refunds(backend: &Backend) -> anyhow::Result<Vec<Value>> {
    let found = backend.get(&format!("/refunds/by-key/{KEY}"))?;
    let refunds = found["refunds"].as_array();
    Ok(refunds.context("the backend lists no refunds")?.clone())
}

fn refund_requests(backend: &Backend) -> anyhow::Result<Vec<String>> {
    let asked = backend.get("/admin/requests")?;
    let requests = asked["requests"]
        .as_array()
        .context("the backend lists no requests")?;
    Ok(requests
        .iter()
        .filter(|request| request["path"] == "/refunds")
        .map(|request| {
            let text = |name: &str| request[name].as_str().unwrap_or("-").to_owned();
            format!("POST /refunds  key {}  {}", text("key"), text("outcome"))
        })
        .collect())
}

fn heading(text: &str) -> anyhow::Result<()> {
    say(&format!("\n== {text}"))
}

/// The demo speaks on standard output, and stops when nobody listens.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").context("printing")
}
