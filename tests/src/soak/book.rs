//! What is known of the sessions: what was durable when it was looked at last, and the whole check
//! of a session that is over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use stoplog_journal::{Opening, SessionJournal, Store, Which, load};
use stoplog_model::event::{CallResult, Event, Observed, SessionStarted};
use stoplog_model::port::{Clock, Unwatched};
use stoplog_model::{Record, Session, SessionId};
use stoplog_store::SqliteStore;
use stoplog_telemetry::{Detail, spans};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::Report;
use super::ledger::{ACTS, Ledgers};
use crate::World;

/// By call, the observation as it was read first.
type Seen = BTreeMap<(u32, u32), Observed>;

/// What a look found.
pub(super) struct Looked {
    /// Calls that ended since the look before.
    pub(super) calls: u64,
    /// Sessions that can go on.
    pub(super) active: usize,
    /// Sessions that wait for a person.
    pub(super) parked: Vec<String>,
}

/// The sessions that are not over, as far as they were durable.
pub(super) struct Book {
    runtime: Runtime,
    /// What each session is begun with.
    started: SessionStarted,
    admitted: u64,
    seen: HashMap<String, Seen>,
}

struct Wall;

impl Clock for Wall {
    #[expect(
        clippy::disallowed_methods,
        reason = "the soak runs beside the machine's clock, as a host does"
    )]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| d.as_millis() as u64)
    }
}

impl Book {
    /// Admits the first session as people do, and takes what it was begun with for all others.
    pub(super) fn begin(world: &World) -> anyhow::Result<Book> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let first = "soak_0";
        let mut args = vec!["run", "--admit", "--tenant", "acme"];
        args.extend(["--session", first, "do it"]);
        let admitted = world.host(&args)?;
        ensure!(admitted.code == Some(0), "{admitted:?}");
        let started = runtime.block_on(async {
            let store = SqliteStore::open(&world.data_dir().join("journal.db"))?;
            let loaded = load(&store, &SessionId::new(first)?).await?;
            anyhow::Ok(
                loaded
                    .context("the first session")?
                    .1
                    .started
                    .as_ref()
                    .clone(),
            )
        })?;
        Ok(Book {
            runtime,
            started,
            admitted: 1,
            seen: HashMap::from([(first.to_owned(), Seen::new())]),
        })
    }

    /// Whether every session is over and checked.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Those that are not.
    pub(super) fn open(&self) -> String {
        self.seen.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// Begins so many sessions.
    pub(super) fn admit(&mut self, world: &World, count: usize) -> anyhow::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let names: Vec<String> = (0..count as u64)
            .map(|i| format!("soak_{}", self.admitted + i))
            .collect();
        self.admitted += count as u64;
        self.runtime.block_on(async {
            let store = Arc::new(SqliteStore::open(&world.data_dir().join("journal.db"))?);
            let mut begun = JoinSet::new();
            for name in &names {
                let opening = Opening {
                    store: store.clone(),
                    clock: Arc::new(Wall),
                    watch: Arc::new(Unwatched),
                    listeners: Vec::new(),
                    holder: "soak".to_owned(),
                    holders_are_dead: true,
                };
                let started = SessionStarted {
                    session: SessionId::new(name.clone())?,
                    ..self.started.clone()
                };
                begun.spawn(async move {
                    let journal = SessionJournal::create(opening, started).await?;
                    journal.close().await
                });
            }
            while let Some(done) = begun.join_next().await {
                done??;
            }
            anyhow::Ok(())
        })?;
        self.seen
            .extend(names.into_iter().map(|name| (name, Seen::new())));
        Ok(())
    }

    /// Looks at every session that was not over: what was durable is still there. Those that are
    /// over are checked against the far sides, and forgotten.
    pub(super) fn look(
        &mut self,
        world: &World,
        ledgers: &Ledgers,
        report: &mut Report,
    ) -> anyhow::Result<Looked> {
        let (rows, mut loaded) = self.runtime.block_on(async {
            let store = SqliteStore::open(&world.data_dir().join("journal.db"))?;
            let rows = store.sessions(Which::All).await?;
            let mut loaded = HashMap::new();
            for name in self.seen.keys() {
                if let Some(found) = load(&store, &SessionId::new(name.clone())?).await? {
                    loaded.insert(name.clone(), found);
                }
            }
            anyhow::Ok((rows, loaded))
        })?;
        let mut looked = Looked {
            calls: 0,
            active: 0,
            parked: Vec::new(),
        };
        for row in rows {
            let Some(seen) = self.seen.get_mut(&row.session) else {
                continue;
            };
            let (records, session) = loaded.remove(&row.session).context("a session's events")?;
            looked.calls += compare(&row.session, seen, &records, report);
            match row.head.status.as_str() {
                "active" => looked.active += 1,
                "parked" => looked.parked.push(row.session),
                "ended" => {
                    check(&row.session, &records, &session, ledgers, report)?;
                    self.seen.remove(&row.session);
                }
                other => bail!("session {} is {other}", row.session),
            }
            report.sessions += u64::from(session.status().as_str() == "ended");
        }
        // What had a row once has one for ever, until it is over and pruned.
        let listed = looked.active + looked.parked.len();
        if listed != self.seen.len() {
            let missing = self.seen.len().abs_diff(listed);
            report.losses.push(format!("{missing} sessions are gone"));
        }
        Ok(looked)
    }
}

/// What was observed before is there, as it was. Remembers what is new, and says how much.
fn compare(name: &str, seen: &mut Seen, records: &[Record], report: &mut Report) -> u64 {
    let mut now = Seen::new();
    for record in records {
        if let Event::Observed(observed) = &record.event {
            let at = (observed.position.iteration, observed.position.ordinal);
            now.insert(at, observed.clone());
        }
    }
    for (at, before) in &*seen {
        if now.get(at) != Some(before) {
            let after = now.get(at);
            let loss = format!("{name} {at:?}: {before:?} was durable, and is {after:?}");
            report.losses.push(loss);
        }
    }
    let new = now.len().saturating_sub(seen.len());
    *seen = now;
    new as u64
}

/// A session that is over: what it calls done is there once, and what it does not is not.
fn check(
    name: &str,
    records: &[Record],
    session: &Session,
    ledgers: &Ledgers,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut told = HashMap::new();
    for record in records {
        if let Event::Observed(observed) = &record.event {
            let result = matches!(observed.result, CallResult::Ok(_));
            told.insert(observed.tool.as_str(), (result, observed));
        }
    }
    for (tool, suffix, ..) in ACTS {
        let Some((is_done, observed)) = told.get(tool) else {
            let loss = format!("{name}: {tool} was asked for, and nothing was observed");
            report.losses.push(loss);
            continue;
        };
        let keys = Ledgers::keys(name, tool)?;
        for key in &keys {
            let deeds = ledgers.deeds(tool, key)?;
            let what = || format!("{name} {key}: {deeds:?}, observed {observed:?}");
            match (is_done, deeds.in_force) {
                (true, 1) => report.effects += 1,
                (false, 0) => report.refused += 1,
                (_, 2..) => report.duplicates.push(what()),
                (true, 0) | (false, 1) => report.losses.push(what()),
            }
            if tool != "undoable" && deeds.done > 1 {
                report.duplicates.push(what());
            }
        }
        let strays = ledgers.strays(tool, &format!("{name}_{suffix}"), &keys)?;
        if strays > 0 {
            let what = format!("{name} {tool}: {strays} acts under other keys than {keys:?}");
            report.duplicates.push(what);
        }
    }
    check_spans(name, records, report)?;
    ensure!(session.last_seq == records.len() as u64, "{name} is cut");
    Ok(())
}

/// Each call of a class that writes has one span that says how it came about.
fn check_spans(name: &str, records: &[Record], report: &mut Report) -> anyhow::Result<()> {
    let mut own: HashMap<String, u32> = HashMap::new();
    for span in spans(records)? {
        if let Detail::ToolCall(call) = span.detail
            && call.blast_radius_class >= 2
            && !["replayed", "in_doubt"].contains(&call.disposition.as_str())
        {
            *own.entry(call.tool_name).or_default() += 1;
        }
    }
    for (tool, ..) in ACTS {
        if own.get(tool) != Some(&1) {
            let spans = json!(own);
            let loss = format!("{name}: {tool} has not one span: {spans}");
            report.losses.push(loss);
        }
    }
    Ok(())
}
