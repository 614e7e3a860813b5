//! From the journal to the trace store, off the way of every call.
//!
//! Invariants:
//! * it reads what is committed, and writes to the trace store alone: whatever happens here, no call
//!   is slower for it, and none fails;
//! * a step moves the place and the spans in one transaction, so a kill anywhere repeats nothing and
//!   leaves nothing out; two projectors over one store take turns, whoever is second starts again
//!   from where the store is;
//! * what it keeps in memory is bounded ([`Bounds`]), however many sessions are open;
//! * a session that is damaged is told by name, and holds up no other.
//!
//! What may go wrong: the trace store is full, locked or damaged. Then a step is an error, and the
//! next try goes on from the same place.

use std::sync::Arc;

use stoplog_journal::{Feed, Portion, Row, SessionRow, Store, StoreError, Which};
use stoplog_model::SessionId;

use crate::makers::{Makers, Taken};
use crate::row::SpanRow;
use crate::traces::{Advance, BrokenSession, OpenSpans, TraceError, TraceStore};

/// Bounds of a projector's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of a step: few enough that a step is over in a moment.
    pub rows: usize,
    /// Bytes of the bodies of a step; one row may be larger.
    pub bytes: usize,
    /// Bytes of events whose sessions are kept folded between two steps. A session that is not, and
    /// goes on, is read again from its first event.
    pub folded_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            rows: 2_000,
            bytes: 8 * 1024 * 1024,
            folded_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Why a step was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] StoreError),
    /// The trace store could not be used.
    #[error(transparent)]
    Traces(#[from] TraceError),
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stepped {
    /// Events that were read.
    pub events: u64,
    /// Spans that are over.
    pub spans: u64,
    /// Whether it came to the end of the journal.
    pub is_end: bool,
}

/// Follows a journal.
pub struct Projector {
    feed: Arc<dyn Feed>,
    journal: Arc<dyn Store>,
    traces: Arc<dyn TraceStore>,
    bounds: Bounds,
    makers: Makers,
}

impl Projector {
    /// A projector over an open journal and an open trace store.
    pub fn new<J: Store + Feed + 'static>(
        journal: Arc<J>,
        traces: Arc<dyn TraceStore>,
        bounds: Bounds,
    ) -> Projector {
        Projector {
            feed: journal.clone(),
            journal,
            traces,
            bounds,
            makers: Makers::default(),
        }
    }

    /// Bytes of events whose sessions are in memory.
    pub fn folded_bytes(&self) -> usize {
        self.makers.bytes()
    }

    /// Goes on to the end of the journal as it is then.
    pub async fn catch_up(&mut self) -> Result<Stepped, ProjectError> {
        let mut all = Stepped::default();
        loop {
            let step = self.step().await?;
            all.events += step.events;
            all.spans += step.spans;
            all.is_end = step.is_end;
            if step.is_end {
                return Ok(all);
            }
        }
    }

    /// One step.
    pub async fn step(&mut self) -> Result<Stepped, ProjectError> {
        let from = self.traces.progress().await?;
        let portion = Portion {
            rows: self.bounds.rows,
            bytes: self.bounds.bytes,
        };
        let Some(fed) = self.feed.feed(&from.cursor, portion).await? else {
            tracing::warn!("the trace store follows another journal: it is made anew");
            self.makers.clear();
            self.traces.begin_anew().await?;
            return Ok(Stepped::default());
        };
        let is_end = !fed.has_more;
        if fed.rows.is_empty() && !from.is_remaking {
            return Ok(Stepped {
                is_end,
                ..Stepped::default()
            });
        }
        let events = fed.rows.len() as u64;
        let mut step = Advance {
            from,
            to: fed.cursor,
            is_end,
            ..Advance::default()
        };
        for (session, row) in fed.rows {
            self.take(session, row, &mut step).await?;
        }
        step.touched.sort_unstable();
        step.touched.dedup();
        step.open = self.open_of(&step.touched);
        let spans = step.finished.len() as u64;
        let touched = step.touched.clone();
        let taken = self.traces.advance(step).await?;
        if !taken {
            // Somebody else was first: what is folded here may be ahead of the store.
            self.makers.clear();
            return Ok(Stepped::default());
        }
        self.makers.shrink(&touched, self.bounds.folded_bytes);
        Ok(Stepped {
            events,
            spans,
            is_end,
        })
    }

    async fn take(
        &mut self,
        session: String,
        row: Row,
        step: &mut Advance,
    ) -> Result<(), ProjectError> {
        let seq = row.seq;
        match self.makers.take(&*self.journal, &session, &row).await? {
            Taken::Made(spans) => step.finished.extend(spans.iter().map(SpanRow::of)),
            Taken::Broken(what) => {
                tracing::error!(session, seq, what, "no spans of this session any more");
                step.broken.push(BrokenSession {
                    session_id: session.clone(),
                    seq,
                    what,
                });
            }
            Taken::Gone => return Ok(()),
        }
        step.touched.push(session);
        Ok(())
    }

    /// What is open of these sessions, as of hosts that live.
    fn open_of(&self, sessions: &[String]) -> Vec<OpenSpans> {
        let of = |session: &String| OpenSpans {
            session_id: session.clone(),
            rows: self.makers.open(session, true),
        };
        sessions.iter().map(of).collect()
    }

    /// Looks after the runs without an end: one whose host is dead is shown so from here on, before
    /// anybody resumes it. `lives` says of a session, as it is listed, whether a host has it.
    pub async fn look_after(
        &mut self,
        lives: impl Fn(&SessionRow) -> bool,
    ) -> Result<(), ProjectError> {
        let mut open = Vec::new();
        for run in self.traces.open_runs().await? {
            let Ok(id) = SessionId::new(run.session_id.clone()) else {
                continue;
            };
            let listed = self.journal.sessions(Which::One(&id)).await?.pop();
            let is_alive = listed.as_ref().is_some_and(&lives);
            if is_alive == run.is_running {
                continue;
            }
            if !self.makers.load(&*self.journal, &id).await? {
                continue;
            }
            open.push(OpenSpans {
                rows: self.makers.open(&run.session_id, is_alive),
                session_id: run.session_id,
            });
            self.makers.shrink(&[], self.bounds.folded_bytes);
        }
        if open.is_empty() {
            return Ok(());
        }
        let from = self.traces.progress().await?;
        let to = from.cursor.clone();
        // Refused: somebody else goes on with it, and whoever looks next looks after them.
        self.traces
            .advance(Advance {
                from,
                to,
                open,
                ..Advance::default()
            })
            .await?;
        Ok(())
    }
}
