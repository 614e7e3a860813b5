//! `key create|list|revoke`: who may ask the service.
//!
//! The file is written whole and for its owner alone; a service that runs reads it anew.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;
use stoplog_model::Reason;
use stoplog_model::port::Clock;
use stoplog_serve::{Caller, KeyFile};

use super::Context;
use crate::args::{KeyCommand, Role};
use crate::error::{CliError, Exit};
use crate::files::{Readers, replace};
use crate::host::SystemClock;
use crate::output;

/// The file of keys of a data directory.
pub(super) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.json")
}

pub(super) fn run(context: &Context, command: KeyCommand) -> Result<Exit, CliError> {
    let config = context.config()?;
    let path = config.serve.keys.unwrap_or_else(|| file(&config.data_dir));
    let _alone = alone(&path)?;
    let unusable =
        |e: stoplog_serve::KeyFileError| CliError::new(Reason::ConfigInvalid, e.to_string());
    let mut keys = KeyFile::load(&path).map_err(unusable)?;
    match command {
        KeyCommand::Create { tenant, role, name } => {
            if name.trim().is_empty() {
                return Err(CliError::internal(
                    "--name must say whose it is: it is the record",
                ));
            }
            let caller = Caller {
                tenant,
                name,
                role: to_role(role),
            };
            let now_ms = SystemClock.now_ms();
            let text = keys.add((random()?, random()?), caller, now_ms);
            write(&path, &keys)?;
            let id = keys.keys.last().map(|k| k.id.clone()).unwrap_or_default();
            match context.json {
                true => output::json(&json!({"id": id, "key": text})),
                false => {
                    output::line(&text);
                    output::note(
                        "This is shown once, and kept nowhere: put it where its owner reads it.",
                    );
                }
            }
        }
        KeyCommand::List => list(context, &keys),
        KeyCommand::Revoke { id } => {
            if !keys.revoke(&id) {
                let message = format!("there is no key {id}");
                return Err(CliError::new(Reason::KeyNotFound, message));
            }
            write(&path, &keys)?;
            match context.json {
                true => output::json(&json!({"id": id, "revoked": true})),
                false => output::line(format!("{id} revoked")),
            }
        }
    }
    Ok(Exit::Ok)
}

fn to_role(role: Role) -> stoplog_serve::Role {
    match role {
        Role::Agent => stoplog_serve::Role::Agent,
        Role::Operator => stoplog_serve::Role::Operator,
        Role::Approver => stoplog_serve::Role::Approver,
        Role::Viewer => stoplog_serve::Role::Viewer,
        Role::Monitor => stoplog_serve::Role::Monitor,
    }
}

fn list(context: &Context, keys: &KeyFile) {
    if context.json {
        let told = keys.keys.iter().map(|k| {
            json!({"id": k.id, "tenant": k.tenant, "role": k.role, "name": k.name, "created_at_ms": k.created_at_ms})
        });
        output::json(&told.collect());
        return;
    }
    let rows = keys.keys.iter().map(|k| {
        let made = output::time(k.created_at_ms);
        let role = k.role.as_str().to_owned();
        vec![
            k.id.clone(),
            k.tenant.to_string(),
            role,
            k.name.clone(),
            made,
        ]
    });
    output::table(&["KEY", "TENANT", "ROLE", "NAME", "MADE"], rows.collect());
}

/// Random bytes of the system.
fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| CliError::internal(format!("no random bytes: {e}")))?;
    Ok(bytes)
}

fn failed(path: &Path, e: std::io::Error) -> CliError {
    CliError::new(
        Reason::JournalUnwritable,
        format!("{}: {e}", path.display()),
    )
}

/// Keeps other commands from changing the file meanwhile.
fn alone(path: &Path) -> Result<fs::File, CliError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.exists() {
        // As the data directory is made: for its owner alone.
        stoplog_store::DataDir::unlocked(folder)?;
    }
    let file = fs::File::open(folder).and_then(|file| file.lock().map(|()| file));
    file.map_err(|e| failed(folder, e))
}

fn write(path: &Path, keys: &KeyFile) -> Result<(), CliError> {
    let text = serde_json::to_vec_pretty(keys).map_err(|e| CliError::internal(e.to_string()))?;
    replace(path, &text, Readers::Owner).map_err(|e| failed(path, e))
}
