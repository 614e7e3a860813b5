//! A folder of evidence about one run: for who writes the postmortem, and for who was not there.
//!
//! | file | has |
//! |---|---|
//! | `postmortem.md` | the template, filled in as far as spans and journal can: see [`postmortem`] |
//! | `spans.jsonl` | every span of the session, a line each |
//! | `journal.jsonl` | the session's events, verified, and redacted; not there when it is pruned |
//! | `versions.json` | models, prompts, tools with their components, configuration and lock |
//! | `manifest.json` | name, size and SHA-256 of each of the others |
//!
//! Invariants: nothing personal is in it, beyond names of users and of people who decided; what the
//! manifest names is in the folder, byte for byte, and nothing else is.

pub mod postmortem;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stoplog_model::{Digest, Record, Session};
use stoplog_telemetry::Span;

use crate::redacted;
use crate::story::Story;

/// Version of the folder.
pub const FORMAT: u32 = 1;

const KIND: &str = "stoplog.incident";

/// The file that names the others.
pub const MANIFEST: &str = "manifest.json";

/// What a folder is made of.
pub struct Facts<'a> {
    /// The run that it is about; the last one of the session, if a session was named.
    pub trace: &'a str,
    /// Every span of its session.
    pub spans: &'a [Span],
    /// The session's events and their fold, verified. None: the journal has them no more.
    pub journal: Option<(&'a [Record], &'a Session)>,
    /// SHA-256 of the configuration file as it is now; None if there is none.
    pub config: Option<Digest>,
    /// SHA-256 of the lock file as it is now.
    pub lock: Option<Digest>,
    /// When, milliseconds since the Unix epoch.
    pub exported_at_ms: u64,
    /// Version of the program.
    pub version: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    kind: String,
    format: u32,
    trace: String,
    session: String,
    tenant: String,
    exported_at_ms: u64,
    files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    bytes: u64,
    sha256: Digest,
}

/// What a sound folder is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The run.
    pub trace: String,
    /// Its session.
    pub session: String,
    /// Whose it is.
    pub tenant: String,
    /// When it was exported, milliseconds since the Unix epoch.
    pub exported_at_ms: u64,
    /// Files, the manifest not counted.
    pub files: usize,
}

/// The files, the manifest last. None for no spans. `time` writes a time, and `readable` makes a text
/// of others harmless to read.
pub fn files(
    facts: &Facts<'_>,
    time: impl Fn(u64) -> String,
    readable: impl Fn(&str) -> String,
) -> Option<Vec<(&'static str, Vec<u8>)>> {
    let story = Story::of(facts.spans)?;
    let common = &story.any()?.common;
    let versions = versions(facts, &story);
    let postmortem = postmortem::text(facts, &story, &versions, time);
    let mut files: Vec<(&'static str, Vec<u8>)> = vec![
        ("postmortem.md", readable(&postmortem).into_bytes()),
        (
            "spans.jsonl",
            lines(facts.spans.iter().map(|span| json!(span))),
        ),
    ];
    if let Some((records, session)) = facts.journal {
        let events = records
            .iter()
            .map(|record| redacted::event(record, session));
        files.push(("journal.jsonl", lines(events)));
    }
    files.push(("versions.json", pretty(&versions)));
    let manifest = Manifest {
        kind: KIND.to_owned(),
        format: FORMAT,
        trace: facts.trace.to_owned(),
        session: common.session_id.to_string(),
        tenant: common.tenant_id.to_string(),
        exported_at_ms: facts.exported_at_ms,
        files: files
            .iter()
            .map(|(name, bytes)| File {
                name: (*name).to_owned(),
                bytes: bytes.len() as u64,
                sha256: Digest::of(bytes),
            })
            .collect(),
    };
    files.push((MANIFEST, pretty(&json!(manifest))));
    Some(files)
}

fn lines(values: impl Iterator<Item = Value>) -> Vec<u8> {
    let mut text = String::new();
    for value in values {
        text.push_str(&value.to_string());
        text.push('\n');
    }
    text.into_bytes()
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Models, prompts and tools of the session; configuration and lock as they are now.
fn versions(facts: &Facts<'_>, story: &Story<'_>) -> Value {
    let mut models: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for (_, call) in story.turns() {
        let version = (
            &*call.model_id,
            &*call.model_version,
            &*call.prompt_version_hash,
        );
        *models.entry(version).or_default() += 1;
    }
    let models: Vec<Value> = models
        .into_iter()
        .map(|((id, version, prompt), turns)| {
            json!({
                "model_id": id, "model_version": version, "prompt_version_hash": prompt,
                "turns": turns,
            })
        })
        .collect();
    let tools: Option<Vec<Value>> = facts.journal.map(|(_, session)| {
        let pins = session.started.tools.iter();
        pins.map(|pin| {
            json!({
                "name": pin.contract.name, "version": pin.contract.version,
                "class": pin.class.number(), "component_sha256": pin.component,
            })
        })
        .collect()
    });
    let prompt = facts
        .journal
        .map(|(_, s)| Digest::of(s.started.system_prompt.as_bytes()));
    json!({
        "models": models,
        "system_prompt_sha256": prompt,
        "tools": tools,
        "config_sha256_now": facts.config,
        "lock_sha256_now": facts.lock,
        "stoplog": facts.version,
    })
}

/// Checks a folder: its manifest, and every file by name.
pub fn check(files: &BTreeMap<String, Vec<u8>>) -> Result<Checked, String> {
    let bytes = files
        .get(MANIFEST)
        .ok_or_else(|| format!("there is no {MANIFEST}: it is no folder of `incident export`"))?;
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|e| format!("{MANIFEST}: {e}"))?;
    if manifest.kind != KIND || manifest.format != FORMAT {
        return Err(format!(
            "it is `{}`, format {}",
            manifest.kind, manifest.format
        ));
    }
    for file in &manifest.files {
        let found = files
            .get(&file.name)
            .ok_or_else(|| format!("{} is missing", file.name))?;
        if found.len() as u64 != file.bytes || Digest::of(found) != file.sha256 {
            return Err(format!("{} is not what was exported", file.name));
        }
    }
    let is_named = |name: &str| name == MANIFEST || manifest.files.iter().any(|f| f.name == name);
    if let Some(stray) = files.keys().find(|name| !is_named(name)) {
        return Err(format!("{stray} is in the folder, and not in the manifest"));
    }
    Ok(Checked {
        trace: manifest.trace,
        session: manifest.session,
        tenant: manifest.tenant,
        exported_at_ms: manifest.exported_at_ms,
        files: manifest.files.len(),
    })
}

#[cfg(test)]
mod tests;
