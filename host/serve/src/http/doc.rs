//! The OpenAPI 3.1 document, made from the routes that are served.

use axum::routing::MethodRouter;
use serde_json::{Map, Value, json};
use stoplog_model::Reason;

use super::App;
use crate::caller::Right;
use crate::problem::{PROBLEM_JSON, status_of};

/// A route with all that is told of it.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    pub(super) handler: MethodRouter<App>,
    pub(super) right: Option<Right>,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) params: Vec<Param>,
    pub(super) body: Option<&'static str>,
    pub(super) answers: Vec<(u16, Answers)>,
    pub(super) problems: Vec<Reason>,
}

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Path(&'static str),
    Query(&'static str),
    Word(&'static str),
    IdempotencyKey,
    Prefer,
    LastEventId,
}

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    Status,
    Ready,
    Called,
    Waits,
    Run,
    Stream,
    Text,
    Rows,
    Any,
}

impl Route {
    pub(super) fn post(self, body: &'static str) -> Route {
        Route {
            method: "post",
            body: Some(body),
            ..self
        }
    }

    pub(super) fn params(self, params: &[Param]) -> Route {
        let params = params.to_vec();
        Route { params, ..self }
    }

    pub(super) fn answers(self, answers: &[(u16, Answers)]) -> Route {
        let answers = answers.to_vec();
        Route { answers, ..self }
    }

    pub(super) fn problems(self, problems: &[Reason]) -> Route {
        let problems = problems.to_vec();
        Route { problems, ..self }
    }

    /// What may go wrong: its own, and what goes wrong everywhere.
    pub(super) fn all_problems(&self) -> Vec<Reason> {
        let mut all = self.problems.clone();
        all.push(Reason::HostRefused);
        if self.right.is_some() {
            all.extend([Reason::Unauthenticated, Reason::Forbidden]);
        }
        all
    }
}

/// The document.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        paths.insert(
            route.path.to_owned(),
            json!({route.method: operation(route)}),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stoplog",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Tools and agents whose side effects do not happen twice. Every error is a \
                            problem (RFC 9457) with a reason code, and each code has a page in docs/reasons/.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    for (status, answer) in &route.answers {
        let (media, schema) = match answer {
            Answers::Stream => ("text/event-stream", json!({"type": "string"})),
            Answers::Text => ("text/plain", json!({"type": "string"})),
            Answers::Any => ("application/json", json!(true)),
            other => ("application/json", reference(name_of(*other))),
        };
        responses.insert(
            status.to_string(),
            json!({"description": words_of(*answer), "content": {media: {"schema": schema}}}),
        );
    }
    for reason in route.all_problems() {
        let status = status_of(reason).as_str().to_owned();
        let told = responses.entry(status).or_insert_with(|| {
            json!({
                "description": "",
                "content": {PROBLEM_JSON: {"schema": reference("Problem")}},
                "x-reasons": [],
            })
        });
        if let Some(reasons) = told["x-reasons"].as_array_mut() {
            reasons.push(json!(reason.code()));
            let codes: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
            told["description"] = json!(codes.join(", "));
        }
    }
    let mut told = json!({
        "operationId": route.id,
        "summary": route.summary,
        "parameters": route.params.iter().map(parameter).collect::<Value>(),
        "responses": responses,
        "security": if route.right.is_some() { json!([{"key": []}]) } else { json!([]) },
    });
    if let Some(body) = route.body {
        told["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": reference(body)}},
        });
    }
    told
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn name_of(answer: Answers) -> &'static str {
    match answer {
        Answers::Status => "Status",
        Answers::Ready => "Ready",
        Answers::Called => "Called",
        Answers::Waits => "Waits",
        Answers::Run => "Run",
        Answers::Rows => "Rows",
        Answers::Stream | Answers::Text | Answers::Any => "",
    }
}

fn words_of(answer: Answers) -> &'static str {
    match answer {
        Answers::Status => "It lives.",
        Answers::Ready => "Each condition, and what was found.",
        Answers::Called => "What the tool gave, and how that came about.",
        Answers::Waits => "A person has to decide; the same request goes through afterwards.",
        Answers::Run => "How far the session is.",
        Answers::Rows => "A row for each span or group.",
        Answers::Stream => "Events, each with its place in the journal.",
        Answers::Text | Answers::Any => "As the summary says.",
    }
}

fn parameter(param: &Param) -> Value {
    let header = |name: &str, description: &str| {
        json!({"name": name, "in": "header", "required": false, "description": description,
               "schema": {"type": "string"}})
    };
    match param {
        Param::Path(name) => {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        }
        Param::Query(name) => {
            json!({"name": name, "in": "query", "required": false, "schema": {"type": "boolean"}})
        }
        Param::Word(name) => {
            json!({"name": name, "in": "query", "required": false, "schema": {"type": "string"}})
        }
        Param::IdempotencyKey => header(
            "Idempotency-Key",
            "Names this request: a repeat with the same body gets the stored result, one with another body 422.",
        ),
        Param::Prefer => header("Prefer", "`respond-async` answers at once, with 202."),
        Param::LastEventId => header("Last-Event-ID", "Goes on behind this event."),
    }
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    json!({
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "reason"],
            "properties": {
                "type": text, "title": text, "status": {"type": "integer"}, "detail": text,
                "reason": {"type": "string", "description": "A code with a page in docs/reasons/."},
                "hint": text, "retry_after_ms": {"type": "integer"},
                "changed": {"enum": ["nothing", "something", "nobody knows"]},
            },
        },
        "Status": {"type": "object", "required": ["status"], "properties": {"status": {"const": "live"}}},
        "Ready": {
            "type": "object", "required": ["ready", "conditions"],
            "properties": {
                "ready": {"type": "boolean"},
                "conditions": {"type": "array", "items": {
                    "type": "object", "required": ["name", "holds", "said"],
                    "properties": {"name": text, "holds": {"type": "boolean"}, "said": text},
                }},
            },
        },
        "ToolCall": {
            "type": "object", "required": ["arguments"], "additionalProperties": false,
            "properties": {
                "arguments": {"type": "object"},
                "conversation": {"type": "string", "description": "Acts of session scope are one in a conversation."},
            },
        },
        "Called": {
            "type": "object",
            "required": ["output", "disposition", "session", "position", "call_id"],
            "properties": {
                "output": true, "disposition": text, "session": text, "position": text,
                "call_id": text, "trace_id": {"type": ["string", "null"]},
            },
        },
        "Waits": {
            "type": "object", "required": ["status", "session", "position", "to_do"],
            "properties": {
                "status": {"enum": ["waiting_approval", "parked"]},
                "approval": text, "preview": text, "expires_at_ms": {"type": "integer"},
                "parked": text, "reason": text, "session": text, "position": text, "to_do": text,
            },
        },
        "RunRequest": {
            "type": "object", "required": ["task"], "additionalProperties": false,
            "properties": {"task": text, "feature": text, "user": text},
        },
        "Run": {
            "type": "object", "required": ["session", "status"],
            "properties": {
                "session": text, "tenant": text, "status": text, "outcome": {"type": ["string", "null"]},
                "answer": {"type": ["string", "null"]}, "reason": {"type": ["string", "null"]},
                "message": {"type": ["string", "null"]}, "trace_id": {"type": ["string", "null"]},
                "iterations": {"type": "integer"}, "cost_usd": text,
                "approval": {"type": ["string", "null"]}, "events": text,
            },
        },
        "Rows": {
            "type": "object", "required": ["rows"],
            "properties": {
                "rows": {"type": "array", "items": {"type": "object"}},
                "has_more": {"type": "boolean", "description": "There are more rows than were asked for."},
            },
        },
        "Decision": {
            "type": "object", "additionalProperties": false,
            "properties": {"note": {"type": "string", "description": "Why. A rejection must say it."}},
        },
        "Resolution": {
            "type": "object", "required": ["as"], "additionalProperties": false,
            "properties": {"as": {"enum": ["done", "not-done", "abandon"]}, "output": true, "note": text},
        },
    })
}
