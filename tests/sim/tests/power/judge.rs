//! What must be true of a journal after a power cut or a fault, and that a host can go on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use stoplog_journal::{ActKeyState, Link, Part, Store, load, read_one};
use stoplog_model::event::Event;
use stoplog_model::session::Status;
use stoplog_model::{Position, Record, Session};
use stoplog_store::SqliteStore;

use crate::work::{MARK_SPAN, PRUNED, SESSIONS, Told, Work, act, id, run_started};

/// Links of each session's events, in order, as the full run left them: equal links are equal
/// histories up to there.
pub(crate) type Links = BTreeMap<&'static str, Vec<Link>>;

/// What is known of the run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The full run's events; empty where they are not known.
    pub(crate) links: Links,
    /// What was acknowledged before the cut.
    pub(crate) marks: BTreeSet<u64>,
    /// Whether the session `old` may have been pruned.
    pub(crate) may_be_pruned: bool,
}

impl Known {
    /// The highest `seq` of the session that was acknowledged.
    pub(crate) fn acknowledged(&self, session: &str) -> u64 {
        let place = SESSIONS.iter().position(|s| *s == session);
        let from = place.expect("a session") as u64 * MARK_SPAN;
        let last = self.marks.range(from..from + MARK_SPAN).next_back();
        last.map_or(0, |mark| mark - from)
    }
}

/// The links of every session of an open store.
pub(crate) async fn links(store: &dyn Store) -> Links {
    let mut all = Links::new();
    for session in SESSIONS {
        let reading = read_one(store, &id(session), Part::Whole).await;
        let rows = reading.expect("a reading").rows;
        all.insert(session, rows.iter().map(|r| r.chain).collect());
    }
    all
}

/// Opens what is in the folder and looks at all of it; then goes on with every session. An error
/// says what is wrong.
pub(crate) async fn judge(folder: &Path, known: &Known) -> Result<(), String> {
    let store = SqliteStore::open(&folder.join("journal.db"));
    let store: Arc<dyn Store> = Arc::new(store.map_err(|e| format!("refused: {e}"))?);
    for session in SESSIONS {
        one(&store, session, known).await?;
    }
    for session in SESSIONS {
        go_on(&store, session).await?;
    }
    Ok(())
}

async fn one(store: &Arc<dyn Store>, session: &'static str, known: &Known) -> Result<(), String> {
    let loaded = load(&**store, &id(session)).await;
    let loaded = loaded.map_err(|e| format!("{session} does not load: {e}"))?;
    let acknowledged = known.acknowledged(session);
    let Some((records, state)) = loaded else {
        let pruned = session == "old" && known.may_be_pruned;
        return match acknowledged {
            0 => Ok(()),
            _ if pruned => kept(store, known).await,
            n => Err(format!("{session} is gone, {n} events were acknowledged")),
        };
    };
    if session == "old" && known.marks.contains(&PRUNED) {
        return Err("a pruned session is back".into());
    }
    let found = records.len() as u64;
    if found < acknowledged {
        return Err(format!("{session} has {found} of {acknowledged} events"));
    }
    if let Some(full) = known.links.get(session) {
        let rows = read_one(&**store, &id(session), Part::Whole).await;
        let rows = rows.map_err(|e| format!("{session}: {e}"))?.rows;
        let links: Vec<Link> = rows.iter().map(|r| r.chain).collect();
        if !full.starts_with(&links) {
            return Err(format!("{session} is no prefix of what was written"));
        }
    }
    claims(store, session, &records, &state).await
}

/// Each claim is there if and only if the event that made it is.
async fn claims(
    store: &Arc<dyn Store>,
    session: &str,
    records: &[Record],
    state: &Session,
) -> Result<(), String> {
    for record in records {
        let Event::IntentRecorded(intent) = &record.event else {
            continue;
        };
        let at = intent.position;
        let own = act(session, at);
        let row = store.act_key(&own.scope, &own.key).await;
        let row = row.map_err(|e| e.to_string())?;
        let is_done = state.call(at).is_some_and(|c| c.observed.is_some());
        let expected = match is_done {
            true => ActKeyState::Done,
            false => ActKeyState::InFlight,
        };
        if row.as_ref().map(|r| r.state) != Some(expected) {
            return Err(format!("the claim of {session}/{at} is {row:?}"));
        }
    }
    let mut next = Position {
        iteration: state.iterations(),
        ordinal: 0,
    };
    if state.call(next).is_some_and(|c| !c.effects.is_empty()) {
        next.iteration += 1;
    }
    let own = act(session, next);
    match store.act_key(&own.scope, &own.key).await {
        Ok(None) => Ok(()),
        other => Err(format!("a claim without its event: {other:?}")),
    }
}

/// A pruned session left its claims, with their results.
async fn kept(store: &Arc<dyn Store>, known: &Known) -> Result<(), String> {
    let at = Position {
        iteration: 1,
        ordinal: 0,
    };
    let own = act("old", at);
    let row = store.act_key(&own.scope, &own.key).await;
    match row.map_err(|e| e.to_string())? {
        Some(row) if row.kept.is_some() && row.state == ActKeyState::Done => Ok(()),
        row => Err(format!(
            "the claim of a pruned session is {row:?}: {:?}",
            known.marks
        )),
    }
}

/// A host takes the session over, from its snapshot where it has one, and writes to it.
async fn go_on(store: &Arc<dyn Store>, session: &str) -> Result<(), String> {
    let told: Told = Arc::new(|_| {});
    let before = load(&**store, &id(session))
        .await
        .map_err(|e| e.to_string())?;
    if before
        .as_ref()
        .is_some_and(|(_, state)| state.status() == Status::Ended)
    {
        return Ok(());
    }
    let before = before.map_or(0, |(records, _)| records.len());
    let work = async {
        let work = Work::open(store.clone(), session, told).await?;
        work.append(vec![run_started()]).await?;
        work.journal.close().await
    };
    work.await
        .map_err(|e| format!("{session} does not go on: {e}"))?;
    let after = load(&**store, &id(session))
        .await
        .map_err(|e| e.to_string())?;
    match after.map_or(0, |(records, _)| records.len()) {
        n if n > before => Ok(()),
        n => Err(format!("{session} had {before} events, and then {n}")),
    }
}
