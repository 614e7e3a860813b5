//! The life of one host: where it dies, where it freezes, and what its store does to it.
//!
//! A host dies by unwinding at the very point that the schedule names, and from then on nothing of
//! it writes or sends: its store calls and its requests never come back. A frozen host stops at
//! its next store call or request, lease renewal included, and goes on later as if nothing had
//! been: a zombie.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stoplog_egress::{Lost, Parcel, Transport};
use stoplog_model::port::{Clock, Moment, Stage, Watch};
use stoplog_model::{Position, Response};
use stoplog_store::{Fault, Op, Schedule};
use tokio::sync::Notify;

use crate::far::{Arrived, Came, Far};
use crate::locked;
use crate::time::Time;

/// A point at which a host may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// One that the host tells its watcher of.
    Stage(Stage, Moment),
    /// The far side has a request of it; no answer came yet.
    UnderWay,
    /// The store is about to write a batch, or has written it.
    Append(Moment),
}

/// Points that a schedule aims at by name. Others are met by count.
pub const AIMED: [Point; 19] = {
    use Moment::{After, Before};
    [
        Point::Stage(Stage::ModelAsked, Before),
        Point::Stage(Stage::ModelAsked, After),
        Point::Stage(Stage::TurnTaken, Before),
        Point::Stage(Stage::TurnTaken, After),
        Point::Stage(Stage::IntentDurable, Before),
        Point::Stage(Stage::IntentDurable, After),
        Point::Stage(Stage::ApprovalConsumed, Before),
        Point::Stage(Stage::ApprovalConsumed, After),
        Point::Stage(Stage::RequestSent, Before),
        Point::Stage(Stage::RequestSent, After),
        Point::Stage(Stage::AnswerReceived, Before),
        Point::Stage(Stage::AnswerReceived, After),
        Point::Stage(Stage::ObservationDurable, Before),
        Point::Stage(Stage::ObservationDurable, After),
        Point::Stage(Stage::LeaseRenewed, Before),
        Point::Stage(Stage::LeaseRenewed, After),
        Point::UnderWay,
        Point::Append(Before),
        Point::Append(After),
    ]
};

impl Point {
    /// Its name in the coverage.
    pub fn name(self) -> String {
        let moment = |m| match m {
            Moment::Before => "before",
            Moment::After => "after",
        };
        match self {
            Point::Stage(stage, m) => {
                let word = serde_json::to_value(stage).unwrap_or_default();
                format!("{}.{}", word.as_str().unwrap_or("?"), moment(m))
            }
            Point::UnderWay => "request_under_way".to_owned(),
            Point::Append(m) => format!("append.{}", moment(m)),
        }
    }
}

/// What is to happen to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Live,
    /// It dies at the so-manieth point of all.
    DieAtNth(u32),
    /// It dies at this point, when it comes there the so-manieth time.
    DieAt(Point, u32),
    /// It freezes at this point for so many milliseconds.
    FreezeAt(Point, u32, u64),
}

/// A fault of the store: at the so-manieth call of this kind.
pub type StoreFault = Option<(Op, u32, Fault)>;

/// What unwinds through a host that dies.
#[derive(Debug)]
pub struct Died;

#[derive(Debug, Default)]
struct State {
    dead: bool,
    frozen_until_ms: Option<u64>,
    hits: u32,
    reached: BTreeMap<Point, u32>,
    calls: BTreeMap<Op, u32>,
    store_fault: Option<(Op, Fault)>,
    happened: Option<Point>,
}

/// One host's life.
pub struct Life {
    plan: Plan,
    store_fault: StoreFault,
    far: Arc<Far>,
    time: Arc<Time>,
    turned: Notify,
    state: Mutex<State>,
}

impl Life {
    /// A life that goes by this plan.
    pub fn new(plan: Plan, store_fault: StoreFault, far: Arc<Far>, time: Arc<Time>) -> Arc<Life> {
        Arc::new(Life {
            plan,
            store_fault,
            far,
            time,
            turned: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// The plan that it goes by.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Comes back when the host has died or frozen.
    pub async fn turned(&self) {
        self.turned.notified().await;
    }

    /// Where it died or froze, if it did.
    pub fn happened(&self) -> Option<Point> {
        locked(&self.state).happened
    }

    /// The fault that its store had, if it had one.
    pub fn store_fault(&self) -> Option<(Op, Fault)> {
        locked(&self.state).store_fault
    }

    /// How often it came to each point.
    pub fn reached_points(&self) -> BTreeMap<Point, u32> {
        locked(&self.state).reached.clone()
    }

    /// The host is at a point. Unwinds if it is to die here.
    fn hit(&self, point: Point) {
        let dies = {
            let mut state = locked(&self.state);
            if state.dead {
                // A task of a dead host that was under way: it ends here.
                true
            } else {
                state.hits += 1;
                let here = state.reached.entry(point).or_default();
                *here += 1;
                let here = *here;
                let dies = match self.plan {
                    Plan::Live | Plan::FreezeAt(..) => false,
                    Plan::DieAtNth(n) => state.hits == n,
                    Plan::DieAt(at, n) => at == point && here == n,
                };
                if let Plan::FreezeAt(at, n, ms) = self.plan
                    && at == point
                    && here == n
                {
                    state.frozen_until_ms = Some(self.time.now_ms() + ms);
                    state.happened = Some(point);
                    self.turned.notify_one();
                }
                if dies {
                    state.dead = true;
                    state.happened = Some(point);
                    self.time.stop();
                    self.turned.notify_one();
                }
                dies
            }
        };
        if dies {
            // No panic hook: dying is what is asked for.
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    /// Waits while the host is frozen; for ever when it is dead.
    async fn alive(&self) {
        loop {
            let (dead, until_ms) = {
                let state = locked(&self.state);
                (state.dead, state.frozen_until_ms)
            };
            if dead {
                std::future::pending::<()>().await;
            }
            let left = until_ms.map_or(0, |ms| ms.saturating_sub(self.time.now_ms()));
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }
}

impl Watch for Life {
    fn reached(&self, stage: Stage, moment: Moment, _: Option<Position>) {
        self.hit(Point::Stage(stage, moment));
    }
}

#[async_trait]
impl Schedule for Life {
    async fn decide(&self, op: Op) -> Fault {
        self.alive().await;
        if op == Op::Append {
            self.hit(Point::Append(Moment::Before));
            // A host that froze at this very point stops before anything is written.
            self.alive().await;
        }
        let mut state = locked(&self.state);
        let count = state.calls.entry(op).or_default();
        *count += 1;
        let count = *count;
        match self.store_fault {
            Some((on, nth, fault)) if on == op && nth == count => {
                state.store_fault = Some((op, fault));
                fault
            }
            _ => Fault::None,
        }
    }

    async fn finished(&self, op: Op) {
        if op == Op::Append {
            self.hit(Point::Append(Moment::After));
        }
    }
}

#[async_trait]
impl Transport for Life {
    async fn carry(&self, parcel: Parcel) -> Result<Response, Lost> {
        self.alive().await;
        let arrived = Arrived {
            method: parcel.method(),
            path: parcel.url().path(),
            key: parcel.header("idempotency-key"),
            secret: parcel.header("authorization"),
            body: parcel.body(),
        };
        let reply = self.far.receive(arrived, self.time.now_ms());
        if parcel.method() == "POST" && reply.came != Came::NoConnection {
            self.hit(Point::UnderWay);
        }
        tokio::time::sleep(Duration::from_millis(reply.after_ms)).await;
        self.alive().await;
        match reply.came {
            Came::Answer(status, body) => Ok(Response {
                status,
                headers: Vec::new(),
                body: body.into_bytes(),
            }),
            Came::NoConnection => Err(Lost::Early("connection refused".to_owned())),
            Came::HungUp => Err(Lost::Late("the connection broke".to_owned())),
        }
    }
}
