//! A call of class 0 on the memory store: what the host costs when neither disk nor network is
//! in the way.
//!
//! Product: [`Dispatcher::dispatch`] of one call, from its judgement to its observation. Floor:
//! bare wasmtime with a pool of instances, instantiation and the call of the export, and nothing
//! else: no fiber, no epochs, no limits, no WASI (what the guest imports, and never calls, traps).

use std::sync::Arc;
use std::time::Instant;

use stoplog_dispatch::Dispatcher;
use stoplog_model::Position;
use stoplog_model::turn::{FinishReason, Turn};
use stoplog_model::{Call, UsdMicros};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker,
};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use crate::host::Host;
use crate::report::{Goal, Measure};
use crate::rounds::{Spread, compare};
use crate::tools::{self, Kind};
use crate::{Bench, rows};

/// Calls of a round.
const CALLS: u32 = 400;

/// Turns of a session: the default limit.
const TURNS: u32 = 20;

#[derive(Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only the lifting makes them")]
enum Code {
    #[component(name = "invalid-input")]
    InvalidInput,
    #[component(name = "not-found")]
    NotFound,
    #[component(name = "permission")]
    Permission,
    #[component(name = "precondition")]
    Precondition,
    #[component(name = "conflict")]
    Conflict,
    #[component(name = "rate-limited")]
    RateLimited,
    #[component(name = "transient")]
    Transient,
    #[component(name = "upstream")]
    Upstream,
    #[component(name = "internal")]
    Internal,
}

#[derive(Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only the lifting makes them")]
enum After {
    #[component(name = "untouched")]
    Untouched,
    #[component(name = "changed")]
    Changed,
    #[component(name = "unknown")]
    Unknown,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "the shape counts: it is what the guest returns")]
struct Failure {
    code: Code,
    message: String,
    hint: Option<String>,
    #[component(name = "retry-after-ms")]
    retry_after_ms: Option<u64>,
    aftermath: After,
}

struct Bare {
    engine: Engine,
    pre: InstancePre<()>,
    call: ComponentExportIndex,
}

impl Bare {
    fn new() -> anyhow::Result<Bare> {
        let mut config = Config::new();
        let pool = PoolingAllocationConfig::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).map_err(anyhow::Error::msg)?;
        let bytes = std::fs::read(tools::component(Kind::Pure.tool()))?;
        let component = Component::new(&engine, bytes).map_err(|e| anyhow::anyhow!("{e:#}"))?;
        let mut linker = Linker::new(&engine);
        #[expect(
            clippy::disallowed_methods,
            reason = "a floor: the guest calls none of its imports"
        )]
        linker
            .define_unknown_imports_as_traps(&component)
            .map_err(|e| anyhow::anyhow!("{e:#}"))?;
        let pre = linker
            .instantiate_pre(&component)
            .map_err(|e| anyhow::anyhow!("{e:#}"))?;
        let interface = "stoplog:tool/pure-tool@0.1.0";
        let call = component
            .get_export_index(None, interface)
            .and_then(|i| component.get_export_index(Some(&i), "call"))
            .ok_or_else(|| anyhow::anyhow!("no `call` in {interface}"))?;
        Ok(Bare { engine, pre, call })
    }

    fn call(&self, input: &str) -> anyhow::Result<String> {
        let run = || -> wasmtime::Result<String> {
            let mut store = Store::new(&self.engine, ());
            let instance = self.pre.instantiate(&mut store)?;
            let call = instance
                .get_typed_func::<(&str,), (Result<String, Failure>,)>(&mut store, self.call)?;
            let (answer,) = call.call(&mut store, (input,))?;
            answer.map_err(|e| wasmtime::Error::msg(format!("{e:?}")))
        };
        run().map_err(|e| anyhow::anyhow!("{e:#}"))
    }

    /// The middle of a round, microseconds.
    fn round(&self) -> anyhow::Result<f64> {
        let input = Kind::Pure.arguments("").to_string();
        let mut times = Vec::with_capacity(CALLS as usize);
        for _ in 0..CALLS {
            let began = Instant::now();
            let output = self.call(&input)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            anyhow::ensure!(output.contains("42"), "the guest said {output}");
        }
        Ok(Spread::of(&times).median)
    }
}

fn turn(iteration: u32) -> Turn {
    Turn {
        iteration,
        text: String::new(),
        calls: vec![Call {
            ordinal: 0,
            tool: Kind::Pure.tool().to_owned(),
            arguments: Kind::Pure.arguments(""),
            provider_id: None,
        }],
        finish: FinishReason::ToolCalls,
        finish_raw: "tool_calls".to_owned(),
        model_id: "paced".to_owned(),
        model_version: "paced-1".to_owned(),
        prompt_version_hash: "0".repeat(12),
        temperature_milli: 0,
        input_tokens: 1000,
        output_tokens: 50,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        context_window_tokens: 0,
        price_version: String::new(),
        cost: UsdMicros(1000),
        started_at_ms: 0,
        latency_ms: 0,
        failed_attempts: Vec::new(),
    }
}

/// The middle of a round, microseconds: the dispatch alone, turns are taken in between.
async fn product(host: &Arc<Host>, dispatcher: &Dispatcher) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(CALLS as usize);
    for _ in 0..CALLS / TURNS {
        let name = host.fresh("p");
        let journal = host.begin(&name, &[Kind::Pure]).await?;
        host.start_run(&journal).await?;
        for iteration in 1..=TURNS {
            journal.take_turn(turn(iteration));
            let position = Position {
                iteration,
                ordinal: 0,
            };
            let began = Instant::now();
            let dispatched = dispatcher.dispatch(&journal, position).await?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            drop(dispatched);
        }
        let is_done = journal.read(|s| {
            s.calls()
                .all(|(_, c)| c.observed.as_ref().is_some_and(|o| is_ok(&o.result)))
        });
        anyhow::ensure!(is_done, "a call of class 0 failed");
        journal.close().await?;
    }
    Ok(Spread::of(&times).median)
}

fn is_ok(result: &stoplog_model::event::CallResult) -> bool {
    matches!(result, stoplog_model::event::CallResult::Ok(_))
}

/// The measure.
pub(crate) async fn class0(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let bare = Bare::new()?;
    let host = Arc::new(Host::new(&bench.parts, rows::in_memory(), None)?);
    let dispatcher = bench.parts.dispatcher()?;
    let compared = compare(
        bench.time,
        || product(&host, &dispatcher),
        || async { bare.round() },
    )
    .await?;
    let sandbox = compare(
        bench.time,
        || product(&host, &dispatcher),
        || crate::floor::sandbox_round(&bench.parts, Kind::Pure, CALLS),
    )
    .await?;
    Ok(vec![
        Measure::beside(
            "class-0 call, memory store, p50",
            "us",
            compared,
            Goal::AtMost(2.0),
        )
        .noted("strict floor: bare wasmtime, no fiber, no epochs, no limits, no WASI"),
        Measure::beside(
            "class-0 call; floor is our sandbox alone",
            "us",
            sandbox,
            Goal::Stated,
        ),
    ])
}
