//! The examples that are clients, as their READMEs have them run: in Python, in TypeScript, with curl. And
//! a host that is killed in the middle of what they ask for.
//!
//! Needs `python3` with `venv`, `node`, `npm` and `curl`, and the network the first time.

mod waiting;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nimbus_pay::client;
use serde_json::json;

use waiting::wait_for;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An example's folder with what its README installs in it, made once, in the target folder.
fn installed(name: &str, files: &[&str], steps: &[&str]) -> PathBuf {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = nimbus_pay::tool_file("x");
    let target = home.ancestors().nth(4).expect("a target folder");
    let dir = target.join("example-clients").join(name);
    fs::create_dir_all(&dir).expect("a folder");
    for file in files {
        fs::copy(examples().join(name).join(file), dir.join(file)).expect(file);
    }
    let asked: String = files[1..]
        .iter()
        .map(|f| fs::read_to_string(dir.join(f)).expect(f))
        .collect();
    let whole = dir.join("whole");
    if fs::read_to_string(&whole).is_ok_and(|known| known == asked) {
        return dir;
    }
    for step in steps {
        let output = Command::new("sh")
            .args(["-c", step])
            .current_dir(&dir)
            .output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "`{step}`: {output:?}");
    }
    fs::write(whole, asked).expect("written");
    dir
}

/// `nimbus-pay serve`, with all that it prints.
struct Service {
    child: Child,
    dir: tempfile::TempDir,
    listen: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start() -> Service {
        let dir = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = free.local_addr().expect("its address");
        drop(free);
        let mut child = Command::new(env!("CARGO_BIN_EXE_nimbus-pay"))
            .args(["serve", "--listen", &listen.to_string(), "--dir"])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                heard.lock().expect("no panic").push(line);
            }
        });
        let service = Service {
            child,
            dir,
            listen,
            said,
        };
        service.is_up();
        service
    }

    fn is_up(&self) {
        wait_for("the host", || {
            client::ask(self.listen, "GET", "/health", None)
                .ok()
                .map(|_| ())
        });
    }

    /// What stands behind a word at the beginning of the last such line.
    fn told(&self, word: &str) -> String {
        let said = self.said.lock().expect("no panic");
        let line = said.iter().rev().find_map(|l| l.strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word} in {said:?}"))
            .trim()
            .to_owned()
    }

    fn backend(&self) -> SocketAddr {
        let url = self.told("backend");
        url.trim_start_matches("http://")
            .parse()
            .expect("an address")
    }

    /// `kill -9`, from outside.
    fn kill_host(&self) {
        let told = self.told("host ");
        let pid = told.split("(pid ").nth(1).and_then(|t| t.strip_suffix(')'));
        let kill = format!("kill -9 {}", pid.expect("a pid"));
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .expect("a shell")
                .success()
        );
    }

    fn refunds(&self) -> u64 {
        let counted = client::ask(self.backend(), "GET", "/admin/counts", None).expect("counts");
        counted["refunds"]["executed"].as_u64().expect("a count")
    }

    fn agent(&self, mut command: Command, task: &str) -> Command {
        let key = fs::read_to_string(self.dir.path().join("agent.key")).expect("a key");
        command
            .env("STOPLOG_URL", format!("http://{}", self.listen))
            .env("STOPLOG_KEY", key)
            .env("TASK", task)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It, its backend and its host.
        let kill = format!("kill -9 -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    said
}

/// An agent does Priya's refund; does it again, for the same ticket and for another; and does it while
/// the host is killed with the refund made and nothing known of it.
fn refunds_once(command: impl Fn() -> Command) {
    let service = Service::start();
    let first = text(&service.agent(command(), "one").output().expect("it runs"));
    assert!(first.contains("issue_refund: executed"), "{first}");
    let done = first.lines().last().expect("a line").to_owned();
    assert!(done.starts_with("refunded 448100: rf_"), "{first}");
    let again = text(&service.agent(command(), "one").output().expect("it runs"));
    assert!(
        again.contains("issue_refund: replayed") && again.contains(&done),
        "{again}"
    );
    let other = text(&service.agent(command(), "two").output().expect("it runs"));
    assert!(
        other.contains("issue_refund: deduplicated") && other.contains(&done),
        "{other}"
    );
    assert_eq!(service.refunds(), 1);

    let service = Service::start();
    let held = json!({"path": "/refunds", "mode": "hold_answer", "times": 1, "delay_ms": 600_000});
    let told = client::ask(service.backend(), "POST", "/admin/misbehave", Some(&held));
    told.expect("it will");
    let mut agent = service.agent(command(), "three").spawn().expect("it runs");
    wait_for("the refund", || {
        assert!(
            agent.try_wait().expect("a status").is_none(),
            "it ended early"
        );
        (service.refunds() == 1).then_some(())
    });
    service.kill_host();
    let output = agent.wait_with_output().expect("it ends");
    let said = text(&output);
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complained.contains("asked again under three-issue_refund"),
        "{complained}"
    );
    assert!(said.contains("refunded 448100: rf_"), "{said}");
    assert_eq!(
        service.refunds(),
        1,
        "the backend counts what it did\n{said}"
    );
}

#[test]
fn an_agent_in_python_refunds_once() {
    let steps =
        ["python3 -m venv --clear .venv && .venv/bin/pip install --quiet -r requirements.txt"];
    let dir = installed("python-agent", &["agent.py", "requirements.txt"], &steps);
    refunds_once(|| {
        let mut command = Command::new(dir.join(".venv/bin/python"));
        command.arg(dir.join("agent.py"));
        command
    });
}

#[test]
fn an_agent_in_typescript_refunds_once() {
    let files = ["agent.ts", "package.json", "tsconfig.json"];
    let steps = ["npm install --no-fund --no-audit --loglevel=error"];
    let dir = installed("typescript-agent", &files, &steps);
    let built = Command::new("npm")
        .args(["exec", "tsc"])
        .current_dir(&dir)
        .output();
    text(&built.expect("npm"));
    refunds_once(|| {
        let mut command = Command::new("node");
        command.arg(dir.join("build/agent.js")).current_dir(&dir);
        command
    });
}

#[test]
fn curl_is_told_what_the_script_says() {
    let service = Service::start();
    let script = examples().join("curl");
    let output = Command::new(script.join("refund.sh"))
        .env("STOPLOG_URL", format!("http://{}", service.listen))
        .env("STOPLOG_KEYS", service.dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let said = text(&output);
    let expected = fs::read_to_string(script.join("expected.txt")).expect("what it prints");
    assert_eq!(
        said,
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(service.refunds(), 2);
    let metrics = Command::new("curl")
        .args(["--silent", &format!("http://{}/metrics", service.listen)])
        .output();
    let metrics = text(&metrics.expect("curl"));
    let calls = "disposition=\"executed\",result=\"success\",tool=\"issue_refund\"} 2";
    assert!(metrics.contains(calls), "{metrics}");
}
