//! The `stoplog` command, with one addition: it kills itself with SIGKILL at the stage that
//! `STOPLOG_DIE_AT` names, such as `intent_durable:after:1` (the first time that it gets there).
//!
//! The addition is here and not in the product: the product has no way to be told to die.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stoplog_model::Position;
use stoplog_model::port::{Moment, Stage, Unwatched, Watch};

struct DieAt {
    stage: Stage,
    moment: Moment,
    nth: u32,
    seen: AtomicU32,
}

impl Watch for DieAt {
    fn reached(&self, stage: Stage, moment: Moment, _: Option<Position>) {
        if (stage, moment) != (self.stage, self.moment) {
            return;
        }
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
            kill_self();
        }
    }
}

#[expect(unsafe_code, reason = "there is no safe way to send oneself SIGKILL")]
fn kill_self() {
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    loop {
        std::thread::park();
    }
}

fn die_at(text: &str) -> Option<DieAt> {
    let mut parts = text.split(':');
    let mut word = || parts.next().map(serde_json::Value::from);
    let stage = serde_json::from_value(word()?).ok()?;
    let moment = serde_json::from_value(word()?).ok()?;
    let nth = parts.next()?.parse().ok()?;
    Some(DieAt {
        stage,
        moment,
        nth,
        seen: AtomicU32::new(0),
    })
}

fn main() -> ExitCode {
    let watch: Arc<dyn Watch> = match std::env::var("STOPLOG_DIE_AT") {
        Err(_) => Arc::new(Unwatched),
        Ok(text) => match die_at(&text) {
            Some(die_at) => Arc::new(die_at),
            // A typo here would be a test that kills nobody and passes.
            None => return ExitCode::from(99),
        },
    };
    stoplog::main_with(std::env::args_os().collect(), watch)
}
