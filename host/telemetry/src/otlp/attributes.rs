//! The attributes of a span. `gen_ai.*` are the conventions of OpenTelemetry for generative AI
//! (semantic-conventions-genai, in development); `session.id` and `user.id` are what dashboards group
//! by; `openinference.span.kind` is what Phoenix reads, `langfuse.*` what Langfuse filters by;
//! `stoplog.*` is for what has no convention: tenant, class, disposition, key, approval, cost.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use serde_json::{Map, Value};
use stoplog_model::UsdMicros;

use crate::span::{
    Decision, Detail, LlmCall, Outcome, Span, StepStatus, ToolCall, ToolStatus, dollars,
};

/// What a collector calls it, which kind of observation it is, and why it failed, if it did.
pub(super) struct Told {
    pub(super) name: String,
    /// The name of the class of its error, of few values; none without one.
    pub(super) error: Option<String>,
    pub(super) attributes: Attributes,
}

/// Names and values.
#[derive(Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn put(&mut self, name: &str, value: any_value::Value) {
        self.0.push(KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }

    pub(super) fn text(&mut self, name: &str, value: impl Into<String>) {
        self.put(name, any_value::Value::StringValue(value.into()));
    }

    fn word(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.put(name, any_value::Value::IntValue(value));
    }

    fn fraction(&mut self, name: &str, value: f64) {
        self.put(name, any_value::Value::DoubleValue(value));
    }

    fn texts(&mut self, name: &str, values: &[&str]) {
        let value = |text: &&str| AnyValue {
            value: Some(any_value::Value::StringValue((*text).to_owned())),
        };
        let values = values.iter().map(value).collect();
        self.put(name, any_value::Value::ArrayValue(ArrayValue { values }));
    }

    /// Money: dollars for dashboards, and exact.
    fn cost(&mut self, micros: UsdMicros) {
        self.fraction("stoplog.cost.usd", dollars(micros));
        self.number("stoplog.cost.usd_micros", micros.0);
    }

    pub(super) fn into_inner(self) -> Vec<KeyValue> {
        self.0
    }
}

/// What is told of a span. `keys`: whether idempotency keys may be.
pub(super) fn told(span: &Span, keys: bool) -> Told {
    let mut a = Attributes::default();
    common(&mut a, span);
    let (name, error) = match &span.detail {
        Detail::FinalResponse { .. } => run(&mut a, span),
        Detail::AgentStep { status } => step(&mut a, span, *status),
        Detail::LlmCall(call) => llm_call(&mut a, call),
        Detail::ToolCall(call) => tool_call(&mut a, call, keys),
        Detail::ToolSpan {
            name,
            tool_name,
            blast_radius_class,
            annotations,
        } => {
            observation(&mut a, "CHAIN", "span");
            a.text("gen_ai.tool.name", tool_name);
            a.number("stoplog.blast_radius.class", u64::from(*blast_radius_class));
            annotated(&mut a, annotations);
            (name.clone(), None)
        }
        Detail::Retry {
            what,
            idempotency_key,
            attempt,
            error,
            cost_usd_micros,
            ..
        } => {
            observation(&mut a, "CHAIN", "span");
            a.number("stoplog.retry.attempt", u64::from(*attempt));
            a.text("stoplog.retry.of", what);
            if !cost_usd_micros.is_zero() {
                a.cost(*cost_usd_micros);
            }
            if let Some(key) = idempotency_key.as_ref().filter(|_| keys) {
                a.word("stoplog.idempotency.key", key);
            }
            (format!("retry {what}"), Some(error.clone()))
        }
        Detail::HitlApproval { .. } => approval(&mut a, span),
    };
    if let Some(error) = &error {
        a.text("error.type", error);
    }
    Told {
        name,
        error,
        attributes: a,
    }
}

/// What every span carries.
fn common(a: &mut Attributes, span: &Span) {
    let common = &span.common;
    let session = common.session_id.as_str();
    a.text("session.id", session);
    a.text("user.id", &common.user_id);
    a.text("gen_ai.conversation.id", session);
    a.text("stoplog.tenant.id", common.tenant_id.as_str());
    a.text("stoplog.session.id", session);
    a.text("stoplog.feature", &common.feature);
    a.text("stoplog.span_kind", span.detail.kind());
    a.number("stoplog.step.index", u64::from(common.step_index));
    a.number("stoplog.iteration", u64::from(common.step_index) + 1);
    a.text(
        "langfuse.trace.metadata.tenant_id",
        common.tenant_id.as_str(),
    );
    a.text("langfuse.trace.metadata.feature", &common.feature);
    if common.remote_trace_id.is_some() {
        a.text("stoplog.trace.id", common.trace_id.as_str());
    }
}

/// What it is for those who sort observations: OpenInference's kind, and Langfuse's.
fn observation(a: &mut Attributes, open_inference: &str, langfuse: &str) {
    a.text("openinference.span.kind", open_inference);
    a.text("langfuse.observation.type", langfuse);
}

type Named = (String, Option<String>);

fn run(a: &mut Attributes, span: &Span) -> Named {
    let Detail::FinalResponse {
        outcome,
        reason,
        failure,
        cost_total_micros,
        resumed_from,
        at_iteration,
        ..
    } = &span.detail
    else {
        return Named::default();
    };
    observation(a, "AGENT", "agent");
    a.text("gen_ai.operation.name", "invoke_agent");
    a.text("gen_ai.agent.name", &span.common.feature);
    let word = match outcome {
        Outcome::Success => "success",
        Outcome::Error => "error",
        Outcome::Interrupt => "interrupt",
        Outcome::Crashed => "crashed",
        Outcome::Running => "running",
    };
    a.text("stoplog.run.outcome", word);
    a.word("stoplog.run.reason", reason.as_deref().unwrap_or_default());
    // The sum of what the trace's other spans paid: under a name of its own, so that nobody adds it.
    a.fraction("stoplog.run.cost_total_usd", dollars(*cost_total_micros));
    a.number("stoplog.run.cost_total_usd_micros", cost_total_micros.0);
    if let Some(trace) = resumed_from {
        a.text("stoplog.resume.from_trace_id", trace.as_str());
        a.number("stoplog.resume.from_iteration", u64::from(*at_iteration));
    }
    let error = match outcome {
        Outcome::Crashed => Some("crashed".to_owned()),
        Outcome::Error => Some(match (failure, reason) {
            (Some(failure), _) => failure.as_str(),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "error".to_owned(),
        }),
        Outcome::Success | Outcome::Interrupt | Outcome::Running => None,
    };
    (format!("invoke_agent {}", span.common.feature), error)
}

fn step(a: &mut Attributes, span: &Span, status: StepStatus) -> Named {
    observation(a, "CHAIN", "chain");
    let (word, error) = match status {
        StepStatus::Complete => ("complete", None),
        StepStatus::Interrupted => ("interrupted", None),
        StepStatus::Failed => ("failed", Some("failed")),
        StepStatus::Crashed => ("crashed", Some("crashed")),
        StepStatus::Running => ("running", None),
    };
    a.text("stoplog.step.status", word);
    let name = format!("agent_step {}", span.common.step_index);
    (name, error.map(str::to_owned))
}

fn llm_call(a: &mut Attributes, call: &LlmCall) -> Named {
    observation(a, "LLM", "generation");
    a.text("gen_ai.operation.name", "chat");
    a.text("gen_ai.request.model", &call.model_id);
    a.text("gen_ai.response.model", &call.model_version);
    a.fraction("gen_ai.request.temperature", call.temperature);
    a.number("gen_ai.usage.input_tokens", call.input_tokens);
    a.number("gen_ai.usage.output_tokens", call.output_tokens);
    a.number(
        "gen_ai.usage.cache_read.input_tokens",
        call.cache_read_tokens,
    );
    a.number(
        "gen_ai.usage.cache_write.input_tokens",
        call.cache_write_tokens,
    );
    let finish = serde_json::to_value(call.finish_reason);
    let finish = finish.ok().and_then(|f| f.as_str().map(str::to_owned));
    a.texts(
        "gen_ai.response.finish_reasons",
        &[finish.as_deref().unwrap_or("unknown")],
    );
    a.text("stoplog.finish_reason.raw", &call.finish_reason_raw);
    a.text("stoplog.prompt.version_hash", &call.prompt_version_hash);
    a.word("stoplog.price.version", &call.price_version);
    if let Some(tokens) = call.context_window_tokens {
        a.number("stoplog.context.window_tokens", tokens);
    }
    if let Some(part) = call.context_utilization {
        a.fraction("stoplog.context.utilization", part);
    }
    a.cost(call.cost_usd_micros);
    let error = call.failure.map(|failure| failure.as_str());
    (format!("chat {}", call.model_id), error)
}

fn tool_call(a: &mut Attributes, call: &ToolCall, keys: bool) -> Named {
    observation(a, "TOOL", "tool");
    a.text("gen_ai.operation.name", "execute_tool");
    a.text("gen_ai.tool.name", &call.tool_name);
    a.text("gen_ai.tool.type", "function");
    a.word("stoplog.tool.version", &call.tool_version);
    a.number(
        "stoplog.blast_radius.class",
        u64::from(call.blast_radius_class),
    );
    a.text("stoplog.effect.disposition", &call.disposition);
    let (status, failed) = match call.result_status {
        ToolStatus::Success => ("success", false),
        ToolStatus::Error => ("error", true),
        ToolStatus::Timeout => ("timeout", true),
        ToolStatus::Running => ("running", false),
        ToolStatus::Waiting => ("waiting", false),
    };
    a.text("stoplog.tool.result_status", status);
    a.text("stoplog.tool.result_summary", &call.result_summary);
    let mut arguments = call.args_redacted.clone();
    if let (Value::Object(fields), false) = (&mut arguments, keys) {
        fields.remove("idempotency_key");
    }
    a.text("stoplog.tool.args_redacted", arguments.to_string());
    if keys {
        a.word("stoplog.idempotency.key", &call.idempotency_key);
    }
    annotated(a, &call.annotations);
    let code = call.error_code.clone();
    let error = failed.then(|| code.unwrap_or_else(|| status.to_owned()));
    (format!("execute_tool {}", call.tool_name), error)
}

/// What the tool put on its span, below a name of ours: a tool cannot take an attribute of the host's.
fn annotated(a: &mut Attributes, annotations: &Map<String, Value>) {
    for (name, value) in annotations {
        let name = format!("stoplog.tool.annotation.{name}");
        match value {
            Value::String(text) => a.text(&name, text),
            other => a.text(&name, other.to_string()),
        }
    }
}

fn approval(a: &mut Attributes, span: &Span) -> Named {
    let Detail::HitlApproval {
        approval_id,
        tool_name,
        decision,
        decided_by,
        blast_radius_class,
    } = &span.detail
    else {
        return Named::default();
    };
    observation(a, "GUARDRAIL", "guardrail");
    let word = match decision {
        Decision::Approved => "approved",
        Decision::Rejected => "rejected",
        Decision::Expired => "expired",
        Decision::Pending => "pending",
    };
    a.text("stoplog.approval.id", approval_id);
    a.text("stoplog.approval.decision", word);
    a.word("stoplog.approval.decided_by", decided_by);
    a.text("gen_ai.tool.name", tool_name);
    a.number("stoplog.blast_radius.class", u64::from(*blast_radius_class));
    (format!("approval {tool_name}"), None)
}
