//! A provider that speaks OpenAI's chat completions, streamed, and answers by a list of faults. What it
//! says is a function of the conversation: asked again, it says the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meets {
    /// An answer.
    Well,
    /// The same, after so many milliseconds.
    Slow(u64),
    /// This status.
    Refused(u16),
    /// 400, because the prompt is too long.
    TooLong,
    /// Half of the stream, and then the end of the connection.
    Half,
    /// Half of the stream, and then nothing until [`Provider::release`].
    Held,
}

#[derive(Default)]
struct State {
    schedule: Vec<Meets>,
    bodies: Vec<Value>,
    released: bool,
}

/// One provider.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

/// What the model does: calls of each turn, and how long its texts are.
#[derive(Clone)]
pub(crate) struct Plan {
    /// One list of (tool, name) a turn; behind them it answers.
    pub(crate) turns: Vec<Vec<(&'static str, &'static str)>>,
    /// Characters of the text of each turn.
    pub(crate) text_chars: usize,
}

fn locked(shared: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    /// One that follows a plan; requests meet what the schedule says, and are well behind it.
    pub(crate) fn start(plan: Plan, schedule: &[Meets]) -> anyhow::Result<Provider> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = State {
            schedule: schedule.to_vec(),
            ..State::default()
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let kept = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (plan, shared) = (plan.clone(), kept.clone());
                std::thread::spawn(move || serve(stream, &plan, &shared));
            }
        });
        Ok(Provider { address, shared })
    }

    /// The bodies of the requests so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        locked(&self.shared).bodies.clone()
    }

    /// How often it was asked for each turn, from the first on.
    pub(crate) fn asked(&self) -> Vec<usize> {
        let mut asked = Vec::new();
        for body in self.bodies() {
            let turn = turn_of(&body);
            asked.resize(asked.len().max(turn + 1), 0);
            asked[turn] += 1;
        }
        asked
    }

    /// Lets what is held go on.
    pub(crate) fn release(&self) {
        locked(&self.shared).released = true;
        self.shared.1.notify_all();
    }
}

/// Which turn is asked for, counted from 0. Turns that are left out are told in a note.
fn turn_of(body: &Value) -> usize {
    let messages = body["messages"].as_array();
    let said = messages.into_iter().flatten();
    let shown = said.filter(|m| m["role"] == "assistant").count();
    let note = body["messages"][2]["content"].as_str().unwrap_or("");
    let dropped = note
        .strip_prefix("[Turns 1 to ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|n| n.parse::<usize>().ok());
    shown + dropped.unwrap_or(0)
}

fn serve(mut stream: TcpStream, plan: &Plan, shared: &(Mutex<State>, Condvar)) {
    let Ok(body) = read(&mut stream) else { return };
    let meets = {
        let mut state = locked(shared);
        state.bodies.push(body.clone());
        let number = state.bodies.len() - 1;
        state.schedule.get(number).copied().unwrap_or(Meets::Well)
    };
    let said = answer(plan, &body);
    let half = said.len() / 2;
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n";
    let head = format!("{head}content-length: {}\r\n\r\n", said.len());
    // Whoever asked may be dead by now.
    let mut send = |text: &str| {
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.flush();
    };
    match meets {
        Meets::Well => send(&format!("{head}{said}")),
        Meets::Slow(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            send(&format!("{head}{said}"));
        }
        Meets::Half => send(&format!("{head}{}", &said[..half])),
        Meets::Held => {
            send(&format!("{head}{}", &said[..half]));
            let mut state = locked(shared);
            while !state.released {
                state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            send(&said[half..]);
        }
        Meets::Refused(status) => {
            let body = json!({"error": {"message": "on schedule"}}).to_string();
            send(&refusal(status, &body));
        }
        Meets::TooLong => {
            let error = json!({"message": "too long", "code": "context_length_exceeded"});
            send(&refusal(400, &json!({ "error": error }).to_string()));
        }
    }
}

fn refusal(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The stream of the next turn of a conversation.
fn answer(plan: &Plan, body: &Value) -> String {
    let turn = turn_of(body);
    let calls = plan.turns.get(turn).cloned().unwrap_or_default();
    let model = format!("{}-2026-01-01", body["model"].as_str().unwrap_or("m"));
    let mut out = String::new();
    let mut event = |delta: Value, finish: Value, usage: Value| {
        let choices = match usage {
            Value::Null => json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
            _ => json!([]),
        };
        let chunk = json!({"model": model, "choices": choices, "usage": usage});
        out.push_str(&format!("data: {chunk}\n\n"));
    };
    let text = format!("turn {} {}", turn + 1, "so ".repeat(plan.text_chars / 3));
    for piece in text.split_inclusive(' ') {
        event(json!({ "content": piece }), Value::Null, Value::Null);
    }
    for (index, (tool, name)) in calls.iter().enumerate() {
        let arguments = json!({ "name": name }).to_string();
        let function = json!({"name": tool, "arguments": arguments});
        let call =
            json!({"index": index, "id": format!("call_{turn}_{index}"), "function": function});
        event(json!({ "tool_calls": [call] }), Value::Null, Value::Null);
    }
    let finish = if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    event(json!({}), json!(finish), Value::Null);
    let read = body["messages"].to_string().len() / 4;
    let usage = json!({"prompt_tokens": read, "completion_tokens": 10});
    event(json!({}), Value::Null, usage);
    out.push_str("data: [DONE]\n\n");
    out
}

fn read(stream: &mut TcpStream) -> anyhow::Result<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 8192];
        let count = stream.read(&mut piece)?;
        anyhow::ensure!(count > 0, "the request breaks off");
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.context("a length")? {
                return Ok(serde_json::from_str(body)?);
            }
        }
    }
}
