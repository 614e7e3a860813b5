//! Trace context through the host: it comes in with a run, and goes out with every request, of a tool
//! and to a model. A real model endpoint and a real far side hear what they are told.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use stoplog_tests::{World, bins};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Hears requests, and answers as a model that calls the tool once, and as the tool's far side.
struct Ear {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Ear {
    fn start() -> anyhow::Result<Ear> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = heard.clone();
                std::thread::spawn(move || serve(stream, &heard));
            }
        });
        Ok(Ear { address, heads })
    }

    /// The heads of the requests to a path, in lower case.
    fn heard(&self, path: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let of_path = |head: &&String| head.starts_with(&format!("post {path} "));
        heads.iter().filter(of_path).cloned().collect()
    }
}

fn serve(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        let mut some = [0; 4096];
        let n = stream.read(&mut some)?;
        if n == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&some[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = field(&head, "content-length").and_then(|l| l.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break head;
        }
    };
    let nth = {
        let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.push(head.clone());
        let to_model = |h: &&String| h.contains("/chat/completions");
        heads.iter().filter(to_model).count()
    };
    let body = match head.contains("/chat/completions") {
        false => json!({"act_id": "1"}),
        true => {
            let person = json!({"email": "e", "name": "n", "phones": []});
            let arguments = json!({
                "name": "x", "customer": person, "before": [], "password": "p"
            });
            let (message, reason) = match nth {
                1 => (
                    json!({"role": "assistant", "content": null, "tool_calls": [{
                        "id": "c1", "type": "function", "function": {
                            "name": "spiller", "arguments": arguments.to_string()}}]}),
                    "tool_calls",
                ),
                _ => (
                    json!({"role": "assistant", "content": "It is over."}),
                    "stop",
                ),
            };
            json!({
                "id": "r", "model": "m-1", "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            })
        }
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

fn world(ear: &Ear) -> anyhow::Result<World> {
    let world = World::new(bins!(), &["spiller"])?;
    let address = ear.address;
    let text = format!(
        "data_dir = \"data\"\n\n[agent]\nfeature = \"testing\"\nsystem_prompt = \"Test.\"\n\n\
         [model]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\nmodel = \"m\"\n\
         input_usd_micros_per_million = 1\noutput_usd_micros_per_million = 1\n\n\
         [[grant]]\ntools = [\"spiller\"]\norigin = \"http://far.internal/\"\n\
         connect = \"{address}\"\n\n[tools.spiller]\nclear_when = [\"true\"]\n"
    );
    fs::write(world.path().join("stoplog.toml"), text)?;
    Ok(world)
}

fn the<'s>(spans: &'s [Value], kind: &str) -> anyhow::Result<&'s Value> {
    let found = spans.iter().find(|s| s["span_kind"] == kind);
    found.with_context(|| format!("no {kind} in {spans:?}"))
}

#[test]
fn it_comes_in_with_a_run_and_goes_out_with_every_request() -> anyhow::Result<()> {
    let ear = Ear::start()?;
    let world = world(&ear)?;
    let given = format!("00-{TRACE}-{SPAN}-01");
    let mut args = World::run_args().to_vec();
    args.extend(["--traceparent", &given]);
    let ran = world.host(&args)?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let spans = world.spans()?;

    // A trace of its own, below the caller's span.
    let root = the(&spans, "final_response")?;
    ensure!(root["trace_id"] != TRACE, "{root}");
    ensure!(root["trace_id"] == ran.json["trace_id"], "{root}");
    ensure!(root["remote_trace_id"] == TRACE, "{root}");
    ensure!(root["remote_parent_span_id"] == SPAN, "{root}");
    for span in &spans {
        ensure!(span["remote_trace_id"] == TRACE, "{span}");
    }

    // To the model as the turn's span; the session is none of its affair.
    let asked = ear.heard("/v1/chat/completions");
    let turns = spans.iter().filter(|s| s["span_kind"] == "llm_call");
    let ids: Vec<&str> = turns.filter_map(|s| s["span_id"].as_str()).collect();
    ensure!(asked.len() == 2 && ids.len() == 2, "{asked:?}");
    for (head, id) in asked.iter().zip(&ids) {
        let expected = format!("00-{TRACE}-{id}-01");
        ensure!(field(head, "traceparent") == Some(&expected), "{head}");
        ensure!(field(head, "baggage").is_none(), "{head}");
    }

    // To the far side as the call's span, in the place of whatever the tool had put there.
    let acts = ear.heard("/acts");
    ensure!(acts.len() == 1, "{acts:?}");
    let call = the(&spans, "tool_call")?["span_id"]
        .as_str()
        .context("an id")?;
    let expected = format!("00-{TRACE}-{call}-01");
    ensure!(
        field(&acts[0], "traceparent") == Some(&expected),
        "{}",
        acts[0]
    );
    ensure!(
        field(&acts[0], "baggage") == Some("session.id=s"),
        "{}",
        acts[0]
    );
    ensure!(acts[0].matches("traceparent:").count() == 1, "{}", acts[0]);
    ensure!(
        !acts[0].contains("planted") && !acts[0].contains("tracestate"),
        "{}",
        acts[0]
    );
    Ok(())
}

#[test]
fn without_a_caller_the_run_is_its_own_trace() -> anyhow::Result<()> {
    let ear = Ear::start()?;
    let world = world(&ear)?;
    let ran = world.host(&World::run_args())?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let trace = ran.json["trace_id"].as_str().context("a trace")?;
    for path in ["/v1/chat/completions", "/acts"] {
        for head in ear.heard(path) {
            let sent = field(&head, "traceparent").context("a context")?;
            ensure!(sent.starts_with(&format!("00-{trace}-")), "{head}");
        }
    }
    let root = world.spans()?;
    let root = the(&root, "final_response")?;
    ensure!(root.get("remote_trace_id").is_none(), "{root}");
    Ok(())
}

#[test]
fn what_is_no_context_is_refused() -> anyhow::Result<()> {
    let world = World::new(bins!(), &[])?;
    let mut args = World::run_args().to_vec();
    args.extend(["--traceparent", "00-1-2-3"]);
    let ran = world.host(&args)?;
    ensure!(ran.code == Some(2), "{ran:?}");
    ensure!(ran.stderr.contains("VERSION-TRACE-SPAN-FLAGS"), "{ran:?}");
    Ok(())
}
