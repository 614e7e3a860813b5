//! SIGTERM and SIGINT: the first asks for an orderly shutdown, the second ends the process at once.
//!
//! Only the command installs this: everything below is handed a token. The listener has a thread
//! of its own, so a second signal counts however busy the host is. It runs no destructor and
//! writes nothing: it is as safe as a kill, because a kill is.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::CliError;

/// Exit code after a second signal: 128 and the signal's number, as shells have it.
const EXIT_SIGINT: i32 = 130;
/// See [`EXIT_SIGINT`].
const EXIT_SIGTERM: i32 = 143;

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Waits for either. The exit code that it stands for.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => EXIT_SIGINT,
            _ = self.terminate.recv() => EXIT_SIGTERM,
        }
    }
}

/// Starts to listen. The token is cancelled by the first signal.
pub(crate) fn listen() -> Result<CancellationToken, CliError> {
    let failed = |e: std::io::Error| CliError::internal(format!("no signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        }
    };
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    let listener = async move {
        signals.next().await;
        asked.cancel();
        let code = signals.next().await;
        std::process::exit(code);
    };
    std::thread::Builder::new()
        .name("stoplog-signals".into())
        .spawn(move || runtime.block_on(listener))
        .map_err(failed)?;
    Ok(shutdown)
}
