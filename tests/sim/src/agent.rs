//! The model of the simulation: seeded, and never the same twice. Asked again for a turn, it says
//! something else, so that a turn which the host lost and asked for anew shows in the history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use stoplog_llm::{Course, Desk, Message, Model, ModelError, TurnRequest, Window};
use stoplog_model::event::ModelAsked;
use stoplog_model::port::Clock;
use stoplog_model::turn::{FailureClass, FinishReason, Turn};
use stoplog_model::{Call, UsdMicros};

use crate::dice::Dice;
use crate::locked;
use crate::oracle::{Asked, Shown};
use crate::tools::{HOWS, LOOK, WRITERS};
use crate::world::{Setup, Size};

/// The model of one world.
#[derive(Debug)]
pub struct SimModel {
    seed: u64,
    /// Tools that it may call, by place in [`WRITERS`]: a world keeps to a few, so that acts meet.
    tools: Vec<usize>,
    turns: u32,
    /// One call like this, and then the answer.
    how: Option<&'static str>,
    size: Size,
    /// Tokens that it can hold; in half of the worlds too few for the conversation.
    window: Option<u64>,
    state: Mutex<State>,
    /// Whether it may still fail, or be cut off.
    fails_percent: Mutex<u64>,
}

#[derive(Debug, Default)]
struct State {
    asks: BTreeMap<(String, u32), u64>,
    asked: Vec<Asked>,
}

impl SimModel {
    /// A model for a seed.
    pub fn new(seed: u64, turns: u32, tools: Vec<usize>, setup: Setup) -> Arc<SimModel> {
        let mut dice = Dice::new(seed, "window");
        let how = setup.how;
        let small = how.is_none() && dice.percent(50);
        Arc::new(SimModel {
            seed,
            window: small.then(|| 80 + dice.below(200)),
            tools,
            turns: if how.is_some() { 2 } else { turns },
            how,
            size: setup.size,
            state: Mutex::default(),
            fails_percent: Mutex::new(if how.is_some() { 0 } else { 4 }),
        })
    }

    /// Everything that it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.state).asked.clone()
    }

    /// No more failures.
    pub fn behave(&self) {
        *locked(&self.fails_percent) = 0;
    }

    fn call(&self, dice: &mut Dice, ordinal: u32, iteration: u32) -> Call {
        if let Some(how) = self.how {
            let name = format!("{iteration}{ordinal}");
            return Call {
                ordinal,
                tool: WRITERS[self.tools[0]].name.to_owned(),
                arguments: json!({ "name": name, "amount": 1, "how": how }),
                provider_id: None,
            };
        }
        let (mut tool, mut arguments);
        if dice.percent(25) {
            tool = LOOK.to_owned();
            arguments = json!({ "name": "x", "amount": 1, "how": "plain" });
        } else {
            tool = WRITERS[*dice.pick(&self.tools)].name.to_owned();
            let name = *dice.pick(&["a", "b", "c", "d"]);
            // The same act has the same arguments, as a rule.
            let mut own = Dice::new(self.seed, &format!("{tool} {name}"));
            let how = match own.percent(60) {
                true => "plain",
                false => own.pick(&HOWS),
            };
            let amount = if dice.percent(8) { 2 } else { 1 };
            arguments = json!({ "name": name, "amount": amount, "how": how });
        }
        match dice.below(40) {
            0 => arguments["amount"] = json!("much"),
            1 => tool = "no_such_tool".to_owned(),
            2 => arguments["name"] = Value::String("long".repeat(60)),
            _ => {}
        }
        Call {
            ordinal,
            tool,
            arguments,
            provider_id: Some(format!("call_{iteration}_{ordinal}")),
        }
    }
}

#[async_trait]
impl Model for SimModel {
    async fn turn(&self, request: &TurnRequest, clock: &dyn Clock) -> Result<Turn, ModelError> {
        let (dropped, shown) = shown(&request.messages);
        let session = match request.messages.first() {
            Some(Message::User { text }) => text.clone(),
            _ => String::new(),
        };
        let started_at_ms = clock.now_ms();
        let ask = {
            let mut state = locked(&self.state);
            let place = (session.clone(), request.iteration);
            let ask = state.asks.entry(place).or_default();
            *ask += 1;
            *ask
        };
        let place = format!("{session} {} {ask}", request.iteration);
        let mut dice = Dice::new(self.seed, &place);
        let asked = |turn: Option<String>| {
            locked(&self.state).asked.push(Asked {
                session: session.clone(),
                iteration: request.iteration,
                at_ms: started_at_ms,
                shown: shown.clone(),
                dropped,
                said: turn,
            });
        };
        let mishap = dice.percent(*locked(&self.fails_percent));
        if mishap && dice.percent(50) {
            asked(None);
            return Err(ModelError {
                failure: FailureClass::ProviderTransient,
                attempts: Vec::new(),
                message: "the model cannot be asked".to_owned(),
            });
        }
        let is_last = request.iteration >= self.turns;
        let count = match (is_last, self.how) {
            (true, _) => 0,
            (false, Some(_)) => 1,
            (false, None) if self.size == Size::Small => 1 + u32::from(dice.percent(20)),
            (false, None) => 1 + dice.below(3) as u32,
        };
        let calls: Vec<Call> = (0..count)
            .map(|ordinal| self.call(&mut dice, ordinal, request.iteration))
            .collect();
        let finish_raw = match (mishap, is_last) {
            (true, _) => "length",
            (_, true) => "stop",
            _ => "tool_calls",
        };
        let text = format!("turn {place}");
        asked((!mishap).then(|| said(&text, &calls)));
        Ok(Turn {
            iteration: request.iteration,
            text,
            calls,
            finish: FinishReason::from_raw(finish_raw),
            finish_raw: finish_raw.to_owned(),
            model_id: self.model_id().to_owned(),
            model_version: "1".to_owned(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            temperature_milli: 0,
            input_tokens: tokens(&request.messages),
            output_tokens: 1,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            context_window_tokens: self.window.unwrap_or(0),
            price_version: String::new(),
            cost: UsdMicros(1),
            started_at_ms,
            latency_ms: 0,
            failed_attempts: Vec::new(),
        })
    }

    /// A provider: it is told of before it is asked, and takes its time.
    async fn ask(&self, request: &TurnRequest, desk: &dyn Desk) -> Result<Turn, ModelError> {
        desk.asked(ModelAsked {
            iteration: request.iteration,
            attempt: 1,
            again: false,
            profile: String::new(),
            model_id: self.model_id().to_owned(),
            prompt_version_hash: request.prompt_version_hash.clone(),
            input_tokens: tokens(&request.messages),
            cost: UsdMicros(2),
            after: None,
        });
        let place = format!("wait {} {}", request.session, request.iteration);
        let ms = *Dice::new(self.seed, &place).pick(&[0, 0, 20, 120]);
        tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
        self.turn(request, desk.clock()).await
    }

    fn window(&self, _: &Course) -> Option<Window> {
        self.window.map(|tokens| Window {
            tokens,
            trim_at_percent: 80,
            keep_turns: 1,
            keep_output_bytes: 12,
        })
    }

    fn model_id(&self) -> &str {
        "simulated"
    }
}

/// Tokens of a conversation, as this provider counts them.
fn tokens(messages: &[Message]) -> u64 {
    let bytes = messages.iter().map(|m| format!("{m:?}").len() as u64);
    bytes.sum::<u64>() / 4
}

/// A turn as one line.
pub fn said(text: &str, calls: &[Call]) -> String {
    let calls: Vec<String> = calls
        .iter()
        .map(|c| format!("{}({})", c.tool, c.arguments))
        .collect();
    format!("{text}: {}", calls.join(" "))
}

/// The conversation, as the model was shown it: the turns that it was told are left out, and the rest.
fn shown(messages: &[Message]) -> (u32, Vec<Shown>) {
    let note = messages.get(1).and_then(|message| match message {
        Message::User { text } => text.strip_prefix("[Turns 1 to "),
        _ => None,
    });
    let through = note.and_then(|rest| rest.split(' ').next()?.parse().ok());
    let dropped = through.unwrap_or(0);
    let mut iteration = dropped;
    let mut shown = Vec::new();
    for message in messages {
        match message {
            Message::User { .. } => {}
            Message::Assistant { text, calls } => {
                iteration += 1;
                shown.push(Shown::Turn {
                    iteration,
                    said: said(text, calls),
                });
            }
            Message::ToolResult {
                ordinal,
                content,
                is_error,
                code,
                ..
            } => shown.push(Shown::Result {
                iteration,
                ordinal: *ordinal,
                is_error: *is_error,
                code: code.clone().unwrap_or_default(),
                changed: content["changed"].as_str().unwrap_or("").to_owned(),
                text: content.to_string(),
            }),
        }
    }
    (dropped, shown)
}
