//! The host as a part of another program.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use stoplog::embed::{Caller, Host, Role, Tenant};
//!
//! let host = Host::open("stoplog.toml").await?;
//! let caller = Caller {
//!     tenant: Tenant::new("acme")?,
//!     name: "checkout".into(),
//!     role: Role::Agent,
//! };
//! let input = serde_json::json!({"order_id": "448100", "amount_inr": 6400, "reason": "delay"});
//! let answer = host.call(&caller, "issue_refund", input, Some("refund-448100")).await?;
//! host.close().await?;
//! # drop(answer);
//! # Ok(())
//! # }
//! ```
//!
//! It is the host of `stoplog serve` without its listener: sessions of an earlier process are gone on
//! with, calls go the way of every call, and a repeat under the same key is told what came of the
//! first one, also by the next process.
//!
//! Invariants:
//! * the program owns its process: no signal is listened to, nothing is printed to standard output,
//!   and nothing here ends it;
//! * a host that is dropped without [`Host::close`] is like one that was killed: nothing is lost, and
//!   the next one recovers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stoplog_model::port::Unwatched;
use stoplog_serve::Progress;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::commands::{Context, front};
use crate::config::Config;
use crate::error::{CliError, Exit};
use crate::host::Voice;

pub use stoplog_llm::{Message, Model, ModelError, ToolDefinition, TurnRequest};
pub use stoplog_model as model;
pub use stoplog_model::{SessionId, Tenant};
pub use stoplog_serve as doors;
pub use stoplog_serve::{Answer, Ask, Caller, Came, Found, Refusal, Role, RunAsk, Waiting};

/// How often a run is looked at, also when nobody told of a commit.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A host that is open. One for each data directory: a second one is refused.
pub struct Host {
    doors: Arc<dyn stoplog_serve::Host>,
    ended: JoinHandle<Result<Exit, CliError>>,
    /// Asks for the end when the host is dropped.
    end: DropGuard,
}

impl Host {
    /// Opens the host that a configuration file describes.
    ///
    /// # Errors
    ///
    /// Those of `stoplog serve`: the file, the lock, a tool or the journal is wrong, or another host
    /// works in the data directory.
    pub async fn open(config: impl AsRef<Path>) -> Result<Host, CliError> {
        Host::open_with(config, None).await
    }

    /// The same, with a model that the program brings; runs ask it in place of the configured one.
    ///
    /// # Errors
    ///
    /// As [`Host::open`].
    pub async fn open_with(
        config: impl AsRef<Path>,
        model: Option<Arc<dyn Model>>,
    ) -> Result<Host, CliError> {
        let path = config.as_ref().to_owned();
        let config = Config::load(&path)?;
        let shutdown = CancellationToken::new();
        let context = Context::embedded(path, Arc::new(Unwatched), shutdown.clone());
        let (opened, open) = oneshot::channel();
        let end = shutdown.clone();
        let opening: front::Open = Box::new(move |doors| {
            let _ = opened.send(doors);
            // The doors are open until the end is asked for.
            tokio::spawn(async move { end.cancelled().await })
        });
        let ended = tokio::spawn(async move {
            let voice = match model {
                Some(model) => Voice::Given(model),
                None => Voice::Configured(None),
            };
            front::run(&context, config, voice, opening).await
        });
        match open.await {
            Ok(doors) => Ok(Host {
                doors,
                ended,
                end: shutdown.drop_guard(),
            }),
            // It ended before it was open: it says why.
            Err(_) => match ended.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) => Err(CliError::internal("the host ended before it was open")),
                Err(error) => Err(CliError::internal(error.to_string())),
            },
        }
    }

    /// Has a tool called once. With a key, a repeat with the same input is told what came of the first
    /// one; without, the act key of the tool does.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with its reason code: another call under this key, one under way, the host is
    /// closing. What the tool itself says is no error here: see [`Came`].
    pub async fn call(
        &self,
        caller: &Caller,
        tool: &str,
        input: Value,
        key: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let ask = Ask {
            tool: tool.to_owned(),
            arguments: input,
            key: key.map(str::to_owned),
            conversation: String::new(),
            program: "embedded".to_owned(),
        };
        self.doors.call(caller, ask).await
    }

    /// Runs the agent on a task until it has ended, failed, or waits for a person. It is in the journal
    /// before anything is done; with a key, a repeat follows the run that is there.
    ///
    /// # Errors
    ///
    /// As [`Host::call`].
    pub async fn run(
        &self,
        caller: &Caller,
        task: &str,
        key: Option<&str>,
    ) -> Result<Found, Refusal> {
        let ask = RunAsk {
            task: task.to_owned(),
            feature: None,
            user: None,
            key: key.map(str::to_owned),
        };
        let mut commits = self.doors.commits();
        let session = self.doors.admit(caller, ask).await?.session;
        loop {
            let found = self.doors.find(caller, &session).await?;
            if found.progress == Progress::AtRest {
                return Ok(found);
            }
            let _ = tokio::time::timeout(LOOK_EVERY, commits.recv()).await;
        }
    }

    /// All that the doors can do: approvals, parked calls, traces; and what
    /// [`stoplog_serve::serve`] takes, for a program that serves clients besides.
    pub fn doors(&self) -> Arc<dyn stoplog_serve::Host> {
        self.doors.clone()
    }

    /// Ends in order, within the configured grace: calls under way are finished, sessions given back,
    /// the journal closed. Drop what [`Host::doors`] gave before.
    ///
    /// # Errors
    ///
    /// What made the host end before it was asked to.
    pub async fn close(self) -> Result<(), CliError> {
        let Host { doors, ended, end } = self;
        drop(doors);
        drop(end);
        match ended.await {
            Ok(ended) => ended.map(|_| ()),
            Err(error) => Err(CliError::internal(error.to_string())),
        }
    }
}
