//! What the far side of a case is told: lines `[[far]]`, and the texts in them.
//!
//! | in a line | is |
//! |---|---|
//! | `request` | method and path, such as `GET /orders/{id}?expand={what}`; with a host in front of the path, only there |
//! | `when` | fields of the request's body, and what they must be |
//! | `status`, `headers`, `body`, `text` | the answer; `body` is JSON, `text` is anything else |
//! | `effect` | whether it does something: yes for unsafe methods, unless told |
//! | `undoes` | it takes back the effects that fit |
//! | `if_none` | the answer when no effect fits |
//!
//! Braces stand for a value. `{x}` in the request catches a segment or a query value; a text in an
//! answer that is nothing but `{x}` becomes the value itself, a list or a number too.
//!
//! | in an answer | is |
//! |---|---|
//! | `{n}` | which effect it is, counted from 1 |
//! | `{key}` | the idempotency key, or what `{key}` caught |
//! | `{x}` | what `{x}` caught |
//! | `{body.x}` | a field of the request's body |
//! | `{effects}` | what was answered to the effects in force that fit, as a list |
//! | `{effect}`, `{effect.x}` | what was answered to the first one, or a field of that |
//! | `{count}` | how many fit |
//!
//! An effect fits when all that the request caught fits it: `{key}` is its key, and any other name
//! is a field that it was asked for or answered with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the far side looks for the idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum KeyPlace {
    Header(String),
    Body(String),
    Query(String),
}

impl Default for KeyPlace {
    fn default() -> KeyPlace {
        KeyPlace::Header("idempotency-key".into())
    }
}

impl TryFrom<String> for KeyPlace {
    type Error = String;

    fn try_from(text: String) -> Result<KeyPlace, String> {
        match text.split_once(':') {
            Some(("header", name)) => Ok(KeyPlace::Header(name.trim().to_ascii_lowercase())),
            Some(("body", field)) => Ok(KeyPlace::Body(field.trim().into())),
            Some(("query", name)) => Ok(KeyPlace::Query(name.trim().into())),
            _ => Err(format!(
                "`key_in` is `{text}`; write header:NAME, body:FIELD or query:NAME"
            )),
        }
    }
}

impl From<KeyPlace> for String {
    fn from(place: KeyPlace) -> String {
        match place {
            KeyPlace::Header(name) => format!("header:{name}"),
            KeyPlace::Body(field) => format!("body:{field}"),
            KeyPlace::Query(name) => format!("query:{name}"),
        }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default = "ok")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Value>,
    pub(crate) text: Option<String>,
}

fn ok() -> u16 {
    200
}

/// One line `[[far]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) request: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) when: Map<String, Value>,
    #[serde(default = "ok")]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Value>,
    pub(crate) text: Option<String>,
    pub(crate) effect: Option<bool>,
    #[serde(default)]
    pub(crate) undoes: bool,
    pub(crate) if_none: Option<Answer>,
}

/// All that a far side is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) routes: Vec<Route>,
    pub(crate) keeps_keys: bool,
    pub(crate) key_in: KeyPlace,
    /// So many effects are done, and their answers lost on the way.
    pub(crate) loses_answers: u32,
    /// So many effects are done, and their answers never sent.
    #[serde(default)]
    pub(crate) holds_answers: u32,
}

/// A request, as the far side got it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    /// Still encoded.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: BTreeMap<String, String>,
    /// Null when it is no JSON.
    pub(crate) body: Value,
}

/// What a request caught in a line.
pub(crate) type Caught = BTreeMap<String, String>;

impl Script {
    /// Says what is wrong with it, before anything runs.
    pub(crate) fn check(&self) -> Result<(), String> {
        for route in &self.routes {
            let line = &route.request;
            route.parts().ok_or_else(|| {
                format!("[[far]] request = \"{line}\": write a method and a path, such as \"GET /orders/{{id}}\"")
            })?;
            if route.body.is_some() && route.text.is_some() {
                return Err(format!("[[far]] `{line}` has `body` and `text`"));
            }
            if route.undoes && route.effect == Some(true) {
                return Err(format!(
                    "[[far]] `{line}` does an effect and undoes one: use two lines"
                ));
            }
            if !(100..=599).contains(&route.status) {
                return Err(format!("[[far]] `{line}`: {} is no status", route.status));
            }
        }
        Ok(())
    }

    /// The first line that a request fits.
    pub(crate) fn route(&self, asked: &Asked) -> Option<(usize, &Route, Caught)> {
        let mut all = self.routes.iter().enumerate();
        all.find_map(|(i, route)| Some((i, route, route.catches(asked)?)))
    }

    /// The key of a request, if it has one where this far side looks.
    pub(crate) fn key(&self, asked: &Asked) -> Option<String> {
        let found = match &self.key_in {
            KeyPlace::Header(name) => asked.headers.get(name).cloned(),
            KeyPlace::Body(field) => at(&asked.body, field).map(text_of),
            KeyPlace::Query(name) => {
                let mut query = asked.query.iter();
                query.find(|(n, _)| n == name).map(|(_, v)| v.clone())
            }
        };
        found.filter(|key| !key.is_empty())
    }
}

impl Route {
    /// Method, host if one is named, path and query.
    fn parts(&self) -> Option<(&str, Option<&str>, &str, &str)> {
        let (method, target) = self.request.trim().split_once(' ')?;
        let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        let target = target.trim();
        let target = target
            .strip_prefix("https://")
            .or_else(|| target.strip_prefix("http://"))
            .unwrap_or(target);
        let slash = target.find('/')?;
        let (host, rest) = target.split_at(slash);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let host = Some(host).filter(|h| !h.is_empty());
        is_method.then_some((method, host, path, query))
    }

    /// Whether it does something new at the far side.
    pub(crate) fn does(&self) -> bool {
        let safe = ["GET ", "HEAD ", "OPTIONS "];
        let is_safe = safe.iter().any(|m| self.request.trim().starts_with(m));
        let succeeds = (200..400).contains(&self.status);
        self.effect.unwrap_or(!is_safe && !self.undoes && succeeds)
    }

    /// What a request catches, if it fits.
    fn catches(&self, asked: &Asked) -> Option<Caught> {
        let (method, host, path, query) = self.parts()?;
        if method != asked.method || host.is_some_and(|h| !h.eq_ignore_ascii_case(&asked.host)) {
            return None;
        }
        // Compared as texts: in a form everything is one.
        let mut fields = self.when.iter();
        if !fields.all(|(path, value)| at(&asked.body, path).map(text_of) == Some(text_of(value))) {
            return None;
        }
        let mut caught = Caught::new();
        let wanted: Vec<&str> = path.split('/').collect();
        let given: Vec<&str> = asked.path.split('/').collect();
        if wanted.len() != given.len() {
            return None;
        }
        for (pattern, segment) in wanted.iter().zip(given) {
            catch(pattern, &decoded(segment), &mut caught)?;
        }
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, pattern) = pair.split_once('=').unwrap_or((pair, ""));
            let given = asked.query.iter().find(|(n, _)| n == name)?;
            catch(pattern, &given.1, &mut caught)?;
        }
        Some(caught)
    }

    /// Its answer as such.
    pub(crate) fn answer(&self) -> Answer {
        Answer {
            status: self.status,
            headers: self.headers.clone(),
            body: self.body.clone(),
            text: self.text.clone(),
        }
    }

    /// Whether its answer shows one effect, and means nothing without one.
    pub(crate) fn shows_one(&self) -> bool {
        fn names_effect(value: &Value) -> bool {
            match value {
                Value::String(text) => text.contains("{effect}") || text.contains("{effect."),
                Value::Array(items) => items.iter().any(names_effect),
                Value::Object(fields) => fields.values().any(names_effect),
                _ => false,
            }
        }
        self.body.as_ref().is_some_and(names_effect)
            || self.text.as_ref().is_some_and(|t| t.contains("{effect"))
    }
}

/// One segment or value against its pattern; a pattern is a text, with one `{name}` at most.
fn catch(pattern: &str, given: &str, caught: &mut Caught) -> Option<()> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == given).then_some(());
    };
    let (name, after) = rest.split_once('}')?;
    let value = given.strip_prefix(before)?.strip_suffix(after)?;
    if value.is_empty() {
        return None;
    }
    caught.insert(name.to_owned(), value.to_owned());
    Some(())
}

/// Percent-decoded.
pub(crate) fn decoded(text: &str) -> String {
    let pair = format!("a={}", text.replace('+', "%2B"));
    let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(_, v)| v.into_owned())
}

/// A field behind dots.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    parts.try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        value => value.get(part),
    })
}

/// A value as a text in a URL or a header would have it.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Fills the braces of an answer. A name that nothing is known of stays as it is: it may be a
/// plain text with braces.
pub(crate) fn filled(value: &Value, known: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => filled_text(text, known),
        Value::Array(items) => items.iter().map(|v| filled(v, known)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(fields.map(|(n, v)| (n.clone(), filled(v, known))).collect())
        }
        plain => plain.clone(),
    }
}

fn lookup<'a>(name: &str, known: &'a Map<String, Value>) -> Option<&'a Value> {
    match name.split_once('.') {
        None => known.get(name),
        Some((first, rest)) => at(known.get(first)?, rest),
    }
}

fn filled_text(text: &str, known: &Map<String, Value>) -> Value {
    let whole = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    if let Some(value) = whole.and_then(|name| lookup(name, known)) {
        return value.clone();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        let known = behind
            .split_once('}')
            .and_then(|(name, after)| Some((lookup(name, known)?, after)));
        match known {
            Some((value, after)) => {
                out.push_str(&text_of(value));
                rest = after;
            }
            None => {
                out.push('{');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    Value::String(out)
}

#[cfg(test)]
mod tests;
