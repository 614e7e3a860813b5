//! `tool check`: what a component is, and could do. Any file may be given, also one that nobody
//! here built.

use std::path::Path;

use serde_json::json;
use stoplog_model::Contract;
use stoplog_policy::claims;
use stoplog_sandbox::{Inspection, inspect};

use super::{Context, Target, at, examine, words};
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;

pub(super) async fn run(context: &Context, path: Option<&Path>) -> Result<Exit, CliError> {
    let target = Target::of(path)?;
    let (file, bytes) = (target.component(), target.read()?);
    inspect(&bytes).map_err(|e| at(file, e.into()))?;
    let sandbox = host::authors_sandbox()?;
    let (inspection, contract) = examine(&sandbox, file, &bytes).await?;
    if context.json {
        let imports: Vec<_> = inspection
            .imports
            .iter()
            .map(|i| json!({"name": i.name, "kind": i.kind.to_string()}))
            .collect();
        output::json(&json!({
            "name": contract.name, "version": contract.version,
            "component": inspection.digest, "contract": contract.digest(),
            "class": inspection.class, "class_number": inspection.class.number(),
            "floor": inspection.floor, "size_bytes": inspection.size_bytes,
            "imports": imports, "obligations": inspection.class.obligations(),
            "key": contract.key, "keeps_keys": contract.keeps_keys,
            "egress": contract.egress, "secrets": contract.secrets,
            "state": inspection.keeps_state(),
            "input_schema": contract.input_schema, "output_schema": contract.output_schema,
        }));
        return Ok(Exit::Ok);
    }
    print(&inspection, &contract);
    if let Target::Project(_) = target {
        output::line("next: stoplog tool test, then stoplog tool add");
    }
    Ok(Exit::Ok)
}

fn print(inspection: &Inspection, contract: &Contract) {
    output::line(format!(
        "tool         {} {}",
        contract.name, contract.version
    ));
    output::line(format!(
        "component    {}  ({} bytes)",
        inspection.digest, inspection.size_bytes
    ));
    output::line(format!("contract     {}", contract.digest()));
    let (class, floor) = (inspection.class, inspection.floor);
    output::line(format!(
        "class        {class} ({}), from its export",
        class.number()
    ));
    output::line(format!(
        "floor        {floor} ({}), from its imports",
        floor.number()
    ));
    output::line(format!("obligations  {}", class.obligations().join(", ")));
    if let Some(rule) = &contract.key {
        let keeps = if contract.keeps_keys {
            "keeps"
        } else {
            "does not keep"
        };
        output::line(format!(
            "key          {} ({:?} scope); the far side {keeps} keys",
            rule.template, rule.scope
        ));
    }
    output::line(format!("asks for     {}", words(&contract.egress)));
    output::line(format!("secrets      {}", words(&contract.secrets)));
    if inspection.keeps_state() {
        output::line("keeps        state between its calls, for each tenant apart");
    }
    if let Some(phrases) = contract.output_schema.get(claims::KEYWORD) {
        output::line(format!("claims       {phrases}"));
    }
    output::line("imports");
    for import in &inspection.imports {
        output::line(format!("  {:8}  {}", import.kind.to_string(), import.name));
    }
}
