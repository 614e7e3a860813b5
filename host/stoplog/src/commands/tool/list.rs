//! `tool list`: what is in the lock, for people, for machines, and as definitions.

use serde_json::{Value, json};
use stoplog_model::definition;
use stoplog_store::DataDir;

use super::{Context, words};
use crate::args::Format;
use crate::error::{CliError, Exit};
use crate::lock::{self, Lock};
use crate::output;

pub(super) fn run(context: &Context, format: Option<Format>) -> Result<Exit, CliError> {
    let config = context.config()?;
    let lock = Lock::load(&config.lock)?;
    if let Some(format) = format {
        let data = DataDir::unlocked(&config.data_dir)?;
        output::json(&definitions(&lock, &data, format)?);
        return Ok(Exit::Ok);
    }
    if context.json {
        output::json(&json!(lock.tools));
        return Ok(Exit::Ok);
    }
    let rows = lock
        .tools
        .iter()
        .map(|t| {
            let class = format!("{} ({})", t.class, t.class.number());
            let component = t.component.short().to_owned();
            let granted: Vec<String> = t.grants.iter().map(ToString::to_string).collect();
            let (name, version) = (t.name.clone(), t.version.clone());
            vec![
                name,
                version,
                class,
                component,
                words(&t.egress),
                words(&granted),
            ]
        })
        .collect();
    let header = [
        "TOOL",
        "VERSION",
        "CLASS",
        "COMPONENT",
        "ASKS FOR",
        "GRANTED HERE",
    ];
    output::table(&header, rows);
    Ok(Exit::Ok)
}

/// The tools as others are told of them, in the order of the lock: by name.
fn definitions(lock: &Lock, data: &DataDir, format: Format) -> Result<Value, CliError> {
    let told = lock.tools.iter().map(|locked| {
        let contract = lock::checked(data, locked)?;
        Ok(match format {
            Format::Openai => definition::openai(&contract),
            Format::Anthropic => definition::anthropic(&contract),
            Format::Mcp => definition::mcp(&contract, locked.class),
        })
    });
    let tools: Value = told.collect::<Result<_, CliError>>()?;
    Ok(match format {
        Format::Openai | Format::Anthropic => tools,
        Format::Mcp => json!({"tools": tools}),
    })
}
