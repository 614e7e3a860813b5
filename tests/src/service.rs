//! `stoplog serve` as a process, and a client that sends what it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::World;

/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that listens.
pub struct Service {
    child: Child,
    /// Where.
    pub address: SocketAddr,
    /// The first line that it printed.
    pub told: Value,
}

/// Another listener of a service.
pub struct Aside<'a> {
    service: &'a Service,
    address: SocketAddr,
}

impl Aside<'_> {
    /// Sends a request there, on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, say: &Say<'_>) -> anyhow::Result<Heard> {
        self.service.ask_at(self.address, method, path, say)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Status.
    pub status: u16,
    /// Headers, by name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Heard {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The reason code of a problem; empty for none.
    pub fn reason(&self) -> String {
        self.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A server-sent event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sse {
    /// Its id; empty for none.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub data: Value,
}

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Say<'a> {
    /// Headers besides `host` and `content-length`.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: Option<Value>,
}

impl<'a> Say<'a> {
    /// With a caller's key.
    pub fn of(key: &'a str) -> Say<'a> {
        Say::default().with("authorization", key)
    }

    /// With one more header.
    pub fn with(mut self, name: &'a str, value: &'a str) -> Say<'a> {
        self.headers.push((name, value));
        self
    }

    /// With a body.
    pub fn body(mut self, body: Value) -> Say<'a> {
        self.body = Some(body);
        self
    }
}

impl Service {
    /// Starts one in a world.
    pub fn start(world: &World) -> anyhow::Result<Service> {
        Service::start_with(world, &[])
    }

    /// The same, with variables.
    pub fn start_with(world: &World, variables: &[(&str, &str)]) -> anyhow::Result<Service> {
        let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
        command
            .envs(variables.iter().copied())
            .stderr(Stdio::null());
        Service::spawn(command)
    }

    /// Spawns a command that says where it listens, and comes back when it does.
    pub fn spawn(mut command: Command) -> anyhow::Result<Service> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let Some(address) = told["listening"].as_str().and_then(|a| a.parse().ok()) else {
            let status = child.wait()?;
            anyhow::bail!("it does not listen: {line:?}, {status}");
        };
        child.stdout = Some(said.into_inner());
        Ok(Service {
            child,
            address,
            told,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end, and gives what else it printed.
    pub fn ended(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        Ok((self.child.wait()?, said))
    }

    /// SIGTERM.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let kill = format!("kill -TERM {}", self.pid());
        ensure!(Command::new("sh").args(["-c", &kill]).status()?.success());
        Ok(())
    }

    /// Sends a request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, say: &Say<'_>) -> anyhow::Result<Heard> {
        self.ask_at(self.address, method, path, say)
    }

    /// Another listener of it.
    pub fn beside(&self, address: SocketAddr) -> Aside<'_> {
        Aside {
            service: self,
            address,
        }
    }

    fn ask_at(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        say: &Say<'_>,
    ) -> anyhow::Result<Heard> {
        let mut stream = self.send_at(address, method, path, say)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        heard(&answer)
    }

    /// Sends a request, and leaves its answer to be read.
    pub fn send(&self, method: &str, path: &str, say: &Say<'_>) -> anyhow::Result<TcpStream> {
        self.send_at(self.address, method, path, say)
    }

    fn send_at(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        say: &Say<'_>,
    ) -> anyhow::Result<TcpStream> {
        let body = say.body.as_ref().map(Value::to_string).unwrap_or_default();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !say.headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("host: {address}\r\n"));
        }
        for (name, value) in &say.headers {
            let bearer = if *name == "authorization" {
                "Bearer "
            } else {
                ""
            };
            head.push_str(&format!("{name}: {bearer}{value}\r\n"));
        }
        let mut stream = connect(address)?;
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        Ok(stream)
    }

    /// The server-sent events of a path, as they come, until the service ends the stream.
    pub fn events(
        &self,
        path: &str,
        say: &Say<'_>,
    ) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Sse>> + use<>> {
        let mut lines = BufReader::new(self.send("GET", path, say)?).lines();
        Ok(std::iter::from_fn(move || {
            let mut event = Sse::default();
            loop {
                let line = match lines.next()? {
                    Ok(line) => line,
                    Err(error) => return Some(Err(error.into())),
                };
                if let Some(text) = line.strip_prefix("id: ") {
                    event.id = text.to_owned();
                } else if let Some(text) = line.strip_prefix("event: ") {
                    event.name = text.to_owned();
                } else if let Some(text) = line.strip_prefix("data: ") {
                    match serde_json::from_str(text) {
                        Ok(data) => event.data = data,
                        Err(error) => return Some(Err(error.into())),
                    }
                } else if line.is_empty() && !event.name.is_empty() {
                    return Some(Ok(event));
                }
            }
        }))
    }

    /// A connection.
    pub fn connect(&self) -> anyhow::Result<TcpStream> {
        connect(self.address)
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer from its bytes.
pub fn heard(bytes: &[u8]) -> anyhow::Result<Heard> {
    let text = String::from_utf8(bytes.to_vec())?;
    let (head, rest) = text.split_once("\r\n\r\n").context("no answer")?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .context("no status")?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers
        .get("transfer-encoding")
        .is_some_and(|e| e == "chunked");
    Ok(Heard {
        status: status.parse()?,
        body: if chunked {
            unchunked(rest)
        } else {
            rest.to_owned()
        },
        headers,
    })
}

fn unchunked(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || behind.len() < size {
            break;
        }
        whole.push_str(&behind[..size]);
        rest = behind[size..].trim_start_matches("\r\n");
    }
    whole
}

impl World {
    /// Makes a key.
    pub fn key(&self, tenant: &str, role: &str, name: &str) -> anyhow::Result<String> {
        let args = [
            "key", "create", "--tenant", tenant, "--role", role, "--name", name,
        ];
        let said = self.host(&args)?;
        let key = said.json["key"].as_str();
        Ok(key.with_context(|| format!("{said:?}"))?.to_owned())
    }
}
