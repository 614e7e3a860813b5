//! The orderly end of a host (requirement 100): its steps, in this order, within the grace.
//!
//! 0. doors, where clients come in: nothing more is accepted, and streams end;
//! 1. admission: no session is begun, no step taken; the driver knows by the same token;
//! 2. calls: those under way are waited for, and each session ends its run in the journal;
//! 3. sessions: leases are given back;
//! 4. spans: the trace store goes on to the end of the journal, the file is synced;
//! 5. journal: the store is closed, which checkpoints SQLite's WAL, and the lock is let go.
//!
//! Invariant: a kill in any of them loses nothing, because none of them makes anything true. What
//! does not end in time is left as it is: its intent is durable, its run has no end, and the next
//! resume treats it as after a crash.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use stoplog_model::port::{Moment, Stage, Watch};
use tokio::time::{Instant, timeout_at};

use super::{Came, Crew, Host, Journal};

/// What of the grace is kept for the steps behind the calls: a tenth, two seconds at most.
const RESERVE_PART: u32 = 10;
/// See [`RESERVE_PART`].
const RESERVE_MAX: Duration = Duration::from_secs(2);

/// How long the journal is waited for when nobody hurries: a task that has ended may hold it for
/// a moment longer.
const UNHURRIED: Duration = Duration::from_secs(1);

/// Pause between two looks whether the journal is free.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One step of the shutdown, done or given up.
#[derive(Debug)]
pub(crate) struct Step {
    /// Which part of the host.
    pub(crate) component: &'static str,
    /// What became of it, for people.
    pub(crate) said: String,
    /// The same, counted.
    counts: Vec<(&'static str, u64)>,
    /// Whether it was done whole.
    done: bool,
    /// How long it took, milliseconds.
    pub(crate) ms: u64,
}

impl Step {
    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let mut told = json!({
            "component": self.component, "done": self.done, "said": self.said, "ms": self.ms,
        });
        for (name, count) in &self.counts {
            told[*name] = json!(count);
        }
        told
    }
}

/// What a closing crew tells, as it happens.
pub(crate) enum Told {
    /// A session ended.
    Came(Came),
    /// A step is done.
    Step(Step),
}

/// Whether anything goes on behind the closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing: all is closed.
    Nothing,
    /// So many sessions: the process should end without waiting for them.
    Sessions(usize),
}

/// The steps, as they are told and watched.
struct Steps<'a> {
    watch: Arc<dyn Watch>,
    tell: &'a mut (dyn FnMut(Told) + Send),
    began: Instant,
}

impl Steps<'_> {
    fn begin(&mut self) {
        self.watch
            .reached(Stage::ShutdownStep, Moment::Before, None);
        self.began = Instant::now();
    }

    fn end(
        &mut self,
        component: &'static str,
        done: bool,
        said: String,
        counts: Vec<(&'static str, u64)>,
    ) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (self.tell)(Told::Step(Step {
            component,
            said,
            counts,
            done,
            ms,
        }));
        self.watch.reached(Stage::ShutdownStep, Moment::After, None);
    }
}

impl Crew {
    /// Ends the host. Without a shutdown nobody is at work any more, and only the journal is
    /// closed, without a word. `unbegun`: sessions that wait for room and will not get it.
    pub(crate) async fn close(
        mut self,
        unbegun: usize,
        grace: Duration,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> Left {
        if !self.host.shutdown.is_cancelled() {
            let _ = flush(&self.host, Instant::now() + grace).await;
            let _ = close_journal(self.host, Instant::now() + UNHURRIED).await;
            return Left::Nothing;
        }
        let limit = Instant::now() + grace;
        let calls_until = limit - (grace / RESERVE_PART).min(RESERVE_MAX);
        let watch = self.host.watch.clone();
        let mut steps = Steps {
            watch,
            tell,
            began: Instant::now(),
        };

        let before = self.host.driver.calls();
        let mut serving = self.serving.take();
        if serving.is_some() {
            steps.begin();
            let said = "closed; nothing more is accepted".to_owned();
            steps.end("doors", true, said, Vec::new());
        }
        steps.begin();
        let said = format!("closed; {unbegun} session(s) not begun");
        steps.end("admission", true, said, vec![("not_begun", unbegun as u64)]);

        steps.begin();
        let mut came = std::mem::take(&mut self.to_give_back);
        while let Ok(Some(one)) = timeout_at(calls_until, self.join()).await {
            came.push(one);
        }
        if let Some(serving) = &mut serving {
            let drained = timeout_at(calls_until, serving.drain()).await;
            if drained.is_err() {
                serving.task.abort();
            }
        }
        drop(serving);
        let after = self.host.driver.calls();
        let finished = after.ended.saturating_sub(before.ended);
        let left = after.under_way();
        let mut said = format!("{finished} finished, {left} left");
        if left > 0 {
            said.push_str(" (checkpointed: the next resume recovers them)");
        }
        let counts = vec![("finished", finished), ("left", left)];
        steps.end("calls", left == 0, said, counts);

        steps.begin();
        let (back, kept) = give_back(&mut came, self.at_work.len(), limit).await;
        let said = format!("{back} given back, {kept} left");
        let counts = vec![("given_back", back), ("left", kept)];
        steps.end("sessions", kept == 0, said, counts);
        for one in came {
            (steps.tell)(Told::Came(one));
        }

        steps.begin();
        let flushed = flush(&self.host, limit).await;
        let said = flushed.as_ref().err().cloned();
        let said = said.unwrap_or_else(|| "flushed".into());
        steps.end("spans", flushed.is_ok(), said, Vec::new());

        steps.begin();
        let still_at_work = self.at_work.len();
        self.tasks.detach_all();
        let closed = close_journal(self.host, limit).await;
        let said = closed.as_ref().err().cloned();
        let said = said.unwrap_or_else(|| "closed".into());
        steps.end("journal", closed.is_ok(), said, Vec::new());

        match still_at_work {
            0 => Left::Nothing,
            n => Left::Sessions(n),
        }
    }
}

/// Gives back what ended in the shutdown. How many were, and how many are not.
async fn give_back(came: &mut [Came], at_work: usize, limit: Instant) -> (u64, u64) {
    let runs = came.iter_mut().filter_map(|one| match &mut one.result {
        Ok(Some(ran)) => Some(ran),
        Ok(None) | Err(_) => None,
    });
    // Who does not make it in time keeps its lease: the next host knows that we are dead.
    let _ = timeout_at(limit, join_all(runs.map(|ran| ran.give_back()))).await;
    let (mut back, mut kept) = (0, at_work as u64);
    for one in came {
        match &one.result {
            Ok(Some(ran)) if matches!(ran.given_back, Some(Ok(()))) => back += 1,
            Ok(Some(_)) => kept += 1,
            Ok(None) | Err(_) => {}
        }
    }
    (back, kept)
}

/// Brings the trace store to the end of the journal and lets go of it; syncs the file of spans.
async fn flush(host: &Host, limit: Instant) -> Result<(), String> {
    let caught_up = match host.take_projection() {
        Some(projection) => projection.end(limit).await,
        None => Ok(()),
    };
    let sink = host.journal.sink.clone();
    let synced = tokio::task::spawn_blocking(move || sink.sync());
    match timeout_at(limit, synced).await {
        Ok(Ok(Ok(()))) => caught_up.map_err(|why| format!("not flushed: {why}")),
        Ok(Ok(Err(error))) => Err(format!("not flushed: {error}")),
        Ok(Err(error)) => Err(format!("not flushed: {error}")),
        Err(_) => Err("not flushed in time; the journal brings them back".into()),
    }
}

/// Closes the rows, then lets the lock go. An error says who still has them.
async fn close_journal(host: Arc<Host>, until: Instant) -> Result<(), String> {
    let host = alone(host, until).await;
    let host = host.ok_or("left open: sessions are at work")?;
    let Journal {
        data, store, sink, ..
    } = host.journal;
    let store = alone(store, until).await;
    let store = store.ok_or("left open: it is in use")?;
    drop(sink);
    // Closing waits for the writer's thread and for the disk.
    let closing = tokio::task::spawn_blocking(move || drop(store));
    let closed = timeout_at(until, closing).await;
    drop(data);
    match closed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("not closed: {error}")),
        Err(_) => Err("not closed in time".into()),
    }
}

/// What nobody else has any more. A task that has ended may have it for a moment longer.
async fn alone<T>(mut shared: Arc<T>, until: Instant) -> Option<T> {
    loop {
        match Arc::try_unwrap(shared) {
            Ok(own) => return Some(own),
            Err(_) if Instant::now() >= until => return None,
            Err(still_shared) => shared = still_shared,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
