//! A template as its author writes it, checked and turned into what the component holds.
//!
//! ```toml
//! name = "create_issue"
//! class = "external"
//! description = "Creates an issue."
//! key = { template = "issue_{repo}_{ref}", scope = "tenant" }
//!
//! [input]
//! repo = { type = "string", show = "audit" }
//! ref = { type = "string", show = "audit", about = "Your own word for it." }
//! title = { type = "string", show = "personal" }
//!
//! [output]
//! number = { type = "integer", show = "audit", identifier = "issue" }
//!
//! [request]
//! method = "POST"
//! url = "https://api.example.com/repos/{repo}/issues"
//! headers = { authorization = "Bearer {{secret:TRACKER_TOKEN}}" }
//! body = { title = "{title}", external_id = "{key}" }
//!
//! [probe]
//! url = "https://api.example.com/repos/{repo}/issues"
//! query = { external_id = "{key}" }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use url::Url;

use crate::TemplateError;
use crate::format::{Key, Probe, Request, Wire};
use crate::names::Found;
use crate::schema::{self, Fields};

/// Time of a call, if the template says nothing: as in the SDK. Milliseconds.
const TIMEOUT_MS: u32 = 10_000;

/// The class of a tool without code. Class 0 needs no HTTP, and so no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Class 1.
    Read,
    /// Class 2.
    Reversible,
    /// Class 3.
    External,
    /// Class 4.
    Irreversible,
}

impl Class {
    fn writes(self) -> bool {
        self != Class::Read
    }
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default = "first_version")]
    version: String,
    class: Class,
    description: String,
    key: Option<Key>,
    #[serde(default)]
    keeps_keys: bool,
    #[serde(default)]
    settles_within_ms: u32,
    #[serde(default = "timeout")]
    timeout_ms: u32,
    #[serde(default)]
    input: Fields,
    #[serde(default)]
    output: Fields,
    request: Request,
    probe: Option<Probe>,
    undo: Option<Request>,
    preview: Option<String>,
}

fn first_version() -> String {
    "1.0.0".into()
}

fn timeout() -> u32 {
    TIMEOUT_MS
}

fn wrong(place: &str, problem: impl Into<String>) -> TemplateError {
    TemplateError::Wrong {
        place: place.to_owned(),
        problem: problem.into(),
    }
}

/// Reads a template; all or nothing.
pub(crate) fn parse(text: &str) -> Result<(Class, Wire), TemplateError> {
    let file: File = toml::from_str(text).map_err(|e| TemplateError::Form(e.to_string()))?;
    debts(&file)?;
    let mut needs = Needs {
        inputs: file.input.keys().cloned().collect(),
        ..Needs::default()
    };
    needs.request("request", &file.request, file.class.writes())?;
    if let Some(undo) = &file.undo {
        needs.request("undo", undo, true)?;
    }
    if let Some(probe) = &file.probe {
        needs.probe(probe)?;
    }
    if let Some(preview) = &file.preview {
        let mut found = Found::default();
        found.text(preview);
        needs.names("preview", found, &[])?;
    }
    let mut output = BTreeMap::new();
    // What only the answer to the call has, a probe could not give.
    let answer: &[&str] = match file.class.writes() {
        true => &["response", "key"],
        false => &["response", "status", "text"],
    };
    for (name, field) in &file.output {
        let from = schema::from(name, field);
        let mut found = Found::default();
        found.value(&from);
        needs.names(&format!("output.{name}"), found, answer)?;
        output.insert(name.clone(), from);
    }
    let wire = Wire {
        input_schema: schema::object("input", &file.input)?,
        output_schema: schema::object("output", &file.output)?,
        egress: needs.origins.into_iter().collect(),
        secrets: needs.secrets.into_iter().collect(),
        output,
        name: file.name,
        version: file.version,
        description: file.description,
        key: file.key,
        keeps_keys: file.keeps_keys,
        settles_within_ms: file.settles_within_ms,
        timeout_ms: file.timeout_ms,
        request: file.request,
        probe: file.probe,
        undo: file.undo,
        preview: file.preview,
    };
    Ok((file.class, wire))
}

/// A class gives all that it owes, and nothing that it does not have.
fn debts(file: &File) -> Result<(), TemplateError> {
    let class = file.class;
    let rules = [
        ("key", file.key.is_some(), class.writes(), class.writes()),
        ("probe", file.probe.is_some(), class.writes(), false),
        (
            "undo",
            file.undo.is_some(),
            class == Class::Reversible,
            class == Class::Reversible,
        ),
        (
            "preview",
            file.preview.is_some(),
            class == Class::Irreversible,
            false,
        ),
    ];
    for (name, given, may, must) in rules {
        if given && !may {
            return Err(wrong(name, format!("a tool of class {class:?} has none")));
        }
        if must && !given {
            return Err(wrong(name, format!("a tool of class {class:?} owes it")));
        }
    }
    Ok(())
}

/// What the requests of a template need.
#[derive(Default)]
struct Needs {
    inputs: BTreeSet<String>,
    origins: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Needs {
    fn request(
        &mut self,
        place: &str,
        request: &Request,
        writes: bool,
    ) -> Result<(), TemplateError> {
        let method = request.method.as_str();
        let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
        let is_known = matches!(method, "POST" | "PUT" | "PATCH" | "DELETE");
        if !is_safe && !is_known {
            let problem = format!("`{method}` is no method: write it in upper case");
            return Err(wrong(&format!("{place}.method"), problem));
        }
        if !writes && !is_safe {
            let problem = format!("{method} may change something: class read uses GET and HEAD");
            return Err(wrong(&format!("{place}.method"), problem));
        }
        let bodies = [
            request.body.is_some(),
            request.form.is_some(),
            request.text.is_some(),
        ];
        let bodies = bodies.into_iter().filter(|b| *b).count();
        if bodies > 1 || (bodies == 1 && is_safe) {
            let problem = "one of `body`, `form` and `text` at most, and none with a safe method";
            return Err(wrong(place, problem));
        }
        let mut found = Found::default();
        request.query.values().for_each(|v| found.value(v));
        request.headers.values().for_each(|v| found.text(v));
        let forms = request.form.iter().flat_map(BTreeMap::values);
        forms.for_each(|v| found.value(v));
        request.body.iter().for_each(|v| found.value(v));
        request.text.iter().for_each(|v| found.text(v));
        let key: &[&str] = if writes { &["key"] } else { &[] };
        self.url(place, &request.url, &mut found)?;
        self.names(place, found, key)
    }

    fn probe(&mut self, probe: &Probe) -> Result<(), TemplateError> {
        let mut found = Found::default();
        probe.query.values().for_each(|v| found.value(v));
        probe.headers.values().for_each(|v| found.text(v));
        probe.fits.values().for_each(|v| found.text(v));
        self.url("probe", &probe.url, &mut found)?;
        self.names("probe", found, &["key"])
    }

    /// The origin, which must be plain: what an input can choose is no origin to grant.
    fn url(&mut self, place: &str, url: &str, found: &mut Found) -> Result<(), TemplateError> {
        let place = format!("{place}.url");
        let plain = "write an absolute http or https URL, with no braces before its path";
        let behind = url.find("://").map(|i| i + 3);
        let behind = behind.ok_or_else(|| wrong(&place, plain))?;
        let end = url[behind..].find(['/', '?', '#']);
        let origin = &url[..end.map_or(url.len(), |i| behind + i)];
        let parsed = Url::parse(origin).map_err(|e| wrong(&place, format!("{e}; {plain}")))?;
        let is_http = matches!(parsed.scheme(), "http" | "https");
        if !is_http || origin.contains(['{', '}', '@']) {
            return Err(wrong(&place, plain));
        }
        found.text(&url[origin.len()..]);
        self.origins.insert(parsed.origin().ascii_serialization());
        Ok(())
    }

    /// Every name is known, and secrets are noted.
    fn names(&mut self, place: &str, found: Found, also: &[&str]) -> Result<(), TemplateError> {
        if let Some(strange) = found.strange {
            let problem = format!("`{strange}`: only {{{{secret:NAME}}}} stands in double braces");
            return Err(wrong(place, problem));
        }
        for name in &found.names {
            let first = name.split('.').next().unwrap_or(name);
            if !self.inputs.contains(first) && !also.contains(&first) {
                let inputs = self.inputs.iter().map(String::as_str);
                let all: Vec<&str> = inputs.chain(also.iter().copied()).collect();
                let problem = format!("there is no `{{{name}}}`; there are {}", all.join(", "));
                return Err(wrong(place, problem));
            }
        }
        self.secrets.extend(found.secrets);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
