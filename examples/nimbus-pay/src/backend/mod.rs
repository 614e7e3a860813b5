//! The backend of NimbusPay: the far side of the agent's tools.
//!
//! It is a process of its own with a SQLite file of its own, and shares nothing with the host but
//! HTTP. It counts what it really did, and it can be told to misbehave.
//!
//! Invariants:
//! - What was done and the answer kept for its key are written in one transaction. There is no
//!   instant at which one is on disk and the other is not.
//! - No number is counted up. Every count is read from the rows, so none can disagree with them.
//! - A write that has arrived is carried through, even when its caller is gone. A look by key may
//!   therefore find nothing while the write is still to come.
//! - The backend does not protect the caller: two refunds of one order without a key are two
//!   refunds. Otherwise a test could not see the second.
//!
//! | request | answer |
//! |---|---|
//! | `GET /customers?email=` | one customer, or 404 |
//! | `GET /customers/{id}/orders` | the orders of a customer |
//! | `GET /policies/{topic}` | a policy's text, or 404 |
//! | `POST /refunds`, `/mails`, `/acts` | 201 and the id of what was done |
//! | `GET /refunds/by-key/{key}`, also mails and acts | everything done under that key |
//! | `DELETE /acts/by-key/{key}` | undoes the acts of that key |
//! | `GET /admin/counts`, `/admin/requests` | what was really done, and what was asked |
//! | `POST`, `GET`, `DELETE /admin/misbehave` | the [faults](Fault) to play, see [`Mode`] |
//!
//! Every POST takes an `Idempotency-Key`. A repeat gets the kept answer and the header
//! `idempotent-replayed: true`; the same key with other content gets 422 `idempotency_conflict`;
//! a repeat while the first is being done gets 409 and `Retry-After`. Refused requests are not
//! kept. A failure is `{"error": {"code", "message"}}`.

mod answer;
mod db;
mod deeds;
mod faults;
mod http;
mod ledger;
mod pipeline;
mod reads;
mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

pub use db::{open, seed};
pub use faults::{Fault, Mode};

/// How long open requests may go on after the end was asked for. A held answer would otherwise
/// keep the process alive for as long as it is held.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the backend on `listener` from the SQLite file `db`, until SIGTERM or ctrl-c.
///
/// Makes and seeds the file if it is new.
///
/// # Errors
///
/// The file cannot be opened, or the signals cannot be listened to.
pub async fn serve(listener: TcpListener, db: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for ctrl-c")?;
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_until(listener, db, end).await
}

/// Serves the backend like [`serve`], until `end` is ready.
///
/// # Errors
///
/// The file cannot be opened, or the server fails.
pub async fn serve_until(
    listener: TcpListener,
    db: &Path,
    end: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let mut connection = open(db)?;
    seed(&mut connection)?;
    let routes = http::routes(pipeline::App::new(connection));

    let (ending, ended) = oneshot::channel();
    let served = axum::serve(
        wire::CutListener::new(listener),
        routes.into_make_service_with_connect_info::<wire::Cut>(),
    )
    .with_graceful_shutdown(async move {
        end.await;
        let _ = ending.send(());
    });
    let out_of_grace = async {
        let _ = ended.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = served => served.context("serving the backend"),
        () = out_of_grace => Ok(()),
    }
}
