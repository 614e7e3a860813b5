//! Situations in which somebody on call looks up what to do, made by real processes: a host that is
//! killed with a refund under way, a backend or a collector that is away, a model that gives no turn, a damaged file.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use nimbus_pay::client;
use serde_json::{Value, json};

use crate::desk::{Desk, copy};
use crate::waiting::wait_for;

const SESSION: &str = "sess_lamp";
/// The key of Farhan's refund, asked for with the right amount.
const KEY: &str = "refund_441800_delay";
/// How long the backend holds its answer back: longer than the host lives.
const HELD_ANSWER_MS: u64 = 60_000;
/// A backend that ends with the desk.
pub(crate) struct Backend {
    child: Child,
    address: SocketAddr,
}

impl Backend {
    /// Starts one on the desk's ledger, and has the desk's configuration lead to it.
    fn start(desk: &Desk) -> Backend {
        let port_file = desk.file("backend.address");
        let _ = fs::remove_file(&port_file);
        let child = Command::new(env!("CARGO_BIN_EXE_nimbus-pay"))
            .args(["backend", "--db"])
            .arg(desk.file("backend.db"))
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the backend starts");
        let text = wait_for("the backend's address", || {
            fs::read_to_string(&port_file).ok()
        });
        let address = text.parse().expect("an address");
        desk.change("stoplog.toml", |line| {
            match line.starts_with("connect = ") {
                true => format!("connect = \"{address}\""),
                false => line.to_owned(),
            }
        });
        Backend { child, address }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host was killed when the refund had reached the backend and no answer had come; nobody is there
/// who could be asked.
fn killed() -> Desk {
    let mut desk = Desk::new();
    desk.tell("SESSION", SESSION);
    let script = fs::read_to_string(desk.file("farhan.json")).expect("a script");
    let script = script.replace("\"amount_inr\": 3200", "\"amount_inr\": 2300");
    fs::write(desk.file("priya.json"), script).expect("the script of the configuration");
    let backend = Backend::start(&desk);
    let fault = json!({"path": "/refunds", "mode": "hold_answer", "delay_ms": HELD_ANSWER_MS});
    let ask = |method, path: &str, body| client::ask(backend.address, method, path, body);
    ask("POST", "/admin/misbehave", Some(&fault)).expect("told");
    let log = || File::create(desk.file("killed.log")).expect("a file");
    let mut host = Command::new(env!("CARGO_BIN_EXE_nimbus-pay"))
        .args(["host", "run", "--tenant", "initech", "--user", "farhan"])
        .args(["--session", SESSION, "My lamp, order 441800, came late."])
        .current_dir(desk.path())
        .stdin(Stdio::null())
        .stdout(log())
        .stderr(log())
        .spawn()
        .expect("the host starts");
    wait_for("the refund", || {
        assert!(host.try_wait().expect("a look").is_none(), "it ended early");
        let found = ask("GET", &format!("/refunds/by-key/{KEY}"), None).ok()?;
        found["refunds"].get(0).map(|_| ())
    });
    host.kill().expect("killed");
    host.wait().expect("ended");
    desk
}

/// A host has died, and the backend is well.
pub(crate) fn died() -> Desk {
    let mut desk = killed();
    desk.backend = Some(Backend::start(&desk));
    desk
}

/// A session waits to be resumed, and nobody listens where the collector should be.
pub(crate) fn without_collector() -> Desk {
    let desk = died();
    // An address that was free a moment ago: who asks there is refused at once.
    let free = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut config = fs::read_to_string(desk.file("stoplog.toml")).expect("a file");
    config.push_str(&format!(
        "\n[telemetry.otlp]\nendpoint = \"http://{address}\"\n"
    ));
    fs::write(desk.file("stoplog.toml"), config).expect("a file");
    desk
}

/// A call is parked, and the backend is back.
pub(crate) fn parked() -> Desk {
    let mut desk = killed();
    let resumed = desk.shell("stoplog resume \"$SESSION\"");
    assert_eq!(resumed.code, Some(3), "{resumed:?}");
    let backend = Backend::start(&desk);
    let path = format!("/refunds/by-key/{KEY}");
    let found = client::ask(backend.address, "GET", &path, None).expect("an answer");
    let refund = &found["refunds"][0];
    let output = json!({
        "refund_id": refund["refund_id"], "order_id": refund["order_id"],
        "amount_inr": refund["amount_inr"],
    });
    desk.tell("OUTPUT", &output.to_string());
    let parked = desk.json(&["parked", "list"]);
    desk.tell("CALL", parked[0]["id"].as_str().expect("an id"));
    desk.backend = Some(backend);
    desk
}

/// A run ended because no model answered; now one does.
pub(crate) fn without_model() -> Desk {
    let mut desk = Desk::new();
    desk.tell("SESSION", SESSION);
    let script = fs::read_to_string(desk.file("priya.json")).expect("a script");
    let mut nothing: Value = serde_json::from_str(&script).expect("JSON");
    // A scripted model without a turn for the iteration is a model that gives none.
    let turns = nothing["turns"].as_array_mut().expect("turns");
    turns.retain(|turn| turn["iteration"] != 1);
    fs::write(desk.file("nothing.json"), nothing.to_string()).expect("a script");
    let run = "stoplog run --tenant initech --session \"$SESSION\" --script nothing.json 'My order is late.'";
    let ran = desk.shell(run);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    desk.backend = Some(Backend::start(&desk));
    desk
}

/// An event of Suresh's session is not what was written. A backup is there.
pub(crate) fn damaged() -> Desk {
    let desk = Desk::new();
    fs::create_dir_all(desk.file("backup/data")).expect("a folder");
    copy(&desk.file("data"), &desk.file("backup/data"));
    desk.damage("sess_suresh");
    desk
}
