//! `incident export`: evidence of one run, as a folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use stoplog_journal::{Dossier, load};
use stoplog_model::port::Clock;
use stoplog_model::{Digest, Reason};
use stoplog_policy::readable::make_readable;
use stoplog_query::incident::{self, Facts};
use stoplog_query::verify;
use stoplog_store::SqliteStore;

use super::{Context, trace};
use crate::args::Incident;
use crate::error::{CliError, Exit};
use crate::files;
use crate::host::SystemClock;
use crate::output;

/// Files that a folder of evidence may have: more is another folder, and is not read.
const MAX_FILES: usize = 32;

pub(super) async fn run(context: &Context, command: Incident) -> Result<Exit, CliError> {
    let Incident::Export { what, out } = command;
    let found = trace::find(context, &what).await?;
    let session = found.session().clone();
    let store = context.look().await?;
    let dossier = store.dossier(session.as_str()).await?;
    if dossier != Dossier::default() {
        verified(&store, session.as_str(), &dossier)?;
    }
    let loaded = load(&*store, &session).await?;
    let (config, lock) = digests(context);
    let facts = Facts {
        trace: found.trace(),
        spans: &found.spans,
        journal: loaded
            .as_ref()
            .map(|(records, session)| (&records[..], session)),
        config,
        lock,
        exported_at_ms: SystemClock.now_ms(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let files = incident::files(&facts, output::time, make_readable)
        .ok_or_else(|| CliError::internal("a trace without spans"))?;
    files::write_folder(&out, &files)?;
    let manifest = files.last().map(|(_, bytes)| Digest::of(bytes));
    if context.json {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        output::json(&json!({
            "folder": out, "trace": facts.trace, "session": session, "files": names,
            "manifest_sha256": manifest, "journal": facts.journal.is_some(),
        }));
        return Ok(Exit::Ok);
    }
    for (name, bytes) in &files {
        output::line(format!(
            "{}  {} bytes",
            out.join(name).display(),
            bytes.len()
        ));
    }
    if facts.journal.is_none() {
        output::note("the journal has the session no more: its events are not in the folder");
    }
    if let Some(manifest) = manifest {
        output::line(format!(
            "manifest {manifest}: kept elsewhere, it shows every change"
        ));
    }
    Ok(Exit::Ok)
}

/// Evidence of what is damaged would be none.
fn verified(store: &SqliteStore, session: &str, dossier: &Dossier) -> Result<(), CliError> {
    match verify::session(session, dossier, store.format() > 1) {
        Ok(_) => Ok(()),
        Err(flaw) => Err(CliError::new(Reason::JournalCorrupt, flaw.to_string())),
    }
}

/// Digests of configuration and lock as they are; of what is not there, none.
fn digests(context: &Context) -> (Option<Digest>, Option<Digest>) {
    let of = |path: &Path| std::fs::read(path).ok().map(|bytes| Digest::of(&bytes));
    let lock = context.config().ok().and_then(|config| of(&config.lock));
    (of(context.config_path()), lock)
}

/// Checks a folder, for `verify`.
pub(super) fn verify_folder(context: &Context, folder: &Path) -> Result<Exit, CliError> {
    let broken = |why: String| {
        let message = format!("{}: {why}", folder.display());
        CliError::new(Reason::ExportBroken, message)
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| broken(e.to_string()))? {
        let entry = entry.map_err(|e| broken(e.to_string()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if files.len() == MAX_FILES {
            return Err(broken(format!("it has more than {MAX_FILES} files")));
        }
        let bytes = std::fs::read(entry.path()).map_err(|e| broken(format!("{name}: {e}")))?;
        files.insert(name, bytes);
    }
    let found = incident::check(&files).map_err(broken)?;
    if context.json {
        output::json(&json!({
            "sound": true, "trace": found.trace, "session": found.session, "tenant": found.tenant,
            "exported_at_ms": found.exported_at_ms, "files": found.files,
        }));
    } else {
        output::line(format!(
            "sound: {} file(s) about trace {} of session {}, tenant {}, exported {}",
            found.files,
            found.trace,
            found.session,
            found.tenant,
            output::time(found.exported_at_ms)
        ));
    }
    Ok(Exit::Ok)
}
