//! The folded sessions of a projector: those that go on are kept, as far as there is room.
//!
//! Invariants: a maker has taken every event of its session up to its last one, each once, each with
//! its link checked; so what is not here, or is behind or ahead, is read again from the journal.

use std::collections::{BTreeMap, HashMap};

use stoplog_journal::{JournalError, Link, Part, Row, Store, StoreError, chain, codec, read_one};
use stoplog_model::session::IllegalEvent;
use stoplog_model::{Record, SessionId};

use crate::maker::SpanMaker;
use crate::row::SpanRow;
use crate::span::Span;

/// What became of an event.
pub(crate) enum Taken {
    /// It completed these spans.
    Made(Vec<Span>),
    /// Its session is not what was written, or the event is not legal.
    Broken(String),
    /// Its session was pruned meanwhile.
    Gone,
}

struct Kept {
    maker: SpanMaker,
    /// Link of the last event.
    link: Link,
    /// Bytes of its events.
    bytes: usize,
    /// When it was used last.
    used: u64,
}

/// Makers by session.
#[derive(Default)]
pub(crate) struct Makers {
    kept: HashMap<String, Kept>,
    bytes: usize,
    clock: u64,
}

impl Makers {
    /// Bytes of events of all that is kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Makers::default();
    }

    /// Takes the next event of a session.
    pub(crate) async fn take(
        &mut self,
        journal: &dyn Store,
        session: &str,
        row: &Row,
    ) -> Result<Taken, StoreError> {
        if row.seq == 1 {
            self.forget(session);
        } else if self.last_seq(session) + 1 != row.seq {
            match self.reload(journal, session, row.seq - 1).await {
                Ok(true) => {}
                Ok(false) => return Ok(Taken::Gone),
                Err(error) => return broken_or(error),
            }
        }
        let record = match codec::decode(row) {
            Ok(record) => record,
            Err(error) => return broken_or(error.into()),
        };
        let before = self.kept.get(session).map(|kept| kept.link);
        let before = before.unwrap_or_else(|| chain::genesis(session));
        // A journal that no host of this version has opened yet has no chain.
        if row.chain != Link::default() && chain::link(&before, row) != row.chain {
            self.forget(session);
            return Ok(Taken::Broken(
                "it, or its link, is not what was written".into(),
            ));
        }
        match self.push(session, &record, row) {
            Ok(made) => Ok(Taken::Made(made)),
            Err(illegal) => {
                self.forget(session);
                Ok(Taken::Broken(illegal.to_string()))
            }
        }
    }

    /// What is open of a session that is kept.
    pub(crate) fn open(&self, session: &str, host_lives: bool) -> Vec<SpanRow> {
        let kept = self.kept.get(session);
        let open = kept.map(|kept| kept.maker.open(host_lives));
        open.unwrap_or_default().iter().map(SpanRow::of).collect()
    }

    /// Makes sure that a session is kept, as the journal has it. False: it has none, or it is broken.
    pub(crate) async fn load(
        &mut self,
        journal: &dyn Store,
        id: &SessionId,
    ) -> Result<bool, StoreError> {
        if self.kept.contains_key(id.as_str()) {
            return Ok(true);
        }
        match self.reload(journal, id.as_str(), u64::MAX).await {
            Ok(found) => Ok(found),
            Err(error) => broken_or(error).map(|_| false),
        }
    }

    /// Lets go of these sessions if nothing comes behind their last event, and then of those that
    /// were used longest ago, until there are so many bytes at most.
    pub(crate) fn shrink(&mut self, touched: &[String], bytes: usize) {
        for session in touched {
            if self
                .kept
                .get(session)
                .is_some_and(|kept| kept.maker.is_over())
            {
                self.forget(session);
            }
        }
        if self.bytes <= bytes {
            return;
        }
        let ages = self.kept.iter().map(|(s, kept)| (kept.used, s.clone()));
        let by_age: BTreeMap<u64, String> = ages.collect();
        // Somewhat further than needed, or the next step begins with this again.
        let enough = bytes / 4 * 3;
        for session in by_age.into_values() {
            if self.bytes <= enough {
                return;
            }
            self.forget(&session);
        }
    }

    fn last_seq(&self, session: &str) -> u64 {
        self.kept
            .get(session)
            .map_or(0, |kept| kept.maker.last_seq())
    }

    fn forget(&mut self, session: &str) {
        if let Some(kept) = self.kept.remove(session) {
            self.bytes -= kept.bytes;
        }
    }

    /// Reads a session again, up to an event. False: it is not there.
    async fn reload(
        &mut self,
        journal: &dyn Store,
        session: &str,
        through: u64,
    ) -> Result<bool, JournalError> {
        self.forget(session);
        let Ok(id) = SessionId::new(session) else {
            return Ok(false);
        };
        let reading = read_one(journal, &id, Part::Whole).await?;
        chain::check(session, &reading)?;
        for row in reading.rows.iter().take_while(|r| r.seq <= through) {
            let record = codec::decode(row)?;
            self.push(session, &record, row)?;
        }
        let last = self.last_seq(session);
        Ok(last == through || (through == u64::MAX && last > 0))
    }

    fn push(
        &mut self,
        session: &str,
        record: &Record,
        row: &Row,
    ) -> Result<Vec<Span>, IllegalEvent> {
        self.clock += 1;
        let kept = self.kept.entry(session.to_owned()).or_insert_with(|| Kept {
            maker: SpanMaker::default(),
            link: chain::genesis(session),
            bytes: 0,
            used: 0,
        });
        kept.used = self.clock;
        kept.bytes += row.body.len();
        kept.link = row.chain;
        self.bytes += row.body.len();
        kept.maker.push(record)
    }
}

/// What is wrong with a session is its own affair; a journal that cannot be read now is everybody's.
fn broken_or(error: JournalError) -> Result<Taken, StoreError> {
    match error {
        JournalError::Store(StoreError::Corrupt(what)) => Ok(Taken::Broken(what)),
        JournalError::Store(other) => Err(other),
        other => Ok(Taken::Broken(other.to_string())),
    }
}
