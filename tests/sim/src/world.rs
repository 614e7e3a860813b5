//! One seed, from its first host to the end of all its sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;
use stoplog_agent::{Driver, Ended, RunSpec};
use stoplog_dispatch::{Access, Dispatcher};
use stoplog_egress::{Egress, Grant, Secrets, Settings};
use stoplog_journal::{JournalError, Opening, SessionJournal, Store, load};
use stoplog_model::event::{Pin, SessionStarted};
use stoplog_model::port::{Clock, Moment, Stage};
use stoplog_model::session::Status;
use stoplog_model::{Reason, Record, Session, SessionId, Tenant, TraceId};
use stoplog_policy::ApprovalRules;
use stoplog_store::{Fault, FaultyStore, MemoryStore, Op};

use crate::agent::SimModel;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::disk::{Disk, Power, Promised};
use crate::far::Far;
use crate::life::{AIMED, Died, Life, Plan, Point, StoreFault};
use crate::locked;
use crate::oracle::{Approved, Violation, check};
use crate::time::Time;
use crate::tools::{self, LOOK, SECRET, SECRET_VALUE, Tools, WRITERS};

/// Hosts of one world that may meet a fault; those after them meet none, so that it ends.
const BAD_HOSTS: u32 = 8;
/// The same of a small world.
const BAD_HOSTS_OF_A_SMALL_ONE: u32 = 1;
/// Hosts of one world at most: more means that it does not come to an end.
const MOST_HOSTS: u32 = 40;
/// Longest that a host may take, milliseconds of virtual time: ten times all its waits.
const HOST_LIMIT_MS: u64 = 3_600_000;
/// How long after a zombie froze it goes on: around the time that its lease runs out (30 s).
const FREEZE_MS: u64 = 29_000;
/// How often a run that failed is resumed.
const RESUMES: u32 = 4;

/// What a seed led to.
#[derive(Debug)]
pub struct Ran {
    /// The seed.
    pub seed: u64,
    /// What happened, in short, in order.
    pub schedule: Vec<String>,
    /// What happened how often.
    pub coverage: Coverage,
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// Every event of every session, one a line: only where a rule was broken.
    pub journal: Vec<String>,
    /// How many hosts it took.
    pub hosts: u32,
    /// Where the first host died or froze, if it did.
    pub first_fell_at: Option<Point>,
}

/// A world.
pub struct World {
    pub(crate) store: Arc<dyn Store>,
    disk: Option<Arc<Disk>>,
    pub(crate) time: Arc<Time>,
    pub(crate) far: Arc<Far>,
    pub(crate) dice: Dice,
    pub(crate) coverage: Arc<Mutex<Coverage>>,
    pub(crate) wrong: Arc<Mutex<Vec<String>>>,
    pub(crate) schedule: Vec<String>,
    pub(crate) approved: Vec<Approved>,
    pub(crate) sessions: Vec<SessionId>,
    pub(crate) model: Arc<SimModel>,
    setup: Setup,
    fell_at: Option<Point>,
    pins: Vec<Arc<Pin>>,
    runs: Mutex<u64>,
    resumes: BTreeMap<SessionId, u32>,
    turns: u32,
}

/// The tenant of every session.
pub(crate) fn tenant() -> Tenant {
    Tenant::new("acme").unwrap_or_else(|e| panic!("{e}"))
}

/// What of a world is not left to its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// The one writing tool that there is.
    pub tool: Option<&'static str>,
    /// The one call that the model asks for goes about it like this, and the far side is well.
    pub how: Option<&'static str>,
    /// What happens to the first host; nothing happens to those after it.
    pub plan: Option<Plan>,
    /// Whether the store is a file, and the power goes.
    pub power: Power,
    /// How much goes on.
    pub size: Size,
}

impl Setup {
    /// All left to the seed, in a small world.
    pub fn small() -> Setup {
        Setup {
            size: Size::Small,
            ..Setup::default()
        }
    }
}

/// How much goes on in a world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Size {
    /// Two sessions, dozens of calls, a fault in each of many hosts: faults meet.
    #[default]
    Deep,
    /// A session or two with a call or two each, and one bad host: many a second.
    Small,
}

/// Runs a seed.
pub fn run(seed: u64) -> Ran {
    run_with(Setup::default(), seed)
}

/// Runs a seed with some of it given.
pub fn run_with(setup: Setup, seed: u64) -> Ran {
    to_the_end(World::new(seed, setup), seed)
}

fn to_the_end(mut world: World, seed: u64) -> Ran {
    let mut hosts = 0;
    let mut waiting = world.sessions.clone();
    while hosts < MOST_HOSTS {
        hosts += 1;
        if hosts > world.bad_hosts() {
            world.far.behave();
            world.model.behave();
        }
        world.host(hosts, &waiting);
        world.pause();
        waiting = world.people();
        if waiting.is_empty() {
            break;
        }
    }
    world.settle();
    let history = world.history();
    let mut violations = check(&history);
    if !waiting.is_empty() {
        violations.push(Violation {
            rule: "ended",
            detail: format!("{MOST_HOSTS} hosts were not enough"),
        });
    }
    let coverage = locked(&world.coverage).clone();
    let journal = match violations.is_empty() {
        true => Vec::new(),
        false => world.journal(),
    };
    Ran {
        seed,
        schedule: world.schedule,
        journal,
        coverage,
        violations,
        hosts,
        first_fell_at: world.fell_at,
    }
}

impl World {
    fn new(seed: u64, setup: Setup) -> World {
        let mut dice = Dice::new(seed, "world");
        let coverage: Arc<Mutex<Coverage>> = Arc::default();
        let faults_percent = match setup.how {
            Some(_) => 0,
            None => *dice.pick(&[0, 10, 30, 60]),
        };
        let far_dice = Dice::new(seed, "far");
        let far = Arc::new(Far::new(far_dice, faults_percent, coverage.clone()));
        let (turns, count, most_sessions) = match setup.size {
            Size::Deep => (2 + dice.below(4) as u32, 1 + dice.below(4), 2),
            Size::Small => (2, 1, 1 + u64::from(dice.percent(10))),
        };
        let mut tools: Vec<usize> = (0..count)
            .map(|_| dice.below(WRITERS.len() as u64) as usize)
            .collect();
        if let Some(at) = WRITERS.iter().position(|k| Some(k.name) == setup.tool) {
            tools = vec![at];
        }
        tools.sort_unstable();
        tools.dedup();
        let sessions = (0..1 + dice.below(most_sessions))
            .map(|i| SessionId::new(format!("s{}", i + 1)).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        let disk = (setup.power != Power::Stays).then(|| Arc::new(Disk::new(setup.power)));
        let store: Arc<dyn Store> = match &disk {
            Some(disk) => {
                let disk = disk.clone();
                far.tell(Arc::new({
                    let disk = disk.clone();
                    move || disk.promise()
                }));
                disk
            }
            None => Arc::new(MemoryStore::new()),
        };
        World {
            store,
            disk,
            time: Arc::default(),
            far,
            dice,
            coverage,
            wrong: Arc::default(),
            schedule: vec![format!("far side faulty {faults_percent} in 100")],
            approved: Vec::new(),
            sessions,
            pins: tools::pins(&tools),
            model: SimModel::new(seed, turns, tools, setup),
            setup,
            fell_at: None,
            runs: Mutex::new(0),
            resumes: BTreeMap::new(),
            turns,
        }
    }

    fn bad_hosts(&self) -> u32 {
        match self.setup.size {
            Size::Deep => BAD_HOSTS,
            Size::Small => BAD_HOSTS_OF_A_SMALL_ONE,
        }
    }

    pub(crate) fn count(&self, kind: &str, case: impl AsRef<str>) {
        locked(&self.coverage).count(kind, case);
    }

    pub(crate) fn load(&self, id: &SessionId) -> Option<(Vec<Record>, Session)> {
        match block_on(load(&*self.store, id)) {
            Ok(loaded) => loaded,
            Err(e) => {
                locked(&self.wrong).push(format!("{id} cannot be read: {e}"));
                None
            }
        }
    }

    /// Whether no host need take it up again.
    pub(crate) fn is_final(&mut self, session: &Session) -> bool {
        match session.status() {
            Status::Ended => true,
            Status::Failed => {
                let ended = session.last_run().and_then(|r| r.ended.as_ref());
                let limit = ended.and_then(|e| e.reason) == Some(Reason::IterationLimit);
                let id = session.started.session.clone();
                let resumes = self.resumes.entry(id).or_default();
                *resumes += 1;
                session.abandoned || limit || *resumes > RESUMES
            }
            _ => false,
        }
    }

    /// What happens to the next host, and to its store.
    fn fate(&mut self, host: u32, sessions: usize) -> (Plan, StoreFault) {
        if let Some(plan) = self.setup.plan {
            let plan = if host == 1 { plan } else { Plan::Live };
            return (plan, None);
        }
        if host > self.bad_hosts() {
            return (Plan::Live, None);
        }
        let dice = &mut self.dice;
        let fault = dice.percent(25).then(|| {
            let op = match dice.below(10) {
                0..=3 => Op::Append,
                // Rare: only a host that works for ten seconds and more renews a lease.
                4..=6 => Op::Renew,
                _ => *dice.pick(&Op::ALL),
            };
            let most = match op {
                Op::Append => 20,
                Op::Renew => 1,
                _ => 3,
            };
            let fault = *dice.pick(&[Fault::Before, Fault::After]);
            (op, 1 + dice.below(most) as u32, fault)
        });
        // A zombie is one host too many for a session; with a second session it could be between
        // a durable intent and its request, where no lease can stop it.
        let plan = match dice.below(10) {
            0..=2 => Plan::DieAtNth(1 + dice.below(60) as u32),
            3..=5 => match *dice.pick(&AIMED) {
                // Rare in one life: a second time would hardly ever come.
                at @ Point::Stage(Stage::ApprovalConsumed | Stage::LeaseRenewed, _) => {
                    Plan::DieAt(at, 1)
                }
                at => Plan::DieAt(at, 1 + dice.below(4) as u32),
            },
            6 if sessions == 1 => {
                let at = *dice.pick(&[Point::Append(Moment::Before), Point::UnderWay]);
                let ms = FREEZE_MS + dice.below(4000);
                Plan::FreezeAt(at, 1 + dice.below(8) as u32, ms)
            }
            _ => Plan::Live,
        };
        (plan, fault)
    }

    /// One host, from its start to its end or death.
    fn host(&mut self, number: u32, sessions: &[SessionId]) {
        let (plan, fault) = self.fate(number, sessions.len());
        let life = Life::new(plan, fault, self.far.clone(), self.time.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap_or_else(|e| panic!("no runtime: {e}"));
        let world = &*self;
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                world.time.follow();
                let limit = Duration::from_millis(HOST_LIMIT_MS);
                let over = tokio::time::timeout(limit, world.live(&life, number, sessions)).await;
                if over.is_err() {
                    locked(&world.wrong).push(format!("host {number} hangs"));
                }
                world.time.stop();
            });
        }));
        self.time.stop();
        drop(runtime);
        if let Err(payload) = result
            && !payload.is::<Died>()
        {
            let text = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            locked(&self.wrong).push(format!("host {number} panicked: {text:?}"));
        }
        self.note(number, plan, &life);
        self.power_goes(life.happened().is_some());
    }

    /// The power goes with a host that died, and now and then with one that did not.
    fn power_goes(&mut self, host_fell: bool) {
        let Some(disk) = self.disk.clone() else {
            return;
        };
        if !host_fell && self.dice.percent(70) {
            return;
        }
        match disk.cut(&mut self.dice) {
            Err(refused) => locked(&self.wrong).push(refused),
            Ok(cut) => {
                let word = match (cut.lost, cut.torn) {
                    (0, 0) => "took_nothing",
                    (_, 0) => "lost",
                    _ => "tore",
                };
                self.count("power", word);
                self.schedule.push(format!("the power goes: {cut:?}"));
            }
        }
    }

    fn note(&mut self, number: u32, plan: Plan, life: &Life) {
        for (point, times) in life.reached_points() {
            for _ in 0..times.min(1) {
                self.count("reached", point.name());
            }
        }
        if number == 1 {
            self.fell_at = life.happened();
        }
        let mut line = format!("host {number}");
        match (life.happened(), plan) {
            (Some(point), Plan::FreezeAt(_, _, ms)) => {
                let word = match point {
                    Point::UnderWay => "froze_under_way",
                    _ => "froze_in_append",
                };
                self.count("zombie", word);
                line += &format!(" freezes at {} for {ms} ms", point.name());
            }
            (Some(point), plan) => {
                self.count("crash", point.name());
                line += &format!(" dies at {} ({plan:?})", point.name());
            }
            (None, _) => line += " lives",
        }
        if let Some((op, fault)) = life.store_fault() {
            let name = op_name(op);
            let word = if fault == Fault::Before {
                "before"
            } else {
                "after"
            };
            self.count("store", format!("{name}.{word}"));
            line += &format!(", its store fails {word} {name}");
        }
        self.schedule.push(line);
    }

    /// The host's program: every session at once. Comes back when all are over, or it is dead.
    async fn live(&self, life: &Arc<Life>, number: u32, sessions: &[SessionId]) {
        let program = async {
            let driver = self.driver(life);
            let all = sessions
                .iter()
                .map(|id| self.session(life, &driver, number, id, true));
            join_all(all).await
        };
        tokio::pin!(program);
        tokio::select! {
            biased;
            () = life.turned() => {}
            results = &mut program => {
                self.told(number, results);
                return;
            }
        }
        let Some((id, Plan::FreezeAt(..))) = sessions.first().zip(Some(life.plan())) else {
            return;
        };
        // The zombie's tasks go on beside the host that takes over; so does its own future.
        let heir = async {
            let life = Life::new(Plan::Live, None, self.far.clone(), self.time.clone());
            let driver = self.driver(&life);
            loop {
                match self.session(&life, &driver, number + 100, id, false).await {
                    Err(e) if e.reason() == Reason::SessionLeased => {
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                    other => return other,
                }
            }
        };
        let (zombie, heir) = futures::join!(program, heir);
        let fenced =
            |e: &JournalError| matches!(e.reason(), Reason::LeaseLost | Reason::JournalUnwritable);
        if zombie.iter().any(|r| matches!(r, Err(e) if fenced(e))) {
            self.count("zombie", "fenced");
        }
        self.told(number, zombie);
        self.told(number + 100, vec![heir]);
    }

    /// How the runs of a host ended. An event that is illegal is a defect, whoever wrote it.
    fn told(&self, number: u32, results: Vec<Result<Option<Ended>, JournalError>>) {
        for result in results {
            match result {
                Ok(_) => {}
                Err(JournalError::Illegal(e)) => {
                    locked(&self.wrong).push(format!("host {number}: {e}"));
                }
                Err(e) => self.count("journal_error", e.reason().code()),
            }
        }
    }

    fn driver(&self, life: &Arc<Life>) -> Driver {
        let mut secrets = Secrets::new();
        secrets
            .bind(SECRET, SECRET_VALUE)
            .unwrap_or_else(|e| panic!("{e}"));
        let settings = Settings {
            secrets,
            ..Settings::default()
        };
        let egress = Egress::with_transport(settings, life.clone());
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let grant = Grant::parse("http://far.sim/")
            .and_then(|g| g.with_connect(address))
            .unwrap_or_else(|e| panic!("{e}"));
        let access = Access {
            grants: vec![grant].into(),
            state: true,
        };
        let names = std::iter::once(LOOK).chain(WRITERS.iter().map(|k| k.name));
        let access = names.map(|n| (n.to_owned(), access.clone())).collect();
        let runner = Arc::new(Tools {
            coverage: self.coverage.clone(),
            broken: self.wrong.clone(),
        });
        let time: Arc<dyn Clock> = self.time.clone();
        let rules = ApprovalRules::none();
        let dispatcher = Dispatcher::new(runner, egress, time.clone(), rules, access);
        Driver::new(dispatcher, self.model.clone(), time)
    }

    pub(crate) fn opening(&self, life: &Arc<Life>, host: &str, others_are_dead: bool) -> Opening {
        let faulty = Arc::new(FaultyStore::new(self.store.clone(), life.clone()));
        let store: Arc<dyn Store> = match self.disk.clone() {
            Some(disk) => Arc::new(Promised {
                inner: faulty,
                disk,
            }),
            None => faulty,
        };
        Opening {
            store,
            clock: self.time.clone(),
            watch: life.clone(),
            listeners: Vec::new(),
            holder: host.to_owned(),
            holders_are_dead: others_are_dead,
        }
    }

    /// One run of one session.
    async fn session(
        &self,
        life: &Arc<Life>,
        driver: &Driver,
        number: u32,
        id: &SessionId,
        others_are_dead: bool,
    ) -> Result<Option<Ended>, JournalError> {
        let host = format!("host {number}");
        let opening = self.opening(life, &host, others_are_dead);
        let journal = match SessionJournal::open(opening.clone(), id).await {
            Err(JournalError::NotFound(_)) => {
                SessionJournal::create(opening, self.started(id)).await?
            }
            opened => opened?,
        };
        let journal = Arc::new(journal);
        if journal.read(|s| s.status() == Status::Ended) {
            journal.close().await?;
            return Ok(None);
        }
        let trace_id = {
            let mut runs = locked(&self.runs);
            *runs += 1;
            TraceId::new(format!("{:032x}", *runs)).unwrap_or_else(|e| panic!("{e}"))
        };
        let ended = driver
            .run(
                &journal,
                RunSpec {
                    trace_id,
                    host,
                    remote: None,
                },
            )
            .await?;
        journal.close().await?;
        Ok(Some(ended))
    }

    fn started(&self, id: &SessionId) -> SessionStarted {
        SessionStarted {
            session: id.clone(),
            tenant: tenant(),
            user: "u".to_owned(),
            feature: "f".to_owned(),
            // The model knows the session by this.
            task: id.to_string(),
            system_prompt: String::new(),
            max_iterations: self.turns.saturating_sub(u32::from(self.turns == 5)),
            tools: self.pins.clone(),
            client: None,
        }
    }

    /// Between two hosts: a moment, or a while; and at times the far side loses something.
    fn pause(&mut self) {
        let ms = *self.dice.pick(&[1, 5, 60, 3000]);
        self.time.pass(ms);
        if self.setup.how.is_none()
            && self.dice.percent(12)
            && self.far.lose_one(&["shown", "hazy", "undoable_shown"])
        {
            self.schedule.push("the far side loses a deed".to_owned());
        }
    }

    /// Lets everything that is under way at the far side come to its end.
    pub(crate) fn settle(&self) {
        if let Some(until_ms) = self.far.busy_until_ms() {
            let left = until_ms.saturating_sub(self.time.now_ms());
            self.time.pass(left + 1);
        }
        self.far.deeds(self.time.now_ms());
    }
}

fn op_name(op: Op) -> &'static str {
    match op {
        Op::Append => "append",
        Op::Read => "read",
        Op::Lease => "lease",
        Op::Renew => "renew",
        Op::Release => "release",
        Op::Sessions => "sessions",
        Op::ActKey => "act_key",
        Op::OpenIntents => "open_intents",
        Op::State => "state",
    }
}
