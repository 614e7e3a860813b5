//! May this call run? A pure function of facts.

use stoplog_model::event::{Pin, Verdict};
use stoplog_model::key::{ActKey, CallKey};
use stoplog_model::outcome::{ErrorCode, ToolError};
use stoplog_model::session::CallState;
use stoplog_model::{ApprovalId, Digest, Position, Reason, Session};

use crate::approval::ApprovalRules;
use crate::clearance::Clearance;
use crate::placeholder;

/// What the judgement rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The session as the journal has it.
    pub session: &'a Session,
    /// The call.
    pub position: Position,
    /// Why the input breaks its schema, if it does.
    pub input_problem: Option<&'a str>,
    /// The operator's rules.
    pub rules: &'a ApprovalRules,
    /// Wall clock, milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What becomes of the call.
#[derive(Debug)]
pub enum Judgement {
    /// It may run.
    Clear(Clearance),
    /// It may not: the model is told.
    Refuse(ToolError),
    /// A person must be asked first, for this reason.
    Hold {
        /// The rule.
        why: String,
    },
    /// A person has been asked and has not decided.
    Wait {
        /// The question.
        approval: ApprovalId,
    },
    /// The person did not decide in time: record it, then judge again.
    Expire {
        /// The question.
        approval: ApprovalId,
    },
}

/// Digest of a call's arguments: what keys and approvals are compared by.
pub fn args_digest(call: &CallState) -> Digest {
    Digest::of_json(&call.call.arguments)
}

/// The keys of a call: the text of its key header, and the act that it names.
pub fn keys(
    session: &Session,
    position: Position,
    call: &CallState,
    pin: &Pin,
) -> Result<(String, Option<ActKey>), String> {
    let tenant = &session.started.tenant;
    let id = &session.started.session;
    let filled = pin.contract.fill_key(&call.call.arguments)?;
    Ok(match (filled, &pin.contract.key) {
        (Some(key), Some(rule)) => {
            let act = ActKey::in_session(rule.scope, &session.started, key);
            (act.header(), Some(act))
        }
        _ => (
            CallKey::new(tenant, id, position, &call.call.tool).to_string(),
            None,
        ),
    })
}

/// Judges a call.
pub fn judge(facts: Facts<'_>) -> Judgement {
    let Some(call) = facts.session.call(facts.position) else {
        return refuse(
            ErrorCode::Internal,
            Reason::UnknownTool,
            "there is no such call",
        );
    };
    let Some(pin) = facts.session.pin(&call.call.tool) else {
        let names: Vec<&str> = facts
            .session
            .started
            .tools
            .iter()
            .map(|t| t.contract.name.as_str())
            .collect();
        let message = format!(
            "there is no tool `{}`; there are: {}",
            call.call.tool,
            names.join(", ")
        );
        return refuse(ErrorCode::NotFound, Reason::UnknownTool, message);
    };
    // What has begun is never refused: a refusal says that nothing changed, and it may have.
    let has_begun = !call.effects.is_empty();
    if let Some(problem) = facts.input_problem.filter(|_| !has_begun) {
        return refuse(ErrorCode::InvalidInput, Reason::InputSchema, problem);
    }
    if !has_begun
        && !pin.contract.secrets.is_empty()
        && let Some(place) = placeholder::named_in(&call.call.arguments)
    {
        let message = format!("{place}: an input cannot name a secret of the tool");
        return refuse(ErrorCode::InvalidInput, Reason::SecretNamed, message);
    }
    let (header_key, act_key) = match keys(facts.session, facts.position, call, pin) {
        Ok(keys) => keys,
        Err(problem) => {
            return refuse(ErrorCode::InvalidInput, Reason::KeyUnfillable, problem);
        }
    };
    let approval = match approve(&facts, call, pin) {
        Ok(approval) => approval,
        Err(judgement) => return judgement,
    };
    Judgement::Clear(Clearance {
        position: facts.position,
        class: pin.class,
        args_digest: args_digest(call),
        header_key,
        act_key,
        approval,
        spent: Default::default(),
    })
}

/// The approval that the first intent is to consume, or what must happen before.
fn approve(
    facts: &Facts<'_>,
    call: &CallState,
    pin: &Pin,
) -> Result<Option<ApprovalId>, Judgement> {
    // It was judged before its first effect left: a recovery never asks again.
    if !call.effects.is_empty() {
        return Ok(None);
    }
    let Some(state) = &call.approval else {
        return match facts
            .rules
            .holds(&call.call.tool, pin.class, &call.call.arguments)
        {
            Some(why) => Err(Judgement::Hold { why }),
            None => Ok(None),
        };
    };
    let id = state.approval.id.clone();
    match state.verdict() {
        None if state.has_expired(facts.now_ms) => Err(Judgement::Expire { approval: id }),
        None => Err(Judgement::Wait { approval: id }),
        Some(Verdict::Approved) if state.approval.args_digest != args_digest(call) => Err(refuse(
            ErrorCode::Permission,
            Reason::ApprovalRejected,
            "the approval was given for other arguments",
        )),
        Some(Verdict::Approved) => Ok(Some(id)),
        Some(Verdict::Rejected) => {
            let decision = state.decision.as_ref();
            let note = decision.map_or("", |d| d.note.as_str());
            let by = decision.map_or("a person", |d| d.by.as_str());
            Err(refuse(
                ErrorCode::Permission,
                Reason::ApprovalRejected,
                format!("{by} rejected this call: {note}"),
            ))
        }
        Some(Verdict::Expired) => Err(refuse(
            ErrorCode::Permission,
            Reason::ApprovalExpired,
            "nobody approved this call in time; it counts as rejected",
        )),
    }
}

fn refuse(code: ErrorCode, reason: Reason, message: impl Into<String>) -> Judgement {
    Judgement::Refuse(ToolError::of_host(code, reason, message))
}

#[cfg(test)]
mod tests;
