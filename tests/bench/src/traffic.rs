//! Spans of a month, made up: 50 tenants, 30 days, sessions as the refund agent has them.
//!
//! The same seed gives the same spans. What is made up is what the questions rest on: a few tenants
//! have most of the traffic; latencies are log-normal, of people much longer than of models, and of
//! models longer than of tools; models and prompts change in the course of the month, and one pair of
//! them is bad; some hosts die, some runs wait for a person, some providers fail.

use serde_json::{Map, json};
use stoplog_model::turn::FinishReason;
use stoplog_model::{SessionId, SpanId, Tenant, TraceId, UsdMicros};
use stoplog_telemetry::{
    Common, Decision, Detail, LlmCall, Outcome, Span, SpanRow, StepStatus, ToolCall, ToolStatus,
};

/// Tenants.
pub(crate) const TENANTS: u64 = 50;
/// Days.
pub(crate) const DAYS: u64 = 30;
const DAY_MS: u64 = 86_400_000;
/// When the month begins: 2026-03-01.
pub(crate) const BEGIN_MS: u64 = 20_513 * DAY_MS;

/// The tools, with class and typical latency, milliseconds.
const TOOLS: [(&str, u8, f64); 5] = [
    ("find_customer_by_email", 1, 90.0),
    ("list_orders", 1, 120.0),
    ("retrieve_policy", 1, 60.0),
    ("issue_refund", 4, 350.0),
    ("send_customer_email", 3, 200.0),
];

/// Numbers of chance, always the same.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below one.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.part() * n as f64) as u64
    }

    fn is(&mut self, part: f64) -> bool {
        self.part() < part
    }

    /// Log-normal around a median: twelve uniform numbers are nearly a normal one.
    fn around(&mut self, median: f64) -> u64 {
        let normal = (0..12).map(|_| self.part()).sum::<f64>() - 6.0;
        (median * (normal * 0.7).exp()).round() as u64
    }
}

/// Makes sessions one after the other, in the order of their beginning.
pub(crate) struct Traffic {
    chance: Chance,
    session: u64,
    spans_a_day: u64,
    made: u64,
}

/// One session as it is made.
struct Scene {
    common: Common,
    rows: Vec<SpanRow>,
    at_ms: u64,
    cost: u64,
    run_began_ms: u64,
    runs: u64,
    before: Option<TraceId>,
}

impl Traffic {
    /// So many spans in all, spread over the month.
    pub(crate) fn new(spans: u64, seed: u64) -> Traffic {
        Traffic {
            chance: Chance::new(seed),
            session: 0,
            spans_a_day: spans / DAYS,
            made: 0,
        }
    }

    /// The spans of the next session, in the order in which they ended.
    pub(crate) fn session(&mut self) -> Vec<SpanRow> {
        let at_ms = BEGIN_MS + self.made * DAY_MS / self.spans_a_day;
        let day = (at_ms - BEGIN_MS) / DAY_MS;
        let tenant = self.chance.around(4.0).min(TENANTS - 1);
        let scene = &mut Scene::begin(self.session, tenant, at_ms, &mut self.chance);
        let model = model_of(day, &mut self.chance);
        let steps = 3 + self.chance.below(4) as u32;
        for step in 0..steps {
            self.step(scene, step, steps, &model);
        }
        scene.end(Outcome::Success, None, steps);
        self.session += 1;
        self.made += scene.rows.len() as u64;
        std::mem::take(&mut scene.rows)
    }

    fn step(&mut self, scene: &mut Scene, step: u32, steps: u32, model: &(String, String)) {
        let chance = &mut self.chance;
        let began_ms = scene.at_ms;
        if chance.is(0.02) {
            let latency = chance.around(900.0);
            let cost = chance.below(400);
            scene.paid(step, latency, cost, retry(cost));
        }
        let latency = chance.around(2200.0);
        let cost = 1500 + chance.below(7000);
        let is_last = step + 1 == steps;
        scene.paid(step, latency, cost, turn(model, is_last, step, cost));
        if !is_last {
            // The bad pair: a new model that the older prompt does not fit.
            let is_bad = model.0.ends_with("04-01") && model.1.ends_with('0');
            let calls: &[usize] = match step {
                0 => &[0],
                1 => &[1, 2],
                2 => &[3],
                _ => &[4],
            };
            for tool in calls {
                call(scene, chance, step, *tool, is_bad);
            }
        }
        let took = scene.at_ms - began_ms;
        let detail = Detail::AgentStep {
            status: StepStatus::Complete,
        };
        scene.add(step, began_ms, took, detail);
    }
}

/// A call, and what may become of it: a person is asked, or the host dies.
fn call(scene: &mut Scene, chance: &mut Chance, step: u32, tool: usize, is_bad: bool) {
    let (name, class, typical) = TOOLS[tool];
    let key = format!("{name}_{}_{step}", scene.common.session_id);
    if class == 4 && chance.is(0.05) {
        let latency = chance.around(240_000.0);
        scene.end(Outcome::Interrupt, Some("approval_required"), step);
        let detail = Detail::HitlApproval {
            approval_id: format!("ap_{}", scene.common.session_id),
            tool_name: name.to_owned(),
            decision: Decision::Approved,
            decided_by: "Meera".to_owned(),
            blast_radius_class: class,
        };
        scene.take(step, latency, detail);
        scene.resume();
    } else if class == 4 && chance.is(0.01) {
        scene.take(
            step,
            5,
            tool_call(name, class, ToolStatus::Error, "in_doubt", &key),
        );
        scene.end(Outcome::Crashed, None, step);
        scene.resume();
        scene.take(
            step,
            0,
            tool_call(name, class, ToolStatus::Success, "replayed", &key),
        );
    }
    let wrong = if is_bad { 0.2 } else { 0.02 };
    let status = match (chance.is(wrong), chance.is(0.1)) {
        (false, _) => ToolStatus::Success,
        (true, false) => ToolStatus::Error,
        (true, true) => ToolStatus::Timeout,
    };
    let latency = chance.around(typical);
    scene.take(
        step,
        latency,
        tool_call(name, class, status, "executed", &key),
    );
}

impl Scene {
    fn begin(number: u64, tenant: u64, at_ms: u64, chance: &mut Chance) -> Scene {
        let session = format!("s{number:07}");
        let common = Common {
            trace_id: trace(number, 1),
            span_id: SpanId::derived(&[&session]),
            parent_span_id: None,
            tenant_id: Tenant::new(format!("tenant_{tenant:02}")).expect("a tenant"),
            session_id: SessionId::new(session).expect("a session"),
            user_id: format!("user_{:04}", chance.below(5000)),
            feature: ["refund_handling", "order_status", "returns"][chance.below(3) as usize]
                .into(),
            step_index: 0,
            timestamp_ms: at_ms,
            latency_ms: 0,
        };
        Scene {
            common,
            rows: Vec::new(),
            at_ms,
            cost: 0,
            run_began_ms: at_ms,
            runs: 1,
            before: None,
        }
    }

    /// A span over some time at the present moment, which goes on by it.
    fn take(&mut self, step: u32, latency_ms: u64, detail: Detail) {
        self.add(step, self.at_ms, latency_ms, detail);
        self.at_ms += latency_ms;
    }

    fn paid(&mut self, step: u32, latency_ms: u64, cost: u64, detail: Detail) {
        self.cost += cost;
        self.take(step, latency_ms, detail);
    }

    fn add(&mut self, step: u32, at_ms: u64, latency_ms: u64, detail: Detail) {
        let root = matches!(detail, Detail::FinalResponse { .. });
        let trace = self.common.trace_id.to_string();
        let parts = [trace.as_str(), &self.rows.len().to_string()];
        let common = Common {
            span_id: SpanId::derived(&parts),
            parent_span_id: (!root).then(|| SpanId::derived(&[trace.as_str()])),
            step_index: step,
            timestamp_ms: at_ms,
            latency_ms,
            ..self.common.clone()
        };
        self.rows.push(SpanRow::of(&Span { common, detail }));
    }

    fn end(&mut self, outcome: Outcome, reason: Option<&str>, step: u32) {
        let latency_ms = self.at_ms - self.run_began_ms;
        let detail = Detail::FinalResponse {
            outcome,
            reason: reason.map(str::to_owned),
            failure: None,
            latency_total: latency_ms,
            cost_total: self.cost as f64 / 1e6,
            cost_total_micros: UsdMicros(self.cost),
            resumed_from: self.before.clone(),
            at_iteration: 1,
        };
        self.add(step, self.run_began_ms, latency_ms, detail);
    }

    fn resume(&mut self) {
        self.runs += 1;
        self.before = Some(self.common.trace_id.clone());
        let number = self.common.session_id.as_str()[1..]
            .parse()
            .unwrap_or_default();
        self.common.trace_id = trace(number, self.runs);
        self.run_began_ms = self.at_ms;
        self.cost = 0;
    }
}

fn trace(session: u64, run: u64) -> TraceId {
    TraceId::new(format!("{:032x}", (session << 8) | run)).expect("a trace")
}

/// The model and the prompt of a day: both change in the course of the month, for some traffic first.
fn model_of(day: u64, chance: &mut Chance) -> (String, String) {
    let version = match (day, chance.is(0.3)) {
        (0..10, _) | (10..15, false) => "m-large-2026-02-01",
        (10..15, true) | (15..22, false) => "m-large-2026-03-10",
        (15..22, true) => "m-small-2026-04-01",
        (_, false) => "m-large-2026-03-10",
        (_, true) => "m-small-2026-04-01",
    };
    let prompt = day / 3 + u64::from(chance.is(0.5));
    (
        version.to_owned(),
        format!("{prompt:011x}{}", chance.below(2)),
    )
}

fn turn(model: &(String, String), is_last: bool, step: u32, cost: u64) -> Detail {
    Detail::LlmCall(LlmCall {
        model_id: model.0[..7].to_owned(),
        model_version: model.0.clone(),
        prompt_version_hash: model.1.clone(),
        input_tokens: 900 + u64::from(step) * 350,
        output_tokens: 40 + cost % 90,
        cache_read_tokens: 600,
        cache_write_tokens: 0,
        context_window_tokens: Some(200_000),
        context_utilization: Some(0.01),
        temperature: 0.2,
        cost_usd: cost as f64 / 1e6,
        cost_usd_micros: UsdMicros(cost),
        price_version: "2026-02-15".to_owned(),
        finish_reason: if is_last {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        },
        finish_reason_raw: if is_last { "end_turn" } else { "tool_use" }.to_owned(),
        failure: None,
    })
}

fn retry(cost: u64) -> Detail {
    Detail::Retry {
        what: "chat m-large".to_owned(),
        attempt: 1,
        error: "provider_overloaded".to_owned(),
        cost_usd: cost as f64 / 1e6,
        cost_usd_micros: UsdMicros(cost),
    }
}

fn tool_call(name: &str, class: u8, status: ToolStatus, disposition: &str, key: &str) -> Detail {
    Detail::ToolCall(ToolCall {
        tool_name: name.to_owned(),
        tool_version: "1.0.0".to_owned(),
        args_redacted: json!({"order_id": "448100", "amount_inr": 6400, "reason": "delay", "idempotency_key": key}),
        result_status: status,
        result_summary: r#"{"refund_id":"rf_77","order_id":"448100","amount_inr":6400}"#.to_owned(),
        error_code: (status == ToolStatus::Error).then(|| "upstream".to_owned()),
        blast_radius_class: class,
        disposition: disposition.to_owned(),
        idempotency_key: key.to_owned(),
        annotations: Map::new(),
    })
}
