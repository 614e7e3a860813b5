//! `stoplog.lock`: which components are accepted, as what, and what they may reach.
//!
//! At call time the lock counts, never the guest: class, contract and origins are those that a
//! person accepted. Components and contracts lie in the data directory by digest, so a session
//! keeps the tool that it began with; what that tool may reach is what the lock says today.
//!
//! Version 1 knew no grants and no disclosure. It is read, and written anew as version 2.

mod change;
mod grants;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stoplog_model::disclosure::{self, Disclosure};
use stoplog_model::event::Pin;
use stoplog_model::{Class, Contract, Digest, Reason};
use stoplog_sandbox::{Inspection, inspect};
use stoplog_store::DataDir;

use crate::error::CliError;
use crate::files::{Readers, replace};

pub(crate) use change::{Side, changes};
pub(crate) use grants::{Granted, covered, reach};

/// Version of the lock file.
const LOCK_VERSION: u32 = 2;
/// The oldest one that is read.
const OLDEST_VERSION: u32 = 1;

/// One accepted tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Locked {
    /// What the model calls it by.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its class.
    pub(crate) class: Class,
    /// Digest of the component.
    pub(crate) component: Digest,
    /// Digest of the contract.
    pub(crate) contract: Digest,
    /// Origins that it asked for.
    pub(crate) egress: Vec<String>,
    /// Secrets that it asked for.
    pub(crate) secrets: Vec<String>,
    /// Whether it keeps state between its calls. Absent: it does not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) state: bool,
    /// Origins that it may reach.
    #[serde(default, rename = "grant", skip_serializing_if = "Vec::is_empty")]
    pub(crate) grants: Vec<Granted>,
    /// Who may see its fields. Absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) disclosure: Option<Shown>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What a tool's schemas say about who may see its fields: `input.order_id`, `output.lines[].sku`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    /// Digest of the lists below.
    pub(crate) digest: Digest,
    /// Seen everywhere.
    pub(crate) audit: Vec<String>,
    /// Hidden in spans, lists and exports.
    pub(crate) personal: Vec<String>,
    /// Hidden from those who approve, too.
    pub(crate) secret: Vec<String>,
}

impl Shown {
    /// What a contract's schemas say.
    pub(crate) fn of(contract: &Contract) -> Shown {
        let sides = [
            ("input", &contract.input_schema),
            ("output", &contract.output_schema),
        ];
        let fields: Vec<(String, Disclosure)> = sides
            .iter()
            .flat_map(|(side, schema)| {
                let decided = disclosure::decisions(schema).into_iter();
                decided.map(move |(path, d)| (format!("{side}.{path}"), d))
            })
            .collect();
        let named = |wanted: Disclosure| -> Vec<String> {
            let of_kind = fields.iter().filter(|(_, d)| *d == wanted);
            of_kind.map(|(path, _)| path.clone()).collect()
        };
        let (audit, personal, secret) = (
            named(Disclosure::Audit),
            named(Disclosure::Personal),
            named(Disclosure::Secret),
        );
        let lists = serde_json::json!({"audit": audit, "personal": personal, "secret": secret});
        Shown {
            digest: Digest::of_json(&lists),
            audit,
            personal,
            secret,
        }
    }
}

impl Locked {
    /// A component with this contract, and no origin granted yet.
    pub(crate) fn new(component: &Inspection, contract: &Contract) -> Locked {
        Locked {
            name: contract.name.to_string(),
            version: contract.version.clone(),
            class: component.class,
            component: component.digest.clone(),
            contract: contract.digest(),
            egress: contract.egress.clone(),
            secrets: contract.secrets.clone(),
            state: component.keeps_state(),
            grants: Vec::new(),
            disclosure: Some(Shown::of(contract)),
        }
    }

    /// Whether both are one component with one contract, whatever they may reach.
    pub(crate) fn is_same_tool(&self, other: &Locked) -> bool {
        (&self.component, &self.contract, self.class)
            == (&other.component, &other.contract, other.class)
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    version: u32,
    /// The tools, by name.
    #[serde(default, rename = "tool")]
    pub(crate) tools: Vec<Locked>,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn invalid(path: &Path, why: impl std::fmt::Display) -> CliError {
    CliError::new(Reason::LockInvalid, format!("{}: {why}", path.display()))
}

fn unwritable(path: &Path, e: std::io::Error) -> CliError {
    CliError::new(Reason::FileUnwritable, format!("{}: {e}", path.display()))
}

impl Lock {
    /// Reads the file; no file is no tools.
    pub(crate) fn load(path: &Path) -> Result<Lock, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Lock {
                    version: LOCK_VERSION,
                    tools: Vec::new(),
                });
            }
            Err(e) => return Err(invalid(path, e)),
        };
        let of: Versioned = toml::from_str(&text).map_err(|e| invalid(path, e))?;
        if !(OLDEST_VERSION..=LOCK_VERSION).contains(&of.version) {
            let why = format!(
                "version {}; this stoplog reads {OLDEST_VERSION} to {LOCK_VERSION}",
                of.version
            );
            return Err(invalid(path, why));
        }
        let mut lock: Lock = toml::from_str(&text).map_err(|e| invalid(path, e))?;
        lock.version = LOCK_VERSION;
        for (i, tool) in lock.tools.iter().enumerate() {
            if lock.tools[..i].iter().any(|t| t.name == tool.name) {
                return Err(invalid(path, format!("`{}` is in it twice", tool.name)));
            }
            for granted in &tool.grants {
                let named = |e| invalid(path, format!("`{}`: {e}", tool.name));
                granted.grant().map_err(named)?;
            }
        }
        Ok(lock)
    }

    /// Keeps other commands from changing the file until what it gives back is dropped. The folder is
    /// locked, not the file: that is replaced by each change.
    pub(crate) fn alone(path: &Path) -> Result<fs::File, CliError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let locked = fs::File::open(folder).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|e| unwritable(path, e))
    }

    /// Writes the file: whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        let text = toml::to_string_pretty(self).map_err(|e| invalid(path, e))?;
        let head = "# Written by `stoplog tool add`. A tool is accepted with this class and this\n\
                    # contract, and may reach the origins of its grants.\n";
        write_whole(path, format!("{head}{text}").as_bytes())
    }

    /// Puts a tool in, in the place of one of its name.
    pub(crate) fn put(&mut self, tool: Locked) {
        self.tools.retain(|t| t.name != tool.name);
        self.tools.push(tool);
        self.tools.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The tool of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Locked> {
        self.tools.iter().find(|t| t.name == name)
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    replace(path, bytes, Readers::AsBefore).map_err(|e| unwritable(path, e))
}

/// Keeps a component and its contract in the data directory.
pub(crate) fn keep(data: &DataDir, bytes: &[u8], contract: &Contract) -> Result<(), CliError> {
    let dir = data.tools();
    fs::create_dir_all(&dir).map_err(|e| unwritable(&dir, e))?;
    let digest = Digest::of(bytes);
    write_whole(&dir.join(format!("{digest}.wasm")), bytes)?;
    let text = serde_json::to_vec_pretty(contract).map_err(|e| invalid(&dir, e))?;
    write_whole(
        &dir.join(format!("{}.contract.json", contract.digest())),
        &text,
    )
}

/// The bytes of a component, which must be what its digest says.
pub(crate) fn component(data: &DataDir, name: &str, digest: &Digest) -> Result<Vec<u8>, CliError> {
    let path = data.tools().join(format!("{digest}.wasm"));
    let bytes = fs::read(&path).map_err(|e| {
        let message = format!("`{name}`: {}: {e}", path.display());
        CliError::new(Reason::ToolMissing, message)
    })?;
    let found = Digest::of(&bytes);
    if found == *digest {
        return Ok(bytes);
    }
    let message = format!("`{name}`: {} has digest {found}", path.display());
    Err(CliError::new(Reason::ToolChanged, message))
}

/// The contract of a locked tool, which must be what its digest says.
pub(crate) fn contract(data: &DataDir, locked: &Locked) -> Result<Contract, CliError> {
    let path = data
        .tools()
        .join(format!("{}.contract.json", locked.contract));
    let missing = |e: String| {
        let message = format!("`{}`: {}: {e}", locked.name, path.display());
        CliError::new(Reason::ToolMissing, message)
    };
    let text = fs::read(&path).map_err(|e| missing(e.to_string()))?;
    let contract: Contract = serde_json::from_slice(&text).map_err(|e| missing(e.to_string()))?;
    if contract.digest() != locked.contract || contract.name.as_str() != locked.name {
        let message = format!(
            "`{}`: {} is not the contract in the lock",
            locked.name,
            path.display()
        );
        return Err(CliError::new(Reason::ToolChanged, message));
    }
    Ok(contract)
}

/// The contract of a locked tool, once everything that the lock says of it is what its component and
/// its contract say: a line that was edited by hand is told to nobody as true.
pub(crate) fn checked(data: &DataDir, locked: &Locked) -> Result<Contract, CliError> {
    let contract = contract(data, locked)?;
    let bytes = component(data, &locked.name, &locked.component)?;
    let inspection = inspect(&bytes)?;
    let class = inspection.class;
    let mut said = Locked::new(&inspection, &contract);
    said.grants.clone_from(&locked.grants);
    // Less is fine: an operator may take the state away.
    said.state &= locked.state;
    if locked.disclosure.is_none() {
        said.disclosure = None;
    }
    if said == *locked {
        return Ok(contract);
    }
    let message = format!(
        "`{}`: the lock says something else of it than its component, which has class {class}, and \
         its contract. Add it again",
        locked.name
    );
    Err(CliError::new(Reason::ToolChanged, message))
}

/// A locked tool as a session pins it.
pub(crate) fn pin(data: &DataDir, locked: &Locked) -> Result<Pin, CliError> {
    Ok(Pin {
        component: locked.component.clone(),
        class: locked.class,
        contract: contract(data, locked)?,
    })
}

#[cfg(test)]
mod tests;
