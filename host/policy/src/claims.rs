//! Claims against the ledger: an answer that says that something was done needs a call that did it.
//!
//! A claim is a phrase of a rule, such as `refunded`, in a sentence that states it as a fact. What
//! supports it is a call of one of the rule's tools that succeeded in this session: executed, found
//! by probe, deduplicated, or confirmed by the person who resolved its park. A call that was refused,
//! rejected, parked, or that failed supports nothing.
//!
//! Rules come from the operator (`[[claim]]` in stoplog.toml) and from the tools themselves: the
//! keyword [`KEYWORD`] at the root of a tool's output schema lists what an answer may say once the
//! tool has succeeded. Where phrases of several rules meet in one place, the support of one is enough.
//!
//! Pure, and replay-safe: the same session and the same rules give the same verdict, so a resumed
//! run judges as the one before would have.
//!
//! What this cannot see: whether amount, order or person in the sentence are those of the call; a
//! claim in other words or in another language than the phrases; irony, quotes, and what a sentence
//! says of another day. It looks at single sentences.

mod sentence;

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use serde_json::Value;
use stoplog_model::event::{CallResult, Observed};
use stoplog_model::outcome::{Aftermath, Disposition};
use stoplog_model::{Contract, Session};

/// The keyword at the root of an output schema: a list of phrases.
pub const KEYWORD: &str = "x-claims";

/// Phrases of one rule or one tool: a person has to be able to read them all.
pub const MAX_PHRASES: usize = 16;

/// Longest phrase, in bytes: it is a few words and their endings.
pub const MAX_PHRASE_BYTES: usize = 256;

/// What one compiled phrase may take, in bytes: a phrase of a stranger's tool, such as
/// `(((a{100}){100}){100})`, must not fill the host's memory.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// Characters of a claim that are shown again: the words, not the letter around them.
const SHOWN_CHARS: usize = 80;

/// A phrase that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the phrase `{phrase}` cannot be used: {problem}")]
pub struct PhraseError {
    /// The phrase.
    pub phrase: String,
    /// What is wrong.
    pub problem: String,
}

/// One rule: what may be said once one of the tools has succeeded.
#[derive(Debug, Clone)]
struct ClaimRule {
    phrases: Vec<Regex>,
    tools: Vec<String>,
}

/// The operator's rules, compiled, and whether those of the tools count.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    rules: Vec<ClaimRule>,
    declared: bool,
}

/// What an answer says without support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The words of the answer, cut at 80 characters.
    pub words: String,
    /// The tools of which one would have had to succeed, by name; empty where a rule names none.
    pub tools: Vec<String>,
}

impl Default for ClaimRules {
    /// No rules of the operator; what the tools declare counts.
    fn default() -> ClaimRules {
        ClaimRules {
            rules: Vec::new(),
            declared: true,
        }
    }
}

impl ClaimRules {
    /// The same, without what the tools declare.
    pub fn without_declared(self) -> ClaimRules {
        ClaimRules {
            declared: false,
            ..self
        }
    }

    /// Adds a rule. Phrases are regular expressions, matched as whole words and in any case;
    /// without tools nothing supports them.
    pub fn add(&mut self, phrases: &[&str], tools: &[&str]) -> Result<(), PhraseError> {
        self.rules.push(ClaimRule {
            phrases: compiled(phrases)?,
            tools: tools.iter().map(|t| (*t).to_owned()).collect(),
        });
        Ok(())
    }

    /// What the answer says that no call of this session supports, in the order of the text. The
    /// session has to be whole: what was done in an archived turn counts too.
    pub fn unsupported(&self, session: &Session, answer: &str) -> Vec<Unsupported> {
        let mut rules = self.rules.clone();
        if self.declared {
            // What cannot be compiled was refused when the tool was added.
            let declared = session.started.tools.iter().filter_map(|pin| {
                let phrases = declared(&pin.contract).ok()?;
                let tools = vec![pin.contract.name.to_string()];
                (!phrases.is_empty()).then_some(ClaimRule { phrases, tools })
            });
            rules.extend(declared);
        }
        without_support(&rules, &done(session), answer)
    }
}

fn without_support(rules: &[ClaimRule], done: &BTreeSet<&str>, answer: &str) -> Vec<Unsupported> {
    let judged = sentence::sentences(answer).flat_map(|s| judged(rules, done, s));
    judged.collect()
}

/// The phrases that a tool declares, compiled, or what is wrong with them.
pub fn declared(contract: &Contract) -> Result<Vec<Regex>, PhraseError> {
    let wrong = |value: &Value, problem: &str| PhraseError {
        phrase: value.to_string(),
        problem: problem.to_owned(),
    };
    let Some(value) = contract.output_schema.get(KEYWORD) else {
        return Ok(Vec::new());
    };
    let texts = value
        .as_array()
        .ok_or_else(|| wrong(value, "x-claims is a list of texts"))?
        .iter()
        .map(|v| v.as_str().ok_or_else(|| wrong(v, "it is not a text")))
        .collect::<Result<Vec<&str>, _>>()?;
    compiled(&texts)
}

fn compiled(phrases: &[&str]) -> Result<Vec<Regex>, PhraseError> {
    let wrong = |phrase: &str, problem: String| PhraseError {
        phrase: phrase.to_owned(),
        problem,
    };
    if let Some(extra) = phrases.get(MAX_PHRASES) {
        return Err(wrong(extra, format!("at most {MAX_PHRASES} phrases")));
    }
    let compile = |phrase: &&str| {
        if phrase.trim().is_empty() || phrase.len() > MAX_PHRASE_BYTES {
            let problem = format!("a phrase has 1 to {MAX_PHRASE_BYTES} bytes");
            return Err(wrong(phrase, problem));
        }
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .case_insensitive(true)
                .size_limit(MAX_COMPILED_BYTES)
                .build()
                .map_err(|e| wrong(phrase, e.to_string()))
        };
        match build(phrase)?.is_match("") {
            true => Err(wrong(phrase, "it matches the empty text".to_owned())),
            false => build(&format!(r"\b(?:{phrase})\b")),
        }
    };
    phrases.iter().map(compile).collect()
}

/// Names of the tools that have succeeded in the session.
fn done(session: &Session) -> BTreeSet<&str> {
    let observed = session.calls().filter_map(|(_, c)| c.observed.as_ref());
    observed
        .filter(|o| has_done(o))
        .map(|o| o.tool.as_str())
        .collect()
}

fn has_done(observed: &Observed) -> bool {
    match &observed.result {
        CallResult::Ok(_) => observed.disposition != Disposition::Refused,
        // A person found that it was done, and nobody knows the output.
        CallResult::Err(error) => {
            observed.disposition == Disposition::Parked && error.aftermath == Aftermath::Changed
        }
    }
}

/// A stretch of a sentence that phrases match.
struct Claim<'a> {
    from: usize,
    to: usize,
    supported: bool,
    tools: BTreeSet<&'a str>,
}

fn judged(rules: &[ClaimRule], done: &BTreeSet<&str>, sentence: &str) -> Vec<Unsupported> {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for rule in rules {
        let supported = rule.tools.iter().any(|t| done.contains(t.as_str()));
        let found = rule.phrases.iter().flat_map(|p| p.find_iter(sentence));
        for found in found.filter(|f| sentence::states(sentence, f.range())) {
            claims.push(Claim {
                from: found.start(),
                to: found.end(),
                supported,
                tools: rule.tools.iter().map(String::as_str).collect(),
            });
        }
    }
    claims.sort_by_key(|c| (c.from, c.to));
    let mut joined: Vec<Claim<'_>> = Vec::new();
    for claim in claims {
        match joined.last_mut().filter(|last| claim.from < last.to) {
            Some(last) => {
                last.to = last.to.max(claim.to);
                last.supported |= claim.supported;
                last.tools.extend(claim.tools);
            }
            None => joined.push(claim),
        }
    }
    let unsupported = joined.into_iter().filter(|c| !c.supported);
    unsupported
        .map(|claim| Unsupported {
            words: sentence[claim.from..claim.to]
                .chars()
                .take(SHOWN_CHARS)
                .collect(),
            tools: claim.tools.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
