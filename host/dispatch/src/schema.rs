//! Inputs and outputs against their schemas. Compiled once for each contract.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use stoplog_model::Digest;
use stoplog_model::event::Pin;

/// Schema complaints told at most: the first few say what is wrong.
const MAX_PROBLEMS: usize = 4;

/// The compiled schemas of a contract. The pin is that of a session that asked: the sessions that a
/// host begins share it, and one look at its address then tells that it is the same.
struct Compiled {
    pin: Arc<Pin>,
    pair: Arc<Pair>,
}

struct Pair {
    input: jsonschema::Validator,
    output: jsonschema::Validator,
}

/// Compiled schemas, by component. One component may be pinned with several contracts, as when a
/// later version reads it otherwise; comparing them costs less than their digest.
#[derive(Default)]
pub(crate) struct Schemas {
    compiled: Mutex<HashMap<Digest, Vec<Compiled>>>,
}

impl Schemas {
    fn pair(&self, pin: &Arc<Pin>) -> Result<Arc<Pair>, String> {
        let mut compiled = self
            .compiled
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let of_component = compiled.get(&pin.component).map_or(&[][..], Vec::as_slice);
        let is_it = |c: &&Compiled| Arc::ptr_eq(&c.pin, pin) || c.pin.contract == pin.contract;
        if let Some(known) = of_component.iter().find(is_it) {
            return Ok(known.pair.clone());
        }
        let compile = |schema: &Value| {
            jsonschema::draft202012::new(schema).map_err(|e| format!("the schema is broken: {e}"))
        };
        let pair = Arc::new(Pair {
            input: compile(&pin.contract.input_schema)?,
            output: compile(&pin.contract.output_schema)?,
        });
        let of_component = compiled.entry(pin.component.clone()).or_default();
        of_component.push(Compiled {
            pin: pin.clone(),
            pair: pair.clone(),
        });
        Ok(pair)
    }

    /// Why an input breaks its schema, if it does.
    pub(crate) fn input_problem(&self, pin: &Arc<Pin>, input: &Value) -> Option<String> {
        match self.pair(pin) {
            Ok(pair) => problems(&pair.input, input),
            Err(broken) => Some(broken),
        }
    }

    /// The output of a tool as a value, or why it breaks its schema.
    pub(crate) fn output(&self, pin: &Arc<Pin>, text: &str) -> Result<Value, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| format!("the output is not JSON: {e}"))?;
        match problems(&self.pair(pin)?.output, &value) {
            None => Ok(value),
            Some(problem) => Err(format!("the output breaks its schema: {problem}")),
        }
    }
}

/// Why a text is not an output of this tool, if it is not.
pub fn output_problem(pin: &Pin, text: &str) -> Option<String> {
    Schemas::default()
        .output(&Arc::new(pin.clone()), text)
        .err()
}

/// The complaints say where and which rule, and leave out the values: those may be personal.
fn problems(validator: &jsonschema::Validator, value: &Value) -> Option<String> {
    let found: Vec<String> = validator
        .iter_errors(value)
        .take(MAX_PROBLEMS)
        .map(|e| {
            let place = e.instance_path().to_string();
            let place = if place.is_empty() {
                "the whole".to_owned()
            } else {
                place
            };
            format!("{place}: {}", e.masked())
        })
        .collect();
    (!found.is_empty()).then(|| found.join("; "))
}
