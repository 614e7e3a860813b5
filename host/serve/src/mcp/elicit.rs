//! Asking the person at the client.
//!
//! Whose answer is an elicitation's? It comes over the agent's own connection, from a program that
//! may answer by itself. So it decides nothing by default. The operator may say that a person sits
//! at the one client for which this process was started; then that person's name is the record,
//! with the client's. Over HTTP there is no such person: a key of a program came with the request.

use rmcp::model::{ElicitRequestParams, ElicitationAction, ElicitationSchema, ProtocolVersion};
use rmcp::service::{RequestContext, RoleServer};
use stoplog_model::Reason;
use stoplog_model::event::Verdict;

use crate::caller::{Caller, Role};
use crate::seam::{Answer, Came, Decision, Host, Refusal, Waiting};

/// The person at the client, as the operator named them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// Their name, for the record.
    pub name: String,
}

/// Asks, if there is somebody to ask. Whether a decision was written.
pub(super) async fn decided(
    host: &dyn Host,
    approver: &Approver,
    caller: &Caller,
    answer: &Answer,
    context: &RequestContext<RoleServer>,
) -> Result<bool, Refusal> {
    let Came::Waits(Waiting::Approval { id, preview, .. }) = &answer.came else {
        return Ok(false);
    };
    let can_ask = context
        .client_capabilities()
        .is_some_and(|c| c.elicitation.is_some());
    // In the newest revision a server asks nothing by itself; the result names the approval.
    let is_new = context
        .protocol_version()
        .is_some_and(|v| v.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
    if !can_ask || is_new {
        return Ok(false);
    }
    let message = format!("{preview}\n\nApprove {id}?");
    let Ok(asked) = question(message) else {
        return Ok(false);
    };
    let Ok(said) = context.peer.create_elicitation(asked).await else {
        return Ok(false);
    };
    let fields = said.content.unwrap_or_default();
    let verdict = match (said.action, fields["approve"].as_bool()) {
        (ElicitationAction::Accept, Some(true)) => Verdict::Approved,
        (ElicitationAction::Accept, Some(false)) => Verdict::Rejected,
        _ => return Ok(false),
    };
    let client = context.client_info();
    let client = client.map_or("a client".to_owned(), |c| c.name);
    let note = fields["note"].as_str().unwrap_or_default();
    let decision = Decision {
        verdict,
        note: format!("answered at {client}. {note}").trim().to_owned(),
    };
    let person = Caller {
        tenant: caller.tenant.clone(),
        name: approver.name.clone(),
        role: Role::Approver,
    };
    match host.decide(&person, id, decision).await {
        Ok(_) => Ok(true),
        // Somebody else was faster: what they said counts.
        Err(refusal) if refusal.reason == Some(Reason::ApprovalNotPending) => Ok(true),
        Err(refusal) => Err(refusal),
    }
}

fn question(message: String) -> Result<ElicitRequestParams, &'static str> {
    let schema = ElicitationSchema::builder()
        .required_bool("approve")
        .optional_string("note")
        .build()?;
    Ok(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message,
        requested_schema: schema,
    })
}
