//! `[claims]`: what a final answer may say, and what has to have succeeded for that.

use serde::Deserialize;
use stoplog_policy::ClaimRules;
use toml::Spanned;

use super::Source;
use crate::error::CliError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    /// Whether what tools declare counts; true if not given.
    declared: Option<bool>,
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    phrases: Spanned<Vec<String>>,
    /// None of them: nothing supports the phrases.
    #[serde(default)]
    tools: Vec<String>,
}

impl Section {
    pub(super) fn check(&self, source: &Source<'_>) -> Result<ClaimRules, CliError> {
        let mut rules = ClaimRules::default();
        if self.declared == Some(false) {
            rules = rules.without_declared();
        }
        for rule in &self.rule {
            let phrases: Vec<&str> = rule.phrases.get_ref().iter().map(String::as_str).collect();
            let tools: Vec<&str> = rule.tools.iter().map(String::as_str).collect();
            if phrases.is_empty() {
                return Err(source.at(&rule.phrases, "a rule of [claims] needs phrases"));
            }
            rules
                .add(&phrases, &tools)
                .map_err(|e| source.at(&rule.phrases, e))?;
        }
        Ok(rules)
    }
}
