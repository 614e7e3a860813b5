//! `sessions list`.

use serde_json::json;
use stoplog_journal::{Store, Which};

use super::Context;
use crate::args::Sessions;
use crate::error::{CliError, Exit};
use crate::output;

pub(super) async fn run(context: &Context, command: Sessions) -> Result<Exit, CliError> {
    let Sessions::List = command;
    let store = context.look().await?;
    let rows = store.sessions(Which::All).await?;
    if context.json {
        let told: Vec<_> = rows
            .iter()
            .map(|r| {
                json!({
                    "session": r.session, "tenant": r.head.tenant, "user": r.head.user,
                    "feature": r.head.feature, "status": r.head.status,
                    "trace_id": r.head.trace_id, "events": r.last_seq,
                    "updated_at_ms": r.updated_at_ms,
                    "held_by": r.lease.as_ref().map(|l| &l.holder),
                })
            })
            .collect();
        output::json(&json!(told));
        return Ok(Exit::Ok);
    }
    let table = rows
        .into_iter()
        .map(|r| {
            let time = output::time(r.updated_at_ms);
            vec![
                r.session,
                r.head.tenant,
                r.head.feature,
                r.head.status,
                time,
            ]
        })
        .collect();
    output::table(
        &["SESSION", "TENANT", "FEATURE", "STATUS", "UPDATED"],
        table,
    );
    Ok(Exit::Ok)
}
