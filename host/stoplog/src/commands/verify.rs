//! `verify`: whether the journal, an exported file or a folder of evidence is what was written. Looks only: no lock is
//! taken and nothing changes, beside a running host too.
//!
//! Sessions are taken one at a time, so memory does not grow with the journal, but for a line for each
//! key that tools keep. The first flaw of each broken session is told, and the others are looked at
//! all the same.

use std::path::Path;

use serde_json::{Value, json};
use stoplog_journal::{Cipher, Dossier};
use stoplog_model::Reason;
use stoplog_query::export::{self, Unsound};
use stoplog_query::verify::{self, Bounds, Flaw, Sound, StateFold};
use stoplog_store::SqliteStore;

use super::{Context, incident};
use crate::args::Verify;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output;

/// Names and keys that are read at once.
const PAGE: u32 = 500;

pub(super) async fn run(context: &Context, args: Verify) -> Result<Exit, CliError> {
    if let Some(file) = &args.file {
        if file.is_dir() {
            return incident::verify_folder(context, file);
        }
        return verify_file(context, file);
    }
    let store = context.look().await?;
    // What cannot be read is not broken.
    store.require_keys().await?;
    let mut told = Findings {
        as_json: context.json,
        has_chain: store.format() > 1,
        ..Findings::default()
    };
    match &args.session {
        Some(id) => {
            let dossier = store.dossier(id.as_str()).await?;
            if dossier == Dossier::default() {
                let message = format!("there is no session {id}");
                return Err(CliError::new(Reason::SessionNotFound, message));
            }
            told.session(id.as_str(), &dossier, None);
        }
        None => everything(&store, &mut told).await,
    }
    told.summary(args.session.is_some())
}

async fn everything(store: &SqliteStore, told: &mut Findings) {
    if let Err(e) = sessions_and_state(store, told).await {
        told.problem(e.message);
    }
    if let Err(e) = kept_keys(store, told).await {
        told.problem(e.message);
    }
    match store.deep_check().await {
        Ok(problems) => problems.into_iter().for_each(|p| told.problem(p)),
        Err(e) => told.problem(e.to_string()),
    }
}

async fn sessions_and_state(store: &SqliteStore, told: &mut Findings) -> Result<(), CliError> {
    let (until, floor) = store.places().await?;
    let mut fold = StateFold::new(Bounds { until, floor });
    sessions(store, told, &mut fold).await?;
    let broken = !told.flaws.is_empty();
    let mut after = (String::new(), String::new(), String::new());
    loop {
        let entries = store
            .state_entries((&after.0, &after.1, &after.2), PAGE)
            .await?;
        fold.raise_floor(store.places().await?.1);
        for entry in &entries {
            told.kept += 1;
            // What a broken session wrote is not in the fold.
            if let Some(problem) = fold.compare(entry).filter(|_| !broken) {
                told.problem(problem);
            }
        }
        match entries.into_iter().next_back() {
            Some(last) => after = (last.tenant, last.tool, last.key),
            None => break,
        }
    }
    if !broken {
        let (last, floor) = store.places().await?;
        fold.raise_floor(floor);
        fold.missing(last).into_iter().for_each(|p| told.problem(p));
    }
    Ok(())
}

async fn sessions(
    store: &SqliteStore,
    told: &mut Findings,
    fold: &mut StateFold,
) -> Result<(), CliError> {
    let mut after = String::new();
    loop {
        let names = store.session_names(&after, PAGE).await?;
        for name in &names {
            // Nothing is left of a session that was pruned since: that is sound.
            told.session(name, &store.dossier(name).await?, Some(&mut *fold));
        }
        match names.into_iter().next_back() {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

async fn kept_keys(store: &SqliteStore, told: &mut Findings) -> Result<(), CliError> {
    let mut after = 0;
    loop {
        let keys = store.kept_act_keys(after, PAGE).await?;
        for (_, key) in &keys {
            told.sound.keys += 1;
            if let Some(problem) = verify::kept_key(key) {
                told.problem(problem);
            }
        }
        match keys.last() {
            Some((place, _)) => after = *place,
            None => return Ok(()),
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    as_json: bool,
    has_chain: bool,
    sessions: u64,
    sound: Sound,
    /// Keys that tools keep.
    kept: u64,
    flaws: Vec<Flaw>,
    problems: Vec<String>,
}

impl Findings {
    fn session(&mut self, name: &str, dossier: &Dossier, fold: Option<&mut StateFold>) {
        self.sessions += u64::from(!dossier.rows.is_empty());
        match verify::session(name, dossier, self.has_chain) {
            Ok(sound) => {
                self.sound.events += sound.events;
                self.sound.snapshots += sound.snapshots;
                self.sound.keys += sound.keys;
                self.sound.last = sound.last;
                if let Some(fold) = fold {
                    fold.take(name, sound.written, &dossier.places);
                }
            }
            Err(flaw) => {
                if !self.as_json {
                    output::line(format!("BROKEN  {flaw}"));
                }
                self.flaws.push(flaw);
            }
        }
    }

    fn problem(&mut self, text: String) {
        if !self.as_json {
            output::line(format!("BROKEN  {text}"));
        }
        self.problems.push(text);
    }

    fn summary(self, is_one: bool) -> Result<Exit, CliError> {
        let last = self.sound.last.filter(|_| is_one).map(|l| verify::hex(&l));
        let first = self
            .flaws
            .first()
            .map(ToString::to_string)
            .or_else(|| self.problems.first().cloned());
        if self.as_json {
            output::json(&self.told(last.as_deref(), first.is_none()));
        } else {
            self.say(last.as_deref());
        }
        let Some(first) = first else {
            return Ok(Exit::Ok);
        };
        let message = format!(
            "{} session(s) and {} other thing(s) of the journal are broken, first: {first}",
            self.flaws.len(),
            self.problems.len()
        );
        Err(CliError::new(Reason::JournalCorrupt, message))
    }

    fn say(&self, last: Option<&str>) {
        if !self.has_chain {
            output::line(
                "format 1: there is no chain yet; the next host that opens the journal makes it",
            );
        }
        output::line(format!(
            "looked at {} session(s); sound are {} event(s), {} snapshot(s), {} key(s) of acts, {} \
             key(s) of tools",
            self.sessions, self.sound.events, self.sound.snapshots, self.sound.keys, self.kept
        ));
        if let Some(last) = last {
            output::line(format!("last link {last}"));
        }
    }

    fn told(&self, last: Option<&str>, is_sound: bool) -> Value {
        let flaws: Vec<Value> = self
            .flaws
            .iter()
            .map(|f| json!({"session": f.session, "seq": f.seq, "kind": f.kind, "what": f.what}))
            .collect();
        json!({
            "sound": is_sound,
            "chain": self.has_chain,
            "sessions": self.sessions,
            "events": self.sound.events,
            "snapshots": self.sound.snapshots,
            "keys": self.sound.keys,
            "kept": self.kept,
            "last_link": last,
            "broken": flaws,
            "problems": self.problems,
        })
    }
}

fn verify_file(context: &Context, file: &Path) -> Result<Exit, CliError> {
    let broken = |why: String| {
        let message = format!("{}: {why}", file.display());
        CliError::new(Reason::ExportBroken, message)
    };
    let bytes = std::fs::read(file).map_err(|e| broken(e.to_string()))?;
    // Read only where something is encrypted: a file is checked without a configuration too.
    let checked = match export::check(&bytes, &Cipher::none()) {
        Err(Unsound::Shut(_)) => {
            export::check(&bytes, &host::keys_or_none(context.configured_keys()))
        }
        checked => checked,
    };
    let found = match checked {
        Ok(found) => found,
        Err(Unsound::Broken(e)) => return Err(broken(e.to_string())),
        Err(Unsound::Shut(e)) => return Err(e.into()),
    };
    let last = verify::hex(&found.last);
    if context.json {
        output::json(&json!({
            "sound": true, "session": found.session, "tenant": found.tenant,
            "exported_at_ms": found.exported_at_ms, "events": found.events, "last_link": last,
        }));
    } else {
        output::line(format!(
            "sound: session {} of tenant {}, {} event(s), exported {}",
            found.session,
            found.tenant,
            found.events,
            output::time(found.exported_at_ms)
        ));
        output::line(format!("last link {last}"));
    }
    Ok(Exit::Ok)
}
