//! `export`: a session as a file that can be checked without the journal.

use std::path::PathBuf;

use serde_json::json;
use stoplog_journal::{Part, StoreError, chain, read_one};
use stoplog_model::Reason;
use stoplog_model::port::Clock;
use stoplog_query::export;
use stoplog_query::verify::hex;

use super::Context;
use crate::args::Export;
use crate::error::{CliError, Exit};
use crate::files;
use crate::host::SystemClock;
use crate::output;

pub(super) async fn run(context: &Context, args: Export) -> Result<Exit, CliError> {
    let id = &args.session;
    let store = context.look().await?;
    let reading = read_one(&*store, id, Part::Whole).await?;
    // A file that stands for itself must not be made of what does not.
    chain::check(id.as_str(), &reading)?;
    let listed = reading.row.ok_or_else(|| {
        let message = format!("there is no session {id}");
        CliError::new(Reason::SessionNotFound, message)
    })?;
    let mut rows = reading.rows;
    if listed.chain.is_none() {
        output::note("format 1: the journal has no chain yet; the links are made for this file");
        rows = export::linked(id.as_str(), rows);
    }
    let (events, last) = (rows.len(), rows.last().map(|r| hex(&r.chain)));
    let text = export::text(id.as_str(), &listed.head.tenant, SystemClock.now_ms(), rows)
        .ok_or_else(|| StoreError::Corrupt(format!("session {id} has no events")))?;
    let out = args
        .out
        .unwrap_or_else(|| PathBuf::from(format!("{id}.stoplog.jsonl")));
    files::write_private(&out, text.as_bytes())?;
    output::note(format!(
        "{} holds raw personal data: what was asked, sent and answered, not redacted",
        out.display()
    ));
    if context.json {
        let told = json!({
            "session": id, "file": out, "events": events, "last_link": last,
        });
        output::json(&told);
        return Ok(Exit::Ok);
    }
    output::line(format!("{}: {events} event(s)", out.display()));
    output::line(format!("last link {}", last.unwrap_or_default()));
    Ok(Exit::Ok)
}
