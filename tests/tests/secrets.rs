//! Planted secrets: a tool sends two, a far side gives them back in every way that it knows, the
//! tool spreads what it heard, the host is killed on the way; and then every byte that the host left
//! anywhere is looked at.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use serde_json::Value;
use stoplog_tests::{World, bins};

/// The values. What is in their middle is what is looked for, in every encoding of it.
const TOKEN: &str = "tok/\"Planted7f3a9cAlpha\"+é";
const FILE_TOKEN: &str = "file&Planted55d1e0Beta";
const MIDDLES: [&str; 2] = ["Planted7f3a9cAlpha", "Planted55d1e0Beta"];

/// A far side that gives back what it got, in every encoding, cut into small chunks, and gives it
/// back once more to whoever asks later.
struct Echo {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Echo {
    fn start() -> anyhow::Result<Echo> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(Echo { address, heard })
    }

    fn heard(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }
}

fn serve(mut stream: TcpStream, heard: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut some = [0; 4096];
        let n = stream.read(&mut some)?;
        bytes.extend_from_slice(&some[..n]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            if n == 0 {
                return Ok(());
            }
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |l| l.parse().unwrap_or(0));
        if bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .is_some_and(|at| bytes.len() >= at + 4 + length)
        {
            break bytes.len();
        }
    };
    let all = {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend_from_slice(&bytes[..end]);
        heard.clone()
    };
    let mut echoed = all.clone();
    for encoded in [
        base64(&all),
        hex(&all),
        percent(&all),
        json_escaped(&all),
        TOKEN.into(),
        FILE_TOKEN.into(),
    ] {
        echoed.extend_from_slice(b"\n");
        echoed.extend_from_slice(encoded.as_bytes());
    }
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nx-echo: {}\r\nx-echo-64: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        FILE_TOKEN,
        base64(format!("me:{TOKEN}").as_bytes())
    )
    .into_bytes();
    for piece in echoed.chunks(7) {
        answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        answer.extend_from_slice(piece);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(&answer)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut all = [0; 3];
        all[..group.len()].copy_from_slice(group);
        let word = u32::from_be_bytes([0, all[0], all[1], all[2]]);
        for i in 0..=group.len() {
            let sextet = (word >> (18 - 6 * i)) & 63;
            out.push(char::from(ALPHABET[sextet as usize]));
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Every byte, also the harmless ones.
fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("%{b:02X}")).collect()
}

/// Every character, also the harmless ones.
fn json_escaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.encode_utf16().map(|u| format!("\\u{u:04x}")).collect()
}

/// What must be nowhere: the middles, as they are and in each encoding; base64 at each of its three
/// places, less what its neighbours have a part in.
fn needles() -> Vec<(String, Vec<u8>)> {
    let mut needles = Vec::new();
    for middle in MIDDLES {
        let bytes = middle.as_bytes();
        let mut add = |form: &str, text: String| {
            needles.push((format!("{middle} {form}"), text.into_bytes()))
        };
        add("as it is", middle.to_owned());
        add("in hex", hex(bytes));
        add("in HEX", hex(bytes).to_uppercase());
        add("percent-encoded", percent(bytes));
        add("escaped", json_escaped(bytes));
        // As it stands in a string of JSON: every backslash twice.
        add("escaped twice", json_escaped(bytes).replace('\\', "\\\\"));
        for shift in 0..3 {
            let shifted = [&b"xx"[..shift], bytes].concat();
            let text = base64(&shifted);
            let core = &text[if shift == 0 { 0 } else { 4 }..text.len() - 4];
            add("in base64", core.to_owned());
        }
    }
    needles
}

fn look_at(place: &str, bytes: &[u8], found: &mut Vec<String>) {
    for (what, needle) in needles() {
        if bytes.windows(needle.len()).any(|w| w == needle) {
            found.push(format!("{what} in {place}"));
        }
    }
}

fn look_below(dir: &Path, found: &mut Vec<String>, files: &mut usize) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            look_below(&path, found, files)?;
        } else if path.file_name().is_none_or(|name| name != "the-token") {
            *files += 1;
            look_at(&path.display().to_string(), &fs::read(&path)?, found);
        }
    }
    Ok(())
}

struct Planted {
    world: World,
    echo: Echo,
    found: Vec<String>,
}

impl Planted {
    fn new(name: &str) -> anyhow::Result<Planted> {
        let world = World::new(bins!(), &["confider"])?;
        let echo = Echo::start()?;
        let token = world.path().join("the-token");
        fs::write(&token, format!("{FILE_TOKEN}\n"))?;
        fs::set_permissions(&token, Permissions::from_mode(0o600))?;
        world.write_config(&format!(
            "[[grant]]\ntools = [\"confider\"]\norigin = \"http://echo.internal/\"\n\
             connect = \"{}\"\n\n[secrets.TOKEN]\nenv = \"PLANTED_TOKEN\"\n\n\
             [secrets.FILE_TOKEN]\nfile = \"the-token\"\n",
            echo.address
        ))?;
        world.script(&[&[("confider", name)]])?;
        let found = Vec::new();
        Ok(Planted { world, echo, found })
    }

    /// Runs the host, and looks at what it says.
    fn host(&mut self, args: &[&str], dies_at: Option<&str>) -> anyhow::Result<Output> {
        let mut command = self.world.command(args);
        command.env("PLANTED_TOKEN", TOKEN).env("RUST_LOG", "trace");
        if let Some(stage) = dies_at {
            command.env("STOPLOG_DIE_AT", stage);
        }
        let output = command.output()?;
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        look_at(&format!("what {args:?} said"), &said, &mut self.found);
        Ok(output)
    }

    /// Looks at everything, and at what people are shown.
    fn check(mut self, was_sent: bool) -> anyhow::Result<()> {
        self.host(&["trace", "show", "s"], None)?;
        self.host(&["parked", "list"], None)?;
        self.host(&["sessions", "list"], None)?;
        self.host(&["doctor"], None)?;
        let export = self.world.path().join("export.jsonl");
        let export = export.to_str().context("a path")?;
        self.host(&["export", "--session", "s", "--out", export], None)?;
        let mut files = 0;
        look_below(self.world.path(), &mut self.found, &mut files)?;
        ensure!(files > 5, "only {files} files were looked at");
        ensure!(self.found.is_empty(), "found:\n{}", self.found.join("\n"));
        // It was not simply not sent.
        let heard = self.echo.heard();
        for value in [TOKEN, FILE_TOKEN] {
            ensure!(
                heard.contains(value) || !was_sent,
                "the far side never got it: {heard}"
            );
        }
        Ok(())
    }
}

fn run(name: &str) -> anyhow::Result<Planted> {
    let mut planted = Planted::new(name)?;
    let output = planted.host(&World::run_args(), None)?;
    ensure!(output.status.code().is_some(), "{output:?}");
    Ok(planted)
}

#[test]
fn a_secret_is_in_no_output_no_error_and_no_last_word() -> anyhow::Result<()> {
    for name in ["echo", "fail", "trap"] {
        let planted = run(name)?;
        let rows = planted.world.sql(
            "SELECT coalesce(e.body, p.body) FROM events e
            LEFT JOIN payloads p ON p.digest = e.payload WHERE kind = 'observed'",
        )?;
        let event: Value = serde_json::from_str(&rows[0][0])?;
        // The marks are there: the far side did give it back.
        let text = event.to_string();
        for mark in ["[secret:TOKEN]", "[secret:FILE_TOKEN]"] {
            ensure!(text.contains(mark), "{name}: no {mark} in {text}");
        }
        planted.check(true).with_context(|| name.to_owned())?;
    }
    Ok(())
}

#[test]
fn nor_behind_a_crash_anywhere_around_the_request() -> anyhow::Result<()> {
    for stage in [
        "intent_durable:after:1",
        "request_sent:after:1",
        "answer_received:after:1",
    ] {
        let mut planted = Planted::new("echo")?;
        let died = planted.host(&World::run_args(), Some(stage))?;
        ensure!(died.status.code().is_none(), "{stage}: {died:?}");
        planted.host(&["resume", "s"], None)?;
        // Before the request was sent there was nothing to give back.
        let was_sent = !stage.starts_with("intent");
        planted.check(was_sent).with_context(|| stage.to_owned())?;
    }
    Ok(())
}

/// What a model writes is data: a placeholder in it would have the tool publish its own secret.
#[test]
fn a_model_that_names_a_secret_is_refused() -> anyhow::Result<()> {
    for named in ["{{secret:TOKEN}}", "x%7B%7Bsecret:FILE_TOKEN%7D%7D"] {
        let planted = run(named)?;
        let rows = planted
            .world
            .sql("SELECT body FROM events WHERE kind = 'observed'")?;
        let text = &rows[0][0];
        ensure!(text.contains("secret_named"), "{named}: {text}");
        let heard = planted.echo.heard();
        ensure!(heard.is_empty(), "{named}: it was sent: {heard}");
    }
    Ok(())
}

/// The search finds what is there, in each form: else it would find nothing for ever.
#[test]
fn the_search_finds_what_is_planted() {
    for (i, value) in [TOKEN, FILE_TOKEN].into_iter().enumerate() {
        for text in [
            value.to_owned(),
            hex(value.as_bytes()),
            percent(value.as_bytes()),
            json_escaped(value.as_bytes()),
            base64(value.as_bytes()),
            base64(format!("a{value}b").as_bytes()),
            base64(format!("ab{value}").as_bytes()),
        ] {
            let mut found = Vec::new();
            look_at("here", format!("..{text}..").as_bytes(), &mut found);
            assert!(found.iter().any(|f| f.starts_with(MIDDLES[i])), "{text}");
        }
    }
}

#[test]
fn a_secret_that_others_can_read_stops_the_host() -> anyhow::Result<()> {
    let mut planted = Planted::new("echo")?;
    let token = planted.world.path().join("the-token");
    fs::set_permissions(&token, Permissions::from_mode(0o644))?;
    let output = planted.host(&World::run_args(), None)?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(4), "{stderr}");
    ensure!(
        stderr.contains("secret_exposed") && stderr.contains("chmod 600"),
        "{stderr}"
    );
    fs::remove_file(&token)?;
    let output = planted.host(&World::run_args(), None)?;
    let stderr = String::from_utf8(output.stderr)?;
    ensure!(stderr.contains("secret_missing"), "{stderr}");
    ensure!(planted.echo.heard().is_empty(), "something was sent");
    ensure!(planted.found.is_empty(), "{:?}", planted.found);
    Ok(())
}
