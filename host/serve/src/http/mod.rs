//! The HTTP service: routes, who may use them, and what guards them.
//!
//! Every route is a line of [`routes`] with its handler, its right and its documentation together:
//! there is no handler without an entry in the OpenAPI document, and no entry without a handler.

mod body;
mod calls;
mod doc;
mod events;
mod guard;
mod health;
mod measure;
mod people;
mod runs;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;
use stoplog_admission::Places;
use stoplog_model::Reason;
use tokio_util::sync::CancellationToken;

use crate::caller::Right;
use crate::keys::KeyRing;
use crate::limits::Limits;
use crate::problem::Problem;
use crate::seam::Host;
use crate::{listen, mcp};

pub(crate) use calls::{check_conversation, to_do};
use doc::{Answers, Param, Route};

/// How callers are known.
#[derive(Debug, Clone)]
pub enum Auth {
    /// By a bearer key.
    Keys(KeyRing),
    /// Not at all: whoever reaches the listener is an agent of the tenant that it names. For a
    /// loopback address, and only when asked for. Nobody decides what a person has to: there is
    /// nobody here who is known to be one.
    Off,
}

/// Where the golden signals are, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// For who has a key of the role `monitor`.
    Keyed,
    /// For whoever reaches the address.
    Open,
    /// Not at this listener.
    Elsewhere,
}

/// What the service is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How callers are known.
    pub auth: Auth,
    /// Names that the `Host` header may have, without port. A page that somebody else's name has led
    /// here sends its own (DNS rebinding).
    pub hosts: Vec<String>,
    /// Origins whose pages may ask, such as `https://desk.example.com`.
    pub origins: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// Whether clients may speak MCP at `/mcp`.
    pub mcp: bool,
    /// Who may read `/metrics`.
    pub metrics: Measured,
}

/// What every handler sees.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) settings: Arc<Settings>,
    places: Arc<Places>,
    /// Cancelled when the service ends: streams end then.
    pub(crate) end: CancellationToken,
}

impl App {
    /// For one caller that did not come over HTTP.
    pub(crate) fn alone(host: Arc<dyn Host>, end: CancellationToken) -> App {
        let limits = Limits::default();
        App {
            host,
            places: Arc::new(Places::new(limits.bounds())),
            settings: Arc::new(Settings {
                auth: Auth::Off,
                hosts: Vec::new(),
                origins: Vec::new(),
                limits,
                mcp: true,
                metrics: Measured::Elsewhere,
            }),
            end,
        }
    }
}

/// A listener for the golden signals alone.
#[derive(Debug)]
pub struct Aside<L> {
    /// It.
    pub listener: L,
    /// Who may read them there.
    pub metrics: Measured,
    /// Names that the `Host` header may have there; none for any: a scraper finds its targets by
    /// address. Who asks for no key on a loopback address needs some.
    pub hosts: Vec<String>,
}

/// Serves until `end`, and then until what is under way has been answered: no connection is accepted,
/// streams end, and the rest is waited for. Dropping the future drops the connections.
pub async fn serve<L>(
    listener: L,
    aside: Option<Aside<L>>,
    host: Arc<dyn Host>,
    settings: Settings,
    end: CancellationToken,
) where
    L: axum::serve::Listener,
    L::Io: Unpin,
{
    let limits = settings.limits.clone();
    let app = App {
        host,
        places: Arc::new(Places::new(limits.bounds())),
        settings: Arc::new(settings),
        end: end.clone(),
    };
    let beside = async {
        if let Some(aside) = aside {
            let (listener, routes) = alone(&app, aside);
            listen::run(listener, routes, &limits, end.clone()).await;
        }
    };
    let doors = listen::run(listener, router(app.clone()), &limits, end.clone());
    tokio::join!(doors, beside);
}

/// `/metrics`, and nothing else.
fn alone<L>(app: &App, aside: Aside<L>) -> (L, Router) {
    let settings = Settings {
        hosts: aside.hosts,
        metrics: aside.metrics,
        ..(*app.settings).clone()
    };
    let app = App {
        settings: Arc::new(settings),
        ..app.clone()
    };
    let handler = get(measure::metrics);
    let mut routes = match app.settings.metrics {
        Measured::Open => Router::new().route(METRICS, handler),
        Measured::Keyed | Measured::Elsewhere => {
            let state = (app.clone(), Right::Measure);
            let known = middleware::from_fn_with_state(state, guard::known);
            Router::new().route(METRICS, handler.layer(known))
        }
    };
    routes = routes.fallback(nowhere);
    if !app.settings.hosts.is_empty() {
        let addressed = middleware::from_fn_with_state(app.clone(), guard::addressed);
        routes = routes.layer(addressed);
    }
    (
        aside.listener,
        routes.with_state(app).layer(guard::panics()),
    )
}

/// Where the golden signals are.
const METRICS: &str = "/metrics";

/// The OpenAPI document, as `/openapi.json` serves it.
pub fn openapi() -> Value {
    doc::document(&routes())
}

fn router(app: App) -> Router {
    let mut open = Router::new();
    let mut guarded = Router::new();
    for route in routes() {
        let axum_path = route.path;
        let right = match (route.path, app.settings.metrics) {
            (METRICS, Measured::Elsewhere) => continue,
            (METRICS, Measured::Open) => None,
            _ => route.right,
        };
        match right {
            None => open = open.route(axum_path, route.handler),
            Some(right) => {
                let layer = middleware::from_fn_with_state((app.clone(), right), guard::known);
                guarded = guarded.route(axum_path, route.handler.layer(layer));
            }
        }
    }
    let mut all = open.merge(guarded);
    if app.settings.mcp {
        let layer = middleware::from_fn_with_state((app.clone(), Right::Act), guard::known);
        let service = mcp::over_http(&app);
        let mcp = Router::new().route_service("/mcp", service).layer(layer);
        all = all.merge(mcp);
    }
    all.fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app.clone())
        .layer(middleware::from_fn_with_state(
            app.clone(),
            guard::addressed,
        ))
        .layer(guard::panics())
        .layer(middleware::from_fn_with_state(app, measure::measured))
}

async fn nowhere(uri: http::Uri) -> Problem {
    let detail = format!("there is nothing at {}", uri.path());
    Problem::new(Reason::RouteNotFound, detail)
}

async fn wrong_method(method: http::Method, uri: http::Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(Reason::MethodNotAllowed, detail)
}

async fn document(State(_): State<App>) -> Response {
    body::json(http::StatusCode::OK, &openapi())
}

/// Every route.
fn routes() -> Vec<Route> {
    let mut all = service_routes();
    all.extend(work_routes());
    all.extend(people_routes());
    all
}

fn route(
    path: &'static str,
    handler: MethodRouter<App>,
    right: Option<Right>,
    (id, summary): (&'static str, &'static str),
) -> Route {
    Route {
        path,
        method: "get",
        handler,
        right,
        id,
        summary,
        params: Vec::new(),
        body: None,
        answers: Vec::new(),
        problems: Vec::new(),
    }
}

fn service_routes() -> Vec<Route> {
    vec![
        route(
            "/health",
            get(health::live),
            None,
            ("health", "The process lives."),
        )
        .answers(&[(200, Answers::Status)]),
        route(
            "/ready",
            get(health::ready),
            None,
            (
                "ready",
                "Whether work is taken: each condition, and what was found.",
            ),
        )
        .answers(&[(200, Answers::Ready), (503, Answers::Ready)]),
        route(
            "/openapi.json",
            get(document),
            None,
            ("openapi", "This document."),
        )
        .answers(&[(200, Answers::Any)]),
        route(
            METRICS,
            get(measure::metrics),
            Some(Right::Measure),
            (
                "metrics",
                "The golden signals of all tenants, in Prometheus' text format.",
            ),
        )
        .answers(&[(200, Answers::Text)]),
        route(
            "/tools",
            get(calls::list),
            Some(Right::Follow),
            ("listTools", "The tools of the lock, as MCP defines them."),
        )
        .answers(&[(200, Answers::Any)]),
    ]
}

fn work_routes() -> Vec<Route> {
    use Reason::*;
    vec![
        route("/tools/{name}/call", post(calls::call), Some(Right::Act), ("callTool", "Has a tool do its work once."))
            .post("ToolCall")
            .params(&[Param::Path("name"), Param::IdempotencyKey])
            .answers(&[(200, Answers::Called), (202, Answers::Waits)])
            .problems(&[RequestInvalid, IdempotencyKeyInvalid, InputSchema, UnknownTool, KeyInFlight, KeyConflict, RequestTooLarge, RequestTimeout, HostBusy, ShuttingDown]),
        route("/agent/run", post(runs::begin), Some(Right::Act), ("runAgent", "Begins a session and runs it. It is in the journal before anything is answered."))
            .post("RunRequest")
            .params(&[Param::IdempotencyKey, Param::Prefer])
            .answers(&[(200, Answers::Run), (202, Answers::Run)])
            .problems(&[RequestInvalid, IdempotencyKeyInvalid, KeyInFlight, KeyConflict, RequestTooLarge, HostBusy, ShuttingDown]),
        route("/agent/runs/{id}", get(runs::show), Some(Right::Follow), ("showRun", "How far a session is."))
            .params(&[Param::Path("id")])
            .answers(&[(200, Answers::Run)])
            .problems(&[SessionNotFound]),
        route("/agent/runs/{id}/events", get(events::stream), Some(Right::Follow), ("followRun", "What happens in a session, as server-sent events. Each id is a place in the journal: `Last-Event-ID` goes on behind it."))
            .params(&[Param::Path("id"), Param::LastEventId])
            .answers(&[(200, Answers::Stream)])
            .problems(&[RequestInvalid, SessionNotFound]),
        route("/traces", get(runs::traces), Some(Right::Look), ("listTraces", "Spans, one by one or in groups. The words of the query are those of `stoplog traces`, but for the tenant, which is the caller's."))
            .params(&TRACES)
            .answers(&[(200, Answers::Rows)])
            .problems(&[QuestionInvalid]),
        route("/cost", get(runs::cost), Some(Right::Look), ("cost", "What was paid. The words of the query are those of `stoplog cost`, but for the tenant, which is the caller's."))
            .params(&COST)
            .answers(&[(200, Answers::Rows)])
            .problems(&[QuestionInvalid]),
        route("/traces/{what}", get(runs::trace), Some(Right::Follow), ("showTrace", "The spans of a session, or of one trace, redacted."))
            .params(&[Param::Path("what")])
            .answers(&[(200, Answers::Any)])
            .problems(&[SessionNotFound]),
    ]
}

/// Words of a question about spans; several values of one are joined by commas.
const TRACES: [Param; 15] = [
    Param::Word("since"),
    Param::Word("until"),
    Param::Word("kind"),
    Param::Word("user"),
    Param::Word("feature"),
    Param::Word("session"),
    Param::Word("tool"),
    Param::Word("status"),
    Param::Word("reason"),
    Param::Word("disposition"),
    Param::Word("model_version"),
    Param::Word("prompt_version_hash"),
    Param::Word("group_by"),
    Param::Word("sort_by"),
    Param::Word("limit"),
];

/// Words of a question about money.
const COST: [Param; 5] = [
    Param::Word("by"),
    Param::Word("since"),
    Param::Word("until"),
    Param::Word("feature"),
    Param::Word("user"),
];

fn people_routes() -> Vec<Route> {
    use Reason::*;
    vec![
        route(
            "/approvals",
            get(people::approvals),
            Some(Right::Look),
            (
                "listApprovals",
                "What waits for a yes or a no; with `all`, decided ones too.",
            ),
        )
        .params(&[Param::Query("all")])
        .answers(&[(200, Answers::Any)]),
        route(
            "/approvals/{id}",
            get(people::approval),
            Some(Right::Look),
            ("showApproval", "The whole packet."),
        )
        .params(&[Param::Path("id")])
        .answers(&[(200, Answers::Any)])
        .problems(&[ApprovalNotFound]),
        route(
            "/approvals/{id}/approve",
            post(people::approve),
            Some(Right::Approve),
            (
                "approve",
                "Says yes: good once, for these arguments. The record has the name of the key.",
            ),
        )
        .post("Decision")
        .params(&[Param::Path("id")])
        .answers(&[(200, Answers::Any)])
        .problems(&[
            RequestInvalid,
            ApprovalNotFound,
            ApprovalNotPending,
            ApprovalExpired,
        ]),
        route(
            "/approvals/{id}/reject",
            post(people::reject),
            Some(Right::Approve),
            ("reject", "Says no, and why."),
        )
        .post("Decision")
        .params(&[Param::Path("id")])
        .answers(&[(200, Answers::Any)])
        .problems(&[
            RequestInvalid,
            ApprovalNotFound,
            ApprovalNotPending,
            ApprovalExpired,
        ]),
        route(
            "/parked",
            get(people::parked),
            Some(Right::Look),
            (
                "listParked",
                "Calls of which nobody knows whether they were done.",
            ),
        )
        .answers(&[(200, Answers::Any)]),
        route(
            "/parked/{session}/{position}",
            get(people::parked_one),
            Some(Right::Look),
            ("showParked", "Everything that is known about one."),
        )
        .params(&[Param::Path("session"), Param::Path("position")])
        .answers(&[(200, Answers::Any)])
        .problems(&[ParkNotFound]),
        route(
            "/parked/{session}/{position}/resolve",
            post(people::resolve),
            Some(Right::Resolve),
            ("resolveParked", "Says what was found out about one."),
        )
        .post("Resolution")
        .params(&[Param::Path("session"), Param::Path("position")])
        .answers(&[(200, Answers::Any)])
        .problems(&[RequestInvalid, ParkNotFound, OutputSchema]),
    ]
}

#[cfg(test)]
mod tests;
