//! The approval rule: which calls wait for a person.
//!
//! Class 4 waits unless a rule of the operator clears it; class 2 and 3 wait only where a rule
//! holds them. Rules are CEL expressions over the fields of the input, such as
//! `amount_inr <= 50000`. A rule that cannot be evaluated never clears, and always holds.

use std::collections::BTreeMap;

use cel::{Context, Program, Value as Cel};
use serde_json::Value;
use stoplog_model::Class;

/// A person has this long to decide, unless the config says otherwise. Milliseconds; 15 minutes,
/// from the reference scenario.
pub const APPROVAL_EXPIRY_MS: u64 = 15 * 60 * 1000;

/// Longest rule, in bytes: deeper nesting than fits here has no business in a rule.
pub const MAX_RULE_BYTES: usize = 1024;

/// One tool's rules.
#[derive(Debug, Default)]
struct ToolRules {
    clear: Vec<Rule>,
    hold: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    text: String,
    program: Program,
}

/// All rules of the configuration, compiled.
#[derive(Debug, Default)]
pub struct ApprovalRules {
    by_tool: BTreeMap<String, ToolRules>,
    expiry_ms: Option<u64>,
}

/// What a rule does when it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The call need not wait.
    Clear,
    /// The call must wait.
    Hold,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule `{rule}` for `{tool}` cannot be used: {problem}")]
pub struct RuleError {
    /// The tool.
    pub tool: String,
    /// The rule.
    pub rule: String,
    /// What is wrong.
    pub problem: String,
}

impl ApprovalRules {
    /// No rules: class 4 waits, nothing else does.
    pub fn none() -> ApprovalRules {
        ApprovalRules::default()
    }

    /// Sets the time that a person has, milliseconds.
    pub fn set_expiry_ms(&mut self, ms: u64) {
        self.expiry_ms = Some(ms);
    }

    /// The time that a person has, milliseconds.
    pub fn expiry_ms(&self) -> u64 {
        self.expiry_ms.unwrap_or(APPROVAL_EXPIRY_MS)
    }

    /// Adds a rule for a tool.
    pub fn add(&mut self, tool: &str, when: When, text: &str) -> Result<(), RuleError> {
        let error = |problem: String| RuleError {
            tool: tool.to_owned(),
            rule: text.to_owned(),
            problem,
        };
        if text.len() > MAX_RULE_BYTES {
            return Err(error(format!("longer than {MAX_RULE_BYTES} bytes")));
        }
        let program = Program::compile(text).map_err(|e| error(e.to_string()))?;
        let rule = Rule {
            text: text.to_owned(),
            program,
        };
        let rules = self.by_tool.entry(tool.to_owned()).or_default();
        match when {
            When::Clear => rules.clear.push(rule),
            When::Hold => rules.hold.push(rule),
        }
        Ok(())
    }

    /// Checks a tool's rules against its input schema: a rule that names a field which the input
    /// does not have would never clear, and its author would wonder.
    pub fn check_fields(&self, tool: &str, input_schema: &Value) -> Result<(), RuleError> {
        let Some(rules) = self.by_tool.get(tool) else {
            return Ok(());
        };
        for rule in rules.clear.iter().chain(&rules.hold) {
            for name in rule.program.references().variables() {
                if input_schema
                    .get("properties")
                    .and_then(|p| p.get(name))
                    .is_none()
                {
                    return Err(RuleError {
                        tool: tool.to_owned(),
                        rule: rule.text.clone(),
                        problem: format!("the tool's input has no field `{name}`"),
                    });
                }
            }
        }
        Ok(())
    }

    /// The tools that have rules.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.by_tool.keys().map(String::as_str)
    }

    /// Why a call must wait for a person, or none if it need not.
    pub fn holds(&self, tool: &str, class: Class, arguments: &Value) -> Option<String> {
        if !class.writes() {
            return None;
        }
        let none = ToolRules::default();
        let rules = self.by_tool.get(tool).unwrap_or(&none);
        for rule in &rules.hold {
            match rule.evaluate(arguments) {
                Ok(false) => {}
                Ok(true) => return Some(format!("rule `{}` holds it", rule.text)),
                Err(e) => return Some(format!("rule `{}` cannot be evaluated: {e}", rule.text)),
            }
        }
        if !class.held_by_default() {
            return None;
        }
        if rules
            .clear
            .iter()
            .any(|rule| rule.evaluate(arguments) == Ok(true))
        {
            return None;
        }
        let cleared_by: Vec<&str> = rules.clear.iter().map(|r| r.text.as_str()).collect();
        Some(if cleared_by.is_empty() {
            format!("class {class} waits for a person, and no rule clears it")
        } else {
            format!(
                "class {class} waits for a person: not `{}`",
                cleared_by.join("`, not `")
            )
        })
    }
}

impl Rule {
    fn evaluate(&self, arguments: &Value) -> Result<bool, String> {
        let mut context = Context::default();
        for (name, value) in arguments.as_object().into_iter().flatten() {
            context.add_variable_from_value(name.clone(), to_cel(value));
        }
        match self.program.execute(&context) {
            Ok(Cel::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!("it gives {other:?}, not true or false")),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// JSON to CEL. Integers stay integers, so that `amount_inr <= 50000` compares whole rupees.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => Cel::Int(i),
            (None, Some(f)) => Cel::Float(f),
            (None, None) => Cel::Null,
        },
        Value::String(text) => Cel::from(text.clone()),
        Value::Array(items) => Cel::from(items.iter().map(to_cel).collect::<Vec<_>>()),
        Value::Object(fields) => Cel::from(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), to_cel(value)))
                .collect::<std::collections::HashMap<String, Cel>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(when: When, text: &str) -> ApprovalRules {
        let mut rules = ApprovalRules::none();
        rules.add("t", when, text).expect("rule");
        rules
    }

    #[test]
    fn a_clear_rule_clears_what_it_says_and_nothing_more() {
        let rules = rules(When::Clear, "amount_inr <= 50000");
        let holds = |args: Value| rules.holds("t", Class::Irreversible, &args).is_some();
        assert!(!holds(json!({"amount_inr": 6400})));
        assert!(!holds(json!({"amount_inr": 50000})));
        assert!(holds(json!({"amount_inr": 50001})));
        assert!(
            holds(json!({"amount_inr": "6400"})),
            "a text is not an amount"
        );
        assert!(holds(json!({})), "a missing field never clears");
        assert!(
            rules
                .holds("other", Class::Irreversible, &json!({"amount_inr": 1}))
                .is_some()
        );
    }

    #[test]
    fn a_hold_rule_holds_lower_classes_and_holds_when_it_fails() {
        let rules = rules(When::Hold, "to.endsWith('@example.com') == false");
        let holds = |args: Value| rules.holds("t", Class::External, &args).is_some();
        assert!(holds(json!({"to": "a@b.c"})));
        assert!(!holds(json!({"to": "a@example.com"})));
        assert!(holds(json!({"to": 1})));
        assert!(
            rules
                .holds("t", Class::ReadOnly, &json!({"to": "a@b.c"}))
                .is_none()
        );
    }

    #[test]
    fn a_broken_rule_is_an_error_and_an_unknown_field_too() {
        assert!(
            ApprovalRules::none()
                .add("t", When::Clear, "amount <=")
                .is_err()
        );
        let rules = rules(When::Clear, "amuont <= 5");
        let schema = json!({"properties": {"amount": {}}});
        assert!(rules.check_fields("t", &schema).is_err());
    }
}
