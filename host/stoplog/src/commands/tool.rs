//! `tool check|add|list`.

use std::fs;
use std::path::Path;

use serde_json::json;
use stoplog_model::contract::ContractError;
use stoplog_model::{Class, Contract, Reason};
use stoplog_sandbox::{Inspection, Sandbox, Settings, inspect};
use stoplog_store::DataDir;

use super::{Context, tool_from, tool_test};
use crate::args::{AcceptClass, Tool};
use crate::error::{CliError, Exit};
use crate::host;
use crate::lock::{self, Lock, Locked};
use crate::output;

pub(super) async fn run(context: &Context, command: Tool) -> Result<Exit, CliError> {
    match command {
        Tool::Check { file } => check(context, &file).await,
        Tool::Add {
            file,
            accept_class,
            replace,
        } => add(context, &file, accept_class, replace).await,
        Tool::From(args) => tool_from::run(context, &args),
        Tool::Test(args) => tool_test::run(context, args).await,
        Tool::List => list(context),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(file)
        .map_err(|e| CliError::new(Reason::ToolMissing, format!("{}: {e}", file.display())))
}

fn at(file: &Path, error: CliError) -> CliError {
    CliError {
        message: format!("{}: {}", file.display(), error.message),
        ..error
    }
}

fn contract_error(error: ContractError) -> CliError {
    CliError::new(error.reason, error.to_string())
}

/// What a component is and says: its class from its exports, its contract from `describe`.
async fn examine(
    sandbox: &Sandbox,
    file: &Path,
    bytes: &[u8],
) -> Result<(Inspection, Contract), CliError> {
    let (inspection, described) = sandbox
        .describe(bytes)
        .await
        .map_err(|e| at(file, e.into()))?;
    let contract =
        Contract::check(described, inspection.class).map_err(|e| at(file, contract_error(e)))?;
    Ok((inspection, contract))
}

async fn check(context: &Context, file: &Path) -> Result<Exit, CliError> {
    let bytes = read(file)?;
    // Refusals by name come first, and without compiling.
    inspect(&bytes).map_err(|e| at(file, e.into()))?;
    let sandbox =
        Sandbox::new(Settings::default()).map_err(|e| CliError::internal(e.to_string()))?;
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
            "input_schema": contract.input_schema, "output_schema": contract.output_schema,
        }));
        return Ok(Exit::Ok);
    }
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
    output::line("imports");
    for import in &inspection.imports {
        output::line(format!("  {:8}  {}", import.kind.to_string(), import.name));
    }
    Ok(Exit::Ok)
}

fn words(list: &[String]) -> String {
    if list.is_empty() {
        "nothing".into()
    } else {
        list.join(", ")
    }
}

async fn add(
    context: &Context,
    file: &Path,
    accept_class: Option<AcceptClass>,
    replace: bool,
) -> Result<Exit, CliError> {
    let config = context.config()?;
    let bytes = read(file)?;
    inspect(&bytes).map_err(|e| at(file, e.into()))?;
    let data = DataDir::unlocked(&config.data_dir)?;
    let sandbox = host::sandbox(&data)?;
    let (inspection, contract) = examine(&sandbox, file, &bytes).await?;
    accept(file, inspection.class, accept_class)?;
    let mut lock = Lock::load(&config.lock)?;
    let locked = Locked {
        name: contract.name.to_string(),
        version: contract.version.clone(),
        class: inspection.class,
        component: inspection.digest,
        contract: contract.digest(),
        egress: contract.egress.clone(),
        secrets: contract.secrets.clone(),
    };
    if let Some(old) = lock
        .get(&locked.name)
        .filter(|old| **old != locked && !replace)
    {
        let message = format!(
            "`{}` is in the lock with another component:\n  version   {} -> {}\n  class     {} -> {}\n  \
             component {} -> {}\n  contract  {} -> {}\naccept the change with --replace",
            old.name,
            old.version,
            locked.version,
            old.class,
            locked.class,
            old.component.short(),
            locked.component.short(),
            old.contract.short(),
            locked.contract.short()
        );
        return Err(CliError::new(Reason::ToolChanged, message));
    }
    lock::keep(&data, &bytes, &contract)?;
    lock.put(locked.clone());
    lock.save(&config.lock)?;
    let grants: Vec<String> = config
        .grants
        .get(&locked.name)
        .map(|grants| grants.iter().map(|g| g.to_string()).collect())
        .unwrap_or_default();
    if context.json {
        output::json(&json!({
            "name": locked.name, "class": locked.class, "component": locked.component,
            "asks": locked.egress, "granted": grants,
        }));
    } else {
        output::line(format!(
            "added {} {}, class {}; asks for {}; granted {}",
            locked.name,
            locked.version,
            locked.class,
            words(&locked.egress),
            words(&grants)
        ));
    }
    Ok(Exit::Ok)
}

/// Class 3 and 4 are accepted by name.
fn accept(file: &Path, class: Class, accepted: Option<AcceptClass>) -> Result<(), CliError> {
    let named = match accepted {
        None => None,
        Some(AcceptClass::External) => Some(Class::External),
        Some(AcceptClass::Irreversible) => Some(Class::Irreversible),
    };
    if class < Class::External || named == Some(class) {
        return Ok(());
    }
    let message = format!(
        "{}: its class is {class}: what it does cannot be taken back from here. Accept it with \
         --accept-class {class}",
        file.display()
    );
    Err(CliError::new(Reason::ToolClassNotAccepted, message))
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let lock = Lock::load(&context.config()?.lock)?;
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
            vec![
                t.name.clone(),
                t.version.clone(),
                class,
                component,
                words(&t.egress),
            ]
        })
        .collect();
    output::table(&["TOOL", "VERSION", "CLASS", "COMPONENT", "ASKS FOR"], rows);
    Ok(Exit::Ok)
}
