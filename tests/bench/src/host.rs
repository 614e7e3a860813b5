//! The product, wired as the `stoplog` command wires it: the same store, sandbox, way out,
//! dispatcher and driver. Only the model is another one, which answers at once.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use stoplog_admission::{Load, Places};
use stoplog_agent::{Driver, RunSpec};
use stoplog_dispatch::{Dispatcher, default_bounds};
use stoplog_egress::{Egress, Settings};
use stoplog_journal::{OnCommit, Opening, SessionJournal, Store};
use stoplog_model::event::{Event, Pin, RunStarted, SessionStarted};
use stoplog_model::port::{Clock, Unwatched};
use stoplog_model::{SessionId, Tenant, TraceId};
use stoplog_policy::ApprovalRules;
use stoplog_sandbox::Sandbox;
use stoplog_store::{SqliteStore, TraceDb};
use stoplog_telemetry::{Bounds, Jsonl, Projector, Rotation};
use tokio::sync::Barrier;

use crate::paced::{PACE, Pace, Paced, Round};
use crate::tools::{self, Kind};

/// The wall clock, as the host has it.
struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the host's clock: this is the edge"
    )]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What every host of a run shares: tools that are compiled once, and a far side.
#[derive(Clone)]
pub(crate) struct Parts {
    /// The tools, loaded.
    pub(crate) sandbox: Sandbox,
    /// Their pins.
    pub(crate) pins: Vec<Pin>,
    /// The far side.
    pub(crate) far: SocketAddr,
}

impl Parts {
    /// The pin of a kind of call.
    pub(crate) fn pin(&self, kind: Kind) -> Pin {
        let is_it = |pin: &&Pin| pin.contract.name.as_str() == kind.tool();
        #[expect(
            clippy::expect_used,
            reason = "every kind is loaded, or nothing starts"
        )]
        let pin = self.pins.iter().find(is_it).expect("a pin");
        pin.clone()
    }

    /// A dispatcher over these tools.
    pub(crate) fn dispatcher(&self) -> anyhow::Result<Dispatcher> {
        Ok(Dispatcher::new(
            Arc::new(self.sandbox.clone()),
            Egress::new(Settings::default())?,
            Arc::new(SystemClock),
            ApprovalRules::none(),
            tools::access(self.far)?,
        ))
    }
}

/// One host.
pub(crate) struct Host {
    parts: Parts,
    driver: Driver,
    places: Places,
    store: Arc<dyn Store>,
    listeners: Vec<Arc<dyn OnCommit>>,
    counter: AtomicU64,
    _following: Option<Following>,
}

/// Follows the journal as the command's thread does, until it is dropped.
struct Following {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        // Numbers of a host that nobody followed would say too much.
        if !std::thread::panicking() {
            assert!(matches!(ended, None | Some(Ok(()))), "the follower failed");
        }
    }
}

/// How often the spans of a busy host are brought up to date, as the command's thread does.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Trace store and file of spans beside a journal, brought up to date again and again.
fn follow(journal: &Path) -> anyhow::Result<Following> {
    let store = Arc::new(SqliteStore::open_to_read(journal)?);
    let traces = Arc::new(TraceDb::open(&journal.with_extension("traces.db"))?);
    let lines = journal.with_extension("spans.jsonl");
    let mut lines = Jsonl::new(traces.clone(), &lines, Rotation::default());
    let mut projector = Projector::new(store, traces, Bounds::default());
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            while !is_over.load(Ordering::Relaxed) {
                let caught_up = projector.catch_up().await;
                let written = lines.catch_up(SystemClock.now_ms()).await;
                caught_up.expect("the projection follows");
                written.expect("the lines follow");
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
        });
    });
    Ok(Following {
        over,
        thread: Some(thread),
    })
}

impl Host {
    /// A host on a journal. `spans` is the journal's file, if it is to be followed.
    pub(crate) fn new(
        parts: &Parts,
        store: Arc<dyn Store>,
        spans: Option<&Path>,
    ) -> anyhow::Result<Host> {
        let following = match spans {
            Some(journal) => Some(follow(journal)?),
            None => None,
        };
        let places = Places::new(default_bounds());
        let dispatcher = parts.dispatcher()?.with_places(places.clone());
        Ok(Host {
            driver: Driver::new(dispatcher, Arc::new(Paced), Arc::new(SystemClock)),
            places,
            parts: parts.clone(),
            store,
            listeners: Vec::new(),
            counter: AtomicU64::new(0),
            _following: following,
        })
    }

    /// The same, with one more that is told of commits.
    pub(crate) fn listened_by(mut self, listener: Arc<dyn OnCommit>) -> Host {
        self.listeners.push(listener);
        self
    }

    /// How full it is.
    pub(crate) fn load(&self) -> Load {
        self.places.load()
    }

    /// Where its rows are.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What a session is opened with.
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            store: self.store.clone(),
            clock: Arc::new(SystemClock),
            watch: Arc::new(Unwatched),
            listeners: self.listeners.clone(),
            holder: "bench".to_owned(),
            holders_are_dead: true,
        }
    }

    /// A new session with these tools.
    pub(crate) async fn begin(
        &self,
        name: &str,
        kinds: &[Kind],
    ) -> anyhow::Result<Arc<SessionJournal>> {
        self.begin_of("bench", name, kinds).await
    }

    /// The same, of a tenant.
    pub(crate) async fn begin_of(
        &self,
        tenant: &str,
        name: &str,
        kinds: &[Kind],
    ) -> anyhow::Result<Arc<SessionJournal>> {
        let started = SessionStarted {
            session: SessionId::new(name)?,
            tenant: Tenant::new(tenant)?,
            user: "bench".to_owned(),
            feature: "bench".to_owned(),
            task: "Call the tool again and again.".to_owned(),
            system_prompt: "You are a benchmark.".to_owned(),
            max_iterations: u32::MAX,
            tools: kinds
                .iter()
                .map(|kind| self.parts.pin(*kind).into())
                .collect(),
            client: None,
        };
        let journal = SessionJournal::create(self.opening(), started).await?;
        Ok(Arc::new(journal))
    }

    /// Begins a run, as the driver does.
    pub(crate) async fn start_run(&self, journal: &SessionJournal) -> anyhow::Result<()> {
        let started = journal.read(|session| RunStarted {
            trace_id: self.trace_id(),
            host: "bench".to_owned(),
            resumed_from: session.last_run().map(|r| r.started.trace_id.clone()),
            at_iteration: session.current_iteration(),
            after_crash: session.last_run().is_some_and(|r| r.ended.is_none()),
            remote: None,
        });
        journal.append(vec![Event::RunStarted(started)]).await?;
        Ok(())
    }

    fn trace_id(&self) -> TraceId {
        let n = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        #[expect(clippy::expect_used, reason = "32 hexadecimal digits, not all zero")]
        TraceId::new(format!("{n:032x}")).expect("a trace id")
    }

    /// A name that no session of this host has.
    pub(crate) fn fresh(&self, tag: &str) -> String {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{tag}-{n:07}")
    }

    /// Runs a session through the driver, at a pace.
    pub(crate) async fn run(
        &self,
        journal: &Arc<SessionJournal>,
        pace: Arc<Pace>,
    ) -> anyhow::Result<()> {
        let spec = RunSpec {
            trace_id: self.trace_id(),
            host: "bench".to_owned(),
            remote: None,
        };
        PACE.scope(pace, self.driver.run(journal, spec)).await?;
        Ok(())
    }

    /// So many sessions at once, each with so many calls.
    pub(crate) async fn round(
        self: &Arc<Host>,
        kind: Kind,
        sessions: usize,
        calls: u32,
    ) -> anyhow::Result<Round> {
        let gate = Arc::new(Barrier::new(sessions));
        let mut tasks = Vec::with_capacity(sessions);
        let mut paces = Vec::with_capacity(sessions);
        for _ in 0..sessions {
            let name = self.fresh("s");
            let pace = Arc::new(Pace::new(kind, name.clone(), calls, gate.clone()));
            paces.push(pace.clone());
            let host = self.clone();
            tasks.push(tokio::spawn(async move {
                let journal = host.begin(&name, &[kind]).await?;
                host.run(&journal, pace).await?;
                journal.close().await?;
                anyhow::Ok(())
            }));
        }
        for done in try_join_all(tasks).await? {
            done?;
        }
        Ok(Round::of(&paces))
    }
}
