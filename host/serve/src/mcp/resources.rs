//! What a client may read: the transitions of a session, and a trace. And a prompt for who is on
//! call.

use rmcp::ErrorData;
use rmcp::model::{
    GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage,
    ReadResourceResult, ResourceContents, ResourceTemplate, Role,
};
use serde_json::{Value, json};
use stoplog_model::event::CallResult;
use stoplog_model::{Reason, SessionId, disclosure};

use crate::caller::Caller;
use crate::seam::{Host, Refusal};

const SESSIONS: &str = "stoplog://sessions/";
const TRACES: &str = "stoplog://traces/";
const ON_CALL: &str = "on_call";

pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, description: &str| {
        ResourceTemplate::new(uri, name)
            .with_description(description)
            .with_mime_type("application/json")
    };
    vec![
        template(
            "stoplog://sessions/{session}",
            "transitions",
            "What a session did, call by call, redacted.",
        ),
        template(
            "stoplog://traces/{trace}",
            "trace",
            "The spans of a session or of one trace, redacted.",
        ),
    ]
}

pub(super) async fn read(
    host: &dyn Host,
    caller: &Caller,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let value = if let Some(id) = uri.strip_prefix(SESSIONS) {
        transitions(host, caller, id).await
    } else if let Some(what) = uri.strip_prefix(TRACES) {
        host.trace(caller, what).await.map(Value::from)
    } else {
        let message = format!("there is nothing at {uri}");
        Err(Refusal::new(Reason::SessionNotFound, message))
    };
    let value = value.map_err(|refusal| ErrorData::resource_not_found(refusal.message, None))?;
    let text = ResourceContents::text(value.to_string(), uri);
    Ok(ReadResourceResult::new(vec![text]))
}

/// One entry for each call that ended, as in the table `state_transitions`.
async fn transitions(host: &dyn Host, caller: &Caller, id: &str) -> Result<Value, Refusal> {
    let id =
        SessionId::new(id).map_err(|e| Refusal::new(Reason::SessionNotFound, e.to_string()))?;
    let found = host.find(caller, &id).await?;
    let session = &found.session;
    let ended = session.calls().filter_map(|(position, call)| {
        let observed = call.observed.as_ref()?;
        let pin = session.pin(&observed.tool);
        let result = match (&observed.result, pin) {
            (CallResult::Ok(output), Some(pin)) => {
                disclosure::redact(output, &pin.contract.output_schema)
            }
            (CallResult::Ok(_), None) => Value::Null,
            (CallResult::Err(e), _) => {
                json!({"error": e.reason.map_or(e.code.as_str(), |r| r.code())})
            }
        };
        Some(json!({
            "iteration": position.iteration,
            "ordinal": position.ordinal,
            "tool_name": pin.map(|p| p.contract.name.as_str()),
            "tool_input_hash": observed.args_digest,
            "idempotency_key": observed.key,
            "disposition": observed.disposition,
            "result_summary": result,
            "timestamp_ms": observed.started_at_ms,
        }))
    });
    Ok(
        json!({"session": id, "status": session.status().as_str(), "transitions": ended.collect::<Vec<_>>()}),
    )
}

pub(super) fn prompts() -> Vec<Prompt> {
    let session = PromptArgument::new("session")
        .with_description("The session, or a trace of it.")
        .with_required(true);
    vec![Prompt::new(
        ON_CALL,
        Some("Find out what an agent did, from its journal alone."),
        Some(vec![session]),
    )]
}

pub(super) fn prompt(request: GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    if request.name != ON_CALL {
        let message = format!("there is no prompt `{}`", request.name);
        return Err(ErrorData::invalid_params(message, None));
    }
    let arguments = request.arguments.unwrap_or_default();
    let session = arguments.get("session").and_then(Value::as_str);
    let Some(session) = session else {
        let message = "the prompt needs `session`";
        return Err(ErrorData::invalid_params(message, None));
    };
    let text = format!(
        "Somebody was paged about session {session}. Read stoplog://sessions/{session} and \
         stoplog://traces/{session}. Say, in this order: what was changed outside, under which key, and \
         what says so; what waits for a person or is in doubt; which span failed first, or took longest, \
         and whether it was the model or a tool; what to do next. Conclude nothing that the journal does \
         not say. You cannot acknowledge, approve or resolve anything: name the command, and who may \
         run it."
    );
    let message = PromptMessage::new_text(Role::User, text);
    Ok(GetPromptResult::new(vec![message]))
}
