//! What the far side did, and what it was asked. Pure.
//!
//! Invariants: what is answered with success by a line that does something is an effect, and is
//! counted before the answer leaves; where keys are kept, a second request under a key of the same
//! line is answered as the first one, and does nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::script::{Answer, Asked, Caught, Route, Script, filled, text_of};

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Did {
    /// It did something new.
    Effect,
    /// The key was known: answered as before.
    Repeated,
    /// It took effects back.
    Undid,
    /// It only answered.
    Answered,
    /// No line fits it.
    NoLine,
}

/// One request that came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    /// The key where this far side looks for it.
    pub(crate) key: Option<String>,
    pub(crate) did: Did,
    pub(crate) status: u16,
    /// Effects in force afterwards.
    pub(crate) in_force: usize,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Effect {
    pub(crate) n: u64,
    pub(crate) line: usize,
    pub(crate) key: Option<String>,
    pub(crate) in_force: bool,
    pub(crate) request: Value,
    pub(crate) caught: Caught,
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It gets there.
    Through,
    /// The connection is cut in the middle of it.
    Lost,
    /// It is never sent, and the connection stays open.
    Held,
}

/// An answer on its way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) way: Way,
}

/// One far side.
#[derive(Debug)]
pub(crate) struct Ledger {
    script: Script,
    done: u32,
    pub(crate) effects: Vec<Effect>,
    pub(crate) seen: Vec<Seen>,
}

impl Effect {
    fn fits(&self, caught: &Caught) -> bool {
        caught.iter().all(|(name, value)| match name.as_str() {
            "key" => self.key.as_ref() == Some(value),
            name => {
                let fields = [self.answer.get(name), self.request.get(name)];
                fields.into_iter().flatten().any(|f| text_of(f) == *value)
                    || self.caught.get(name) == Some(value)
            }
        })
    }
}

impl Ledger {
    pub(crate) fn new(script: Script) -> Ledger {
        Ledger {
            script,
            done: 0,
            effects: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn in_force(&self) -> usize {
        self.effects.iter().filter(|e| e.in_force).count()
    }

    /// Takes a request.
    pub(crate) fn take(&mut self, asked: &Asked) -> Reply {
        let key = self.script.key(asked);
        let script = self.script.clone();
        let (did, reply) = match script.route(asked) {
            None => (Did::NoLine, no_line(asked)),
            Some((line, route, caught)) if route.does() => {
                self.act(line, route, caught, asked, key.clone())
            }
            Some((_, route, caught)) if route.undoes => {
                let fitting = self.fitting(&caught);
                for effect in self.effects.iter_mut().filter(|e| e.in_force) {
                    effect.in_force = !effect.fits(&caught);
                }
                let did = if fitting.is_empty() {
                    Did::Answered
                } else {
                    Did::Undid
                };
                (did, self.answer(route, &caught, asked, &key, &fitting))
            }
            Some((_, route, caught)) => {
                let fitting = self.fitting(&caught);
                (
                    Did::Answered,
                    self.answer(route, &caught, asked, &key, &fitting),
                )
            }
        };
        self.seen.push(Seen {
            method: asked.method.clone(),
            host: asked.host.clone(),
            path: asked.path.clone(),
            key,
            did,
            status: reply.status,
            in_force: self.in_force(),
        });
        reply
    }

    fn act(
        &mut self,
        line: usize,
        route: &Route,
        caught: Caught,
        asked: &Asked,
        key: Option<String>,
    ) -> (Did, Reply) {
        let known = self
            .effects
            .iter()
            .find(|e| self.script.keeps_keys && e.line == line && e.key.is_some() && e.key == key);
        if let Some(effect) = known {
            let mut answer = route.answer();
            answer.body = answer.body.map(|_| effect.answer.clone());
            return (Did::Repeated, reply(&answer, &Map::new()));
        }
        let n = self.effects.len() as u64 + 1;
        let mut names = names(&caught, asked, &key);
        names.insert("n".into(), n.into());
        let answer = route.answer();
        let body = answer.body.as_ref().map(|b| filled(b, &names));
        self.effects.push(Effect {
            n,
            line,
            key,
            in_force: true,
            request: asked.body.clone(),
            caught,
            status: route.status,
            answer: body.unwrap_or(Value::Null),
        });
        let mut reply = reply(&answer, &names);
        self.done += 1;
        if self.done <= self.script.loses_answers {
            reply.way = Way::Lost;
        } else if self.done <= self.script.holds_answers {
            reply.way = Way::Held;
        }
        (Did::Effect, reply)
    }

    fn fitting(&self, caught: &Caught) -> Vec<Value> {
        self.effects
            .iter()
            .filter(|e| e.in_force && e.fits(caught))
            .map(|e| e.answer.clone())
            .collect()
    }

    fn answer(
        &self,
        route: &Route,
        caught: &Caught,
        asked: &Asked,
        key: &Option<String>,
        fitting: &[Value],
    ) -> Reply {
        let mut names = names(caught, asked, key);
        names.insert("effects".into(), Value::from(fitting.to_vec()));
        names.insert("count".into(), fitting.len().into());
        names.insert("n".into(), self.effects.len().into());
        match fitting.first() {
            Some(first) => {
                names.insert("effect".into(), first.clone());
                reply(&route.answer(), &names)
            }
            None => match &route.if_none {
                Some(answer) => reply(answer, &names),
                None if route.shows_one() => not_found(),
                None => reply(&route.answer(), &names),
            },
        }
    }
}

fn names(caught: &Caught, asked: &Asked, key: &Option<String>) -> Map<String, Value> {
    let mut names = Map::new();
    names.insert("body".into(), asked.body.clone());
    if let Some(key) = key {
        names.insert("key".into(), key.clone().into());
    }
    for (name, value) in caught {
        names.insert(name.clone(), value.clone().into());
    }
    names
}

fn reply(answer: &Answer, names: &Map<String, Value>) -> Reply {
    let text = |text: &str| text_of(&filled(&Value::from(text), names));
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), text(value)))
        .collect();
    let body = match (&answer.body, &answer.text) {
        (Some(body), _) => {
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".into(), "application/json".into()));
            }
            filled(body, names).to_string().into_bytes()
        }
        (None, Some(plain)) => text(plain).into_bytes(),
        (None, None) => Vec::new(),
    };
    Reply {
        status: answer.status,
        headers,
        body,
        way: Way::Through,
    }
}

fn plain(status: u16, body: &Value) -> Reply {
    Reply {
        status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: body.to_string().into_bytes(),
        way: Way::Through,
    }
}

fn not_found() -> Reply {
    plain(404, &json!({"error": "nothing that was done fits"}))
}

fn no_line(asked: &Asked) -> Reply {
    let what = format!("no line [[far]] fits {} {}", asked.method, asked.path);
    // Not 5xx: the tool must not be in doubt about what the case forgot.
    plain(400, &json!({ "error": what }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(keeps_keys: bool) -> Script {
        let text = r#"
            routes = [
                { request = "POST /acts", status = 201, body = { id = "a{n}" } },
                { request = "GET /acts/{key}", body = { acts = "{effects}", count = "{count}" } },
                { request = "GET /one/{id}", body = "{effect}" },
                { request = "DELETE /acts/{id}", undoes = true, status = 204 },
            ]
            key_in = "header:idempotency-key"
            loses_answers = 0
        "#;
        let text = format!("keeps_keys = {keeps_keys}\n{text}");
        toml::from_str(&text).expect("script")
    }

    fn ask(ledger: &mut Ledger, method: &str, path: &str, key: &str) -> (u16, Value) {
        let asked = Asked {
            method: method.into(),
            path: path.into(),
            headers: [("idempotency-key".to_owned(), key.to_owned())].into(),
            ..Asked::default()
        };
        let reply = ledger.take(&asked);
        let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        (reply.status, body)
    }

    #[test]
    fn keys_are_kept_or_not_and_effects_are_shown_and_undone() {
        for keeps_keys in [true, false] {
            let mut far = Ledger::new(script(keeps_keys));
            assert_eq!(ask(&mut far, "POST", "/acts", "k").1, json!({"id": "a1"}));
            let again = if keeps_keys { "a1" } else { "a2" };
            assert_eq!(ask(&mut far, "POST", "/acts", "k").1, json!({"id": again}));
            let count = if keeps_keys { 1 } else { 2 };
            assert_eq!(ask(&mut far, "GET", "/acts/k", "").1["count"], count);
            assert_eq!(ask(&mut far, "GET", "/acts/other", "").1["count"], 0);
            assert_eq!(ask(&mut far, "DELETE", "/acts/a1", "").0, 204);
            assert_eq!(ask(&mut far, "GET", "/one/a1", "").0, 404);
            assert_eq!(far.in_force(), count - 1);
            assert_eq!(ask(&mut far, "PUT", "/acts", "").0, 400);
            let did: Vec<Did> = far.seen.iter().map(|s| s.did).collect();
            assert_eq!((did[4], did[6]), (Did::Undid, Did::NoLine));
        }
    }
}
