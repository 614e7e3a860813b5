//! The tools of the simulation: what each one's far side promises, and how it misbehaves.
//!
//! No WebAssembly: a tool is a function over the gate, run by [`Tools`] as the sandbox would run
//! a guest: with a time limit, and with nothing kept between two runs.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stoplog_model::contract::{Described, KeyRule};
use stoplog_model::event::Pin;
use stoplog_model::key::KeyScope;
use stoplog_model::outcome::Finding;
use stoplog_model::port::{CallInfo, Entry, Gate, Job, Ran, Returned, RunError, Runner};
use stoplog_model::{
    Aftermath, Class, Contract, Digest, EffectError, ErrorCode, Request, Response, ToolError,
};

use crate::coverage::Coverage;
use crate::locked;

/// A call's time, and each request's. Milliseconds.
pub const TIMEOUT_MS: u32 = 1000;
/// The name of the secret that every request carries.
pub const SECRET: &str = "FAR_TOKEN";
/// Its value, which nobody but the far side may ever see.
pub const SECRET_VALUE: &str = "s3cret-of-the-far-side";

/// What a tool is, and what its far side promises.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// The far side remembers keys.
    pub keeps_keys: bool,
    /// The far side can be asked.
    pub shows: bool,
    /// Within so long a request that was sent is done, or never will be. 0: no promise.
    pub settles_ms: u32,
    /// Acts are unique in the tenant, else in the session.
    pub tenant_wide: bool,
    /// Effects of one call, by label.
    pub parts: &'static [&'static str],
    /// It sends by plain HTTP.
    pub plain_http: bool,
    /// It reads before it writes.
    pub reads_first: bool,
}

const BASE: Kind = Kind {
    name: "",
    class: Class::External,
    keeps_keys: false,
    shows: false,
    settles_ms: 0,
    tenant_wide: true,
    parts: &[""],
    plain_http: false,
    reads_first: false,
};

/// Every tool that writes; [`LOOK`] is the one that reads.
#[rustfmt::skip]
pub const WRITERS: [Kind; 13] = [
    Kind { name: "keyed", keeps_keys: true, ..BASE },
    Kind { name: "shown", shows: true, settles_ms: 200, ..BASE },
    Kind { name: "hazy", shows: true, ..BASE },
    Kind { name: "blunt", tenant_wide: false, ..BASE },
    Kind { name: "both", keeps_keys: true, shows: true, settles_ms: 200, tenant_wide: false, ..BASE },
    Kind { name: "undoable", class: Class::Reversible, settles_ms: 200, ..BASE },
    Kind { name: "undoable_shown", class: Class::Reversible, shows: true, settles_ms: 200, ..BASE },
    Kind { name: "paid", class: Class::Irreversible, keeps_keys: true, shows: true, settles_ms: 200, ..BASE },
    Kind { name: "paid_blunt", class: Class::Irreversible, tenant_wide: false, ..BASE },
    Kind { name: "pair", keeps_keys: true, parts: &["", "fee"], ..BASE },
    Kind { name: "pair_shown", shows: true, settles_ms: 12_000, parts: &["", "fee"], ..BASE },
    Kind { name: "plain_post", keeps_keys: true, plain_http: true, ..BASE },
    Kind { name: "reader", keeps_keys: true, shows: true, settles_ms: 12_000, reads_first: true, ..BASE },
];

/// The tool that reads.
pub const LOOK: &str = "look";

/// The writer of this name.
pub fn writer(name: &str) -> Option<&'static Kind> {
    WRITERS.iter().find(|k| k.name == name)
}

fn schema(name: &str, more: Value, required: &[&str]) -> String {
    let mut properties = json!({ name: { "type": "string", "x-disclosure": "audit" } });
    for (field, schema) in more.as_object().into_iter().flatten() {
        properties[field] = schema.clone();
    }
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
    .to_string()
}

fn described(name: &str) -> Described {
    let more = json!({
        "amount": { "type": "integer", "x-disclosure": "audit" },
        "how": { "type": "string", "x-disclosure": "audit" },
    });
    Described {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: "a tool of the simulation".to_owned(),
        input_schema: schema("name", more, &["name", "amount", "how"]),
        output_schema: schema("act_id", json!({}), &["act_id"]),
        key: None,
        keeps_keys: false,
        settles_within_ms: 0,
        timeout_ms: TIMEOUT_MS,
        egress: vec!["http://far.sim/".to_owned()],
        secrets: vec![SECRET.to_owned()],
    }
}

/// The pins of the reader and of these writers. A world keeps to a few: each costs time.
pub fn pins(writers: &[usize]) -> Vec<Arc<Pin>> {
    let reader = std::iter::once(&PINS[0]);
    reader
        .chain(writers.iter().map(|at| &PINS[1 + at]))
        .cloned()
        .collect()
}

/// Of the reader, and of each writer: checked once, for all worlds.
static PINS: LazyLock<Vec<Arc<Pin>>> = LazyLock::new(|| all_pins().map(Arc::new).collect());

fn all_pins() -> impl Iterator<Item = Pin> {
    let pin = |described: Described, class| Pin {
        component: Digest::of(described.name.as_bytes()),
        class,
        contract: Contract::check(described, class).unwrap_or_else(|e| panic!("contract: {e}")),
    };
    let reader = pin(described(LOOK), Class::ReadOnly);
    let writers = WRITERS.iter().map(move |kind| {
        let scope = match kind.tenant_wide {
            true => KeyScope::Tenant,
            false => KeyScope::Session,
        };
        let template = format!("{}_{{name}}", kind.name);
        let described = Described {
            key: Some(KeyRule { template, scope }),
            keeps_keys: kind.keeps_keys,
            settles_within_ms: kind.settles_ms,
            ..described(kind.name)
        };
        pin(described, kind.class)
    });
    std::iter::once(reader).chain(writers)
}

/// How a tool goes about its call: a field of its input, so that it is the same on a rerun.
pub const HOWS: [&str; 9] = [
    "plain",   // says what happened
    "hide",    // claims success whatever happened
    "lie",     // claims that nothing changed whatever happened
    "trap",    // traps behind the effect
    "stumble", // traps behind the effect the first time, and never again
    "stall",   // computes past its time behind the effect
    "fickle",  // asks for something else when it is run again
    "leave",   // is gone while its request is under way
    "garble",  // gives an output that breaks its schema
];

/// Runs tools as the sandbox does.
#[derive(Debug)]
pub struct Tools {
    /// What happened.
    pub coverage: Arc<Mutex<Coverage>>,
    /// Promises that were seen broken from inside a tool.
    pub broken: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Runner for Tools {
    async fn run(&self, job: Job, gate: Arc<dyn Gate>) -> Ran {
        let limit = Duration::from_millis(job.timeout_ms);
        let result = match tokio::time::timeout(limit, self.entry(&job, &*gate)).await {
            Ok(result) => result,
            Err(_) => Err(RunError::Timeout(job.timeout_ms)),
        };
        Ran {
            result,
            log: String::new(),
            annotations: Vec::new(),
            spans: Vec::new(),
        }
    }
}

impl Tools {
    async fn entry(&self, job: &Job, gate: &dyn Gate) -> Result<Returned, RunError> {
        let name = std::iter::once(LOOK)
            .chain(WRITERS.iter().map(|k| k.name))
            .find(|name| Digest::of(name.as_bytes()) == job.component)
            .ok_or_else(|| RunError::NotLoaded("there is no such tool".to_owned()))?;
        let Some(kind) = writer(name) else {
            return Ok(look(gate).await);
        };
        match &job.entry {
            Entry::Call { input } => self.call(kind, &parsed(input), &job.info, gate).await,
            Entry::Probe { key, .. } => Ok(probe(kind, key, gate).await),
            Entry::Undo { .. } => Ok(undo(kind, gate).await),
            Entry::Preview { input } => Ok(Returned::Text(format!("would do {input}"))),
        }
    }

    async fn call(
        &self,
        kind: &Kind,
        input: &Value,
        info: &CallInfo,
        gate: &dyn Gate,
    ) -> Result<Returned, RunError> {
        let how = input["how"].as_str().unwrap_or("plain");
        locked(&self.coverage).count("how", how);
        if kind.reads_first {
            for path in ["things/price", "things/stock"] {
                // What cannot be read is as good as a price of nought.
                let _ = gate.fetch(get(path)).await;
            }
        }
        for part in kind.parts.iter().filter(|p| !p.is_empty()) {
            gate.split(part).map_err(RunError::Trapped)?;
        }
        let mut results = Vec::new();
        for part in kind.parts {
            let mut body = json!({
                "name": input["name"], "amount": input["amount"],
                "call": info.call_id, "part": part,
            });
            if how == "fickle" {
                body["attempt"] = json!(info.attempt);
            }
            let request = post(&format!("{}/acts", kind.name), &body);
            let performed = async {
                match kind.plain_http {
                    true => gate.fetch(request).await,
                    false => gate.perform(part, request).await,
                }
            };
            if how == "leave" {
                let patience = Duration::from_millis(3);
                if tokio::time::timeout(patience, performed).await.is_err() {
                    return Err(RunError::Trapped("gone".to_owned()));
                }
                continue;
            }
            let result = performed.await;
            if let Ok(response) = &result {
                self.check_secret(response);
            }
            let failed = !matches!(&result, Ok(r) if r.status < 300);
            results.push(result);
            if failed {
                break;
            }
        }
        match how {
            "hide" => Ok(output("hidden")),
            "stumble" if info.attempt == 1 => Err(RunError::Trapped("stumbled".to_owned())),
            "trap" => Err(RunError::Trapped("on purpose".to_owned())),
            "stall" => std::future::pending().await,
            "garble" => Ok(Returned::Text("{\"act\": 1}".to_owned())),
            "leave" => Ok(output("left")),
            _ => Ok(told(results, how == "lie")),
        }
    }

    fn check_secret(&self, response: &Response) {
        if String::from_utf8_lossy(&response.body).contains(SECRET_VALUE) {
            locked(&self.broken).push("a tool was shown the value of a secret".to_owned());
        }
    }
}

fn parsed(input: &str) -> Value {
    serde_json::from_str(input).unwrap_or(Value::Null)
}

fn request(method: &str, path: &str, body: Vec<u8>) -> Request {
    let bearer = format!("Bearer {{{{secret:{SECRET}}}}}");
    Request {
        method: method.to_owned(),
        url: format!("http://far.sim/{path}"),
        headers: vec![("authorization".to_owned(), bearer)],
        body,
    }
}

fn get(path: &str) -> Request {
    request("GET", path, Vec::new())
}

fn post(path: &str, body: &Value) -> Request {
    request("POST", path, body.to_string().into_bytes())
}

fn output(act_id: &str) -> Returned {
    Returned::Text(json!({ "act_id": act_id }).to_string())
}

fn error(code: ErrorCode, aftermath: Aftermath, message: impl Into<String>) -> Returned {
    Returned::Error(ToolError {
        code,
        reason: None,
        message: message.into(),
        hint: None,
        retry_after_ms: None,
        aftermath,
    })
}

/// The last result in the tool's words. A liar says that nothing changed.
fn told(results: Vec<Result<Response, EffectError>>, lies: bool) -> Returned {
    let word = |honest: Aftermath| match lies {
        true => Aftermath::Untouched,
        false => honest,
    };
    match results.into_iter().next_back() {
        Some(Ok(response)) if response.status < 300 => {
            let body = serde_json::from_slice::<Value>(&response.body).ok();
            match body.as_ref().and_then(|b| b["act_id"].as_str()) {
                Some(id) => output(id),
                None => error(ErrorCode::Upstream, word(Aftermath::Changed), "garbage"),
            }
        }
        Some(Ok(response)) if response.status < 500 => {
            let said = format!("status {}", response.status);
            error(ErrorCode::Conflict, Aftermath::Untouched, said)
        }
        Some(Ok(_)) => error(ErrorCode::Upstream, word(Aftermath::Unknown), "it failed"),
        Some(Err(EffectError::Unanswered(why))) => {
            error(ErrorCode::Transient, word(Aftermath::Unknown), why)
        }
        Some(Err(other)) => {
            let said = other.to_string();
            error(ErrorCode::Transient, Aftermath::Untouched, said)
        }
        None => output("nothing"),
    }
}

async fn look(gate: &dyn Gate) -> Returned {
    match gate.fetch(get("things/price")).await {
        // It says more than anybody needs: enough for its middle to be left out of a prompt.
        Ok(response) if response.status == 200 => output(&format!("price{}", " 9".repeat(150))),
        Ok(_) => error(ErrorCode::Upstream, Aftermath::Untouched, "cannot look"),
        Err(e) => error(ErrorCode::Transient, Aftermath::Untouched, e.to_string()),
    }
}

async fn probe(kind: &Kind, key: &str, gate: &dyn Gate) -> Returned {
    let unknown = |why: &str| {
        Returned::Finding(Finding::Unknown {
            why: why.to_owned(),
        })
    };
    if !kind.shows {
        return unknown("it cannot be asked");
    }
    let answer = gate.fetch(get(&format!("{}/acts/{key}", kind.name))).await;
    let Ok(response) = answer else {
        return unknown("no answer");
    };
    let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    let Some(found) = body["acts"].as_array().filter(|_| response.status == 200) else {
        return unknown("no list came");
    };
    Returned::Finding(match found.as_slice() {
        [] => Finding::Absent,
        [id] => Finding::Once {
            output: json!({ "act_id": id }).to_string(),
        },
        more => Finding::Several {
            times: more.len() as u32,
        },
    })
}

async fn undo(kind: &Kind, gate: &dyn Gate) -> Returned {
    let body = json!({ "key": gate.key("") });
    let request = post(&format!("{}/undo", kind.name), &body);
    match gate.perform("", request).await {
        Ok(response) if response.status < 300 => Returned::Text("undone".to_owned()),
        Ok(response) => error(
            ErrorCode::Upstream,
            Aftermath::Unknown,
            format!("status {}", response.status),
        ),
        Err(e) => error(ErrorCode::Transient, Aftermath::Unknown, e.to_string()),
    }
}
