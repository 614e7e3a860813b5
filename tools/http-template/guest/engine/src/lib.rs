//! What every generic component does: read the template in its place, and act on it.
//!
//! Invariant: requests are made from the template, the input and the key alone, so a call that is
//! run again asks for the same.

mod fill;
mod format;

use fill::{Written, at, text_of};
use format::{MARK, Probe, Request as Asked, SLOT_BYTES, Scope, Wire};
use serde_json::{Map, Value};
use stoplog_sdk::__rt::{Contract, KeyScope, WitFinding};
use stoplog_sdk::http::{Request, Response, encode, send};
use stoplog_sdk::{Aftermath, Permit, ToolError};

pub use stoplog_sdk::__rt::WitFinding as Finding;

/// The place of the template. The host writes mark, length and template over it; until then the
/// length is more than there is room for.
#[used]
static SLOT: [u8; SLOT_BYTES] = {
    let mut slot = [0x7e; SLOT_BYTES];
    let mut i = 0;
    while i < MARK.len() {
        slot[i] = MARK[i];
        i += 1;
    }
    slot
};

/// The template. Panics without one: a generic component alone is no tool.
fn template() -> Wire {
    // The compiler knows what is in the place as it is built, and must not.
    let slot = std::hint::black_box(&SLOT);
    let behind = &slot[MARK.len()..];
    let length = u32::from_le_bytes([behind[0], behind[1], behind[2], behind[3]]) as usize;
    let text = behind
        .get(4..4 + length)
        .expect("there is no template in this component");
    serde_json::from_slice(text).expect("the template cannot be read")
}

/// `describe`.
pub fn describe() -> Contract {
    let template = template();
    Contract {
        name: template.name,
        version: template.version,
        description: template.description,
        input_schema: template.input_schema.to_string(),
        output_schema: template.output_schema.to_string(),
        key: template.key.map(|key| stoplog_sdk::__rt::KeyRule {
            template: key.template,
            scope: match key.scope {
                Scope::Tenant => KeyScope::Tenant,
                Scope::Session => KeyScope::Session,
            },
        }),
        keeps_keys: template.keeps_keys,
        settles_within_ms: template.settles_within_ms,
        timeout_ms: template.timeout_ms,
        egress: template.egress,
        secrets: template.secrets,
    }
}

/// The fields of the input by name, and the key.
fn known(input: &str, key: Option<&str>) -> Result<Map<String, Value>, ToolError> {
    let mut known: Map<String, Value> = serde_json::from_str(input)
        .map_err(|_| ToolError::invalid_input("the input is no JSON object"))?;
    if known.values().any(names_a_secret) {
        let message =
            "the input has a placeholder for a secret, and those are the template's alone";
        return Err(ToolError::invalid_input(message));
    }
    if let Some(key) = key {
        known.insert("key".to_owned(), key.into());
    }
    Ok(known)
}

/// The host puts secrets into whatever leaves; so an input with a placeholder would carry the tool's
/// own secret to wherever the input is shown.
fn names_a_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{secret:"),
        Value::Array(items) => items.iter().any(names_a_secret),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains("{{secret:") || names_a_secret(value)),
        _ => false,
    }
}

/// `call` of class 1.
pub fn read(input: &str) -> Result<String, ToolError> {
    let template = template();
    let known = known(input, None)?;
    let response = send(request(&template.request, &known))?;
    output(&template, known, response, Aftermath::Untouched)
}

/// `call` of a write class.
pub fn write(input: &str, permit: Permit) -> Result<String, ToolError> {
    let template = template();
    let known = known(input, Some(&permit.key()))?;
    let response = permit.perform(request(&template.request, &known))?;
    output(&template, known, response, Aftermath::Unknown)
}

/// `undo`. Nothing to take back is success, too.
pub fn undo(input: &str, permit: Permit) -> Result<String, ToolError> {
    let Some(undo) = template().undo else {
        return Err(ToolError::internal("the template has no [undo]"));
    };
    let known = known(input, Some(&permit.key()))?;
    let response = permit.perform(request(&undo, &known))?;
    match response.status {
        404 | 410 => Ok("there was nothing to take back".to_owned()),
        _ => response.success().map(|_| "taken back".to_owned()),
    }
}

/// `preview`.
pub fn preview(input: &str) -> Result<String, ToolError> {
    let template = template();
    let known = known(input, None)?;
    if let Some(preview) = &template.preview {
        return Ok(fill::text(preview, &known, Written::Plain));
    }
    let asked = &template.request;
    let url = fill::text(&asked.url, &known, Written::Encoded);
    let mut text = format!("{}\n{} {url}", template.description, asked.method);
    for (name, value) in &known {
        text.push_str(&format!("\n{name}: {}", text_of(value)));
    }
    Ok(text)
}

/// `probe`.
pub fn probe(input: &str, key: &str) -> Result<WitFinding, ToolError> {
    let template = template();
    let Some(probe) = &template.probe else {
        return Ok(WitFinding::Unknown);
    };
    let known = known(input, Some(key))?;
    let asked = Asked {
        method: "GET".to_owned(),
        url: probe.url.clone(),
        query: probe.query.clone(),
        headers: probe.headers.clone(),
        body: None,
        form: None,
        text: None,
    };
    let response = send(request(&asked, &known))?;
    if probe.absent.contains(&response.status) {
        return Ok(WitFinding::Absent);
    }
    let answer: Value = response.success()?.json()?;
    let found = match at(&answer, &probe.found) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
    };
    let is_cut_off = probe.page.is_some_and(|page| found.len() >= page);
    let fitting: Vec<&Value> = found
        .into_iter()
        .filter(|item| fits(probe, item, &known))
        .collect();
    Ok(match fitting.as_slice() {
        [] if is_cut_off => WitFinding::Unknown,
        [] => WitFinding::Absent,
        [one] => {
            let output = fields(&template, known, (*one).clone());
            WitFinding::Once(output.map_err(ToolError::upstream)?.to_string())
        }
        several => WitFinding::Several(several.len() as u32),
    })
}

fn fits(probe: &Probe, item: &Value, known: &Map<String, Value>) -> bool {
    probe.fits.iter().all(|(path, template)| {
        let wanted = fill::text(template, known, Written::Plain);
        let found = at(item, path).map(text_of).unwrap_or_default();
        let (start, end) = (template.starts_with('*'), template.ends_with('*'));
        let wanted = wanted
            .strip_prefix('*')
            .filter(|_| start)
            .unwrap_or(&wanted);
        let wanted = wanted.strip_suffix('*').filter(|_| end).unwrap_or(wanted);
        match (start, end) {
            (true, true) => found.contains(wanted),
            (true, false) => found.ends_with(wanted),
            (false, true) => found.starts_with(wanted),
            (false, false) => found == wanted,
        }
    })
}

fn request(asked: &Asked, known: &Map<String, Value>) -> Request {
    let mut url = fill::text(&asked.url, known, Written::Encoded);
    let mut separator = if url.contains('?') { '&' } else { '?' };
    for (name, template) in &asked.query {
        if let Some(value) = fill::value(template, known) {
            url.push(separator);
            url.push_str(&pair(name, &value));
            separator = '&';
        }
    }
    let mut request = Request::new(asked.method.clone(), url);
    for (name, template) in &asked.headers {
        let value = fill::value(&Value::from(template.as_str()), known);
        if let Some(value) = value {
            request = request.header(name.clone(), text_of(&value));
        }
    }
    if let Some(body) = &asked.body {
        request.json(&fill::value(body, known).unwrap_or(Value::Null))
    } else if let Some(form) = &asked.form {
        let pairs = form
            .iter()
            .filter_map(|(name, template)| Some(pair(name, &fill::value(template, known)?)));
        let body = pairs.collect::<Vec<_>>().join("&");
        request
            .body(body)
            .header("content-type", "application/x-www-form-urlencoded")
    } else if let Some(text) = &asked.text {
        request.body(fill::text(text, known, Written::Plain))
    } else {
        request
    }
}

fn pair(name: &str, value: &Value) -> String {
    let text = text_of(value);
    // A placeholder for a secret must get to the host as it is.
    let text = match text.contains("{{secret:") {
        true => text,
        false => encode(&text),
    };
    format!("{}={text}", encode(name))
}

fn output(
    template: &Wire,
    mut known: Map<String, Value>,
    response: Response,
    aftermath: Aftermath,
) -> Result<String, ToolError> {
    let response = response.success()?;
    known.insert("status".to_owned(), response.status.into());
    known.insert("text".to_owned(), response.text().into());
    let body = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    match fields(template, known, body) {
        Ok(output) => Ok(output.to_string()),
        Err(why) => Err(ToolError::upstream(why).aftermath(aftermath)),
    }
}

/// The output, from an answer or from what a probe found.
fn fields(
    template: &Wire,
    mut known: Map<String, Value>,
    response: Value,
) -> Result<Value, String> {
    known.insert("response".to_owned(), response);
    let schema = &template.output_schema;
    let mut output = Map::new();
    for (name, from) in &template.output {
        let required = schema["required"].as_array();
        let is_required = required.is_some_and(|r| r.iter().any(|n| n == name));
        match fill::value(from, &known) {
            Some(value) => {
                let kind = schema["properties"][name]["type"].as_str();
                output.insert(name.clone(), fitted(value, kind));
            }
            None if is_required => return Err(format!("the answer has no {from} for `{name}`")),
            None => {}
        }
    }
    Ok(Value::Object(output))
}

/// Numbers as text and text as numbers, where the schema wants them so: APIs differ in that.
fn fitted(value: Value, kind: Option<&str>) -> Value {
    match (kind, &value) {
        (Some("string"), Value::Number(number)) => Value::String(number.to_string()),
        (Some("integer"), Value::String(text)) => {
            text.parse::<i64>().map_or(value.clone(), Value::from)
        }
        _ => value,
    }
}
