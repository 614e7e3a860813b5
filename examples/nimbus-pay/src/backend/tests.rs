//! Real requests against a real server. The kit starts one on a port of its own, with a database
//! of its own; the cases lie in the files below.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod faults;
mod keys;
mod questions;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A folder that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("nimbus-backend-{}-{n}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn db(&self) -> PathBuf {
        self.0.join("backend.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running backend.
struct Backend {
    http: Http,
    scratch: Scratch,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Backend {
    fn start() -> Self {
        Self::on(Scratch::new())
    }

    fn on(scratch: Scratch) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let http = Http(listener.local_addr().unwrap());
        let (end, ended) = oneshot::channel();
        let db = scratch.db();
        let thread = thread::spawn(move || {
            let ended = async move { drop(ended.await) };
            runtime
                .block_on(super::serve_until(listener, &db, ended))
                .unwrap();
        });
        Self {
            http,
            scratch,
            running: Some((end, thread)),
        }
    }

    fn restart(mut self) -> Self {
        self.stop();
        let scratch = std::mem::replace(&mut self.scratch, Scratch::new());
        Self::on(scratch)
    }

    fn stop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            let _ = end.send(());
            let _ = thread.join();
        }
    }

    /// The tallies of one kind, as `executed replayed conflicts in_flight`.
    fn counts(&self, kind: &str) -> String {
        self.http.counts(kind)
    }

    fn misbehave(&self, fault: &Value) {
        assert_eq!(self.http.post("/admin/misbehave", None, fault).status, 201);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A client that knows just enough HTTP to see what is on the wire.
#[derive(Clone, Copy)]
struct Http(SocketAddr);

impl Http {
    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").unwrap()
    }

    fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "").unwrap()
    }

    fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Reply {
        self.try_post(path, key, body).unwrap()
    }

    fn try_post(&self, path: &str, key: Option<&str>, body: &Value) -> io::Result<Reply> {
        let headers: Vec<_> = key
            .map(|key| ("Idempotency-Key", key))
            .into_iter()
            .collect();
        self.send("POST", path, &headers, &body.to_string())
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(self.0)?;
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Reply::parse(&reply).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn counts(&self, kind: &str) -> String {
        let counts = &self.get("/admin/counts").json()[kind];
        ["executed", "replayed", "conflicts", "in_flight"]
            .map(|name| counts[name].to_string())
            .join(" ")
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self {
            status,
            head: head.to_lowercase(),
            body: body.into(),
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status, and the code of an error: `422 idempotency_conflict`.
    fn verdict(&self) -> String {
        let code = self.json()["error"]["code"]
            .as_str()
            .map(|code| format!(" {code}"));
        format!("{}{}", self.status, code.unwrap_or_default())
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

fn priyas_refund() -> Value {
    json!({ "order_id": "448100", "amount_inr": 6400, "reason": "delay" })
}

/// Waits until `is_so`; fails after ten seconds.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < end, "not in ten seconds: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A backend in a process of its own: this test binary, running [`a_process`] only.
struct Process(process::Child, Http);

impl Process {
    fn start(scratch: &Path) -> Self {
        let address = scratch.join("address");
        let _ = fs::remove_file(&address);
        let (_, test) = concat!(module_path!(), "::a_process")
            .split_once("::")
            .unwrap();
        let child = process::Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", test])
            .env("NIMBUS_SCRATCH", scratch)
            .stdout(process::Stdio::null())
            .spawn()
            .unwrap();
        eventually("the process listens", || address.exists());
        let address = fs::read_to_string(address).unwrap();
        Self(child, Http(address.parse().unwrap()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: what [`Process`] runs.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn a_process() {
    let Some(scratch) = env::var_os("NIMBUS_SCRATCH").map(PathBuf::from) else {
        return;
    };
    Runtime::new().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        fs::write(scratch.join("address.new"), address).unwrap();
        fs::rename(scratch.join("address.new"), scratch.join("address")).unwrap();
        super::serve(listener, &scratch.join("backend.db"))
            .await
            .unwrap();
    });
}
