//! From the first event to the last: links, columns, the fold, and what the events imply.

use std::collections::BTreeMap;

use stoplog_journal::{ActKeyRow, Batch, Head, Link, OpenIntentRow, Row, chain, codec};
use stoplog_model::Session;

use super::{Flaw, Written};

/// A session as its events say it.
pub struct Walk {
    /// The fold.
    pub session: Session,
    /// Link of the last event; of no meaning without a chain.
    pub last: Link,
    /// Largest epoch.
    pub epoch: u64,
    /// Time of the last event, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Intents that are open, by position and label.
    pub open: BTreeMap<(u32, u32, String), OpenIntentRow>,
    /// Claims of acts, by scope and key.
    pub claims: BTreeMap<(String, String), ActKeyRow>,
    /// What its calls wrote into the state of tools, in order.
    pub written: Vec<Written>,
}

impl Walk {
    /// What the sessions table shows.
    pub fn head(&self) -> Head {
        codec::head(&self.session)
    }

    /// What a commit with this event does to the small tables.
    fn take(&mut self, batch: Batch) {
        self.written.extend(Written::of(&batch));
        for open in batch.opened {
            let place = (open.iteration, open.ordinal, open.label.clone());
            self.open.insert(place, open);
        }
        for (iteration, ordinal, label) in batch.closed {
            self.open.retain(|(i, o, l), _| {
                (*i, *o) != (iteration, ordinal) || label.as_ref().is_some_and(|label| label != l)
            });
        }
        for claim in batch.claims {
            let act = (claim.scope.clone(), claim.key.clone());
            self.claims.insert(act, claim);
        }
        for (scope, key, iteration, ordinal) in batch.released {
            let act = (scope, key);
            let is_own = |c: &ActKeyRow| (c.iteration, c.ordinal) == (iteration, ordinal);
            if self.claims.get(&act).is_some_and(is_own) {
                self.claims.remove(&act);
            }
        }
    }
}

/// Walks the rows of a session. None for no rows.
pub fn walk(name: &str, rows: &[Row], has_chain: bool) -> Result<Option<Walk>, Flaw> {
    let mut walked: Option<Walk> = None;
    let mut before = (chain::genesis(name), 0, 0);
    for row in rows {
        let flaw = |what: String| Flaw {
            session: name.to_owned(),
            seq: Some(row.seq),
            kind: row.kind.clone(),
            what,
        };
        check_place(row, before, has_chain).map_err(flaw)?;
        let record = codec::decode(row).map_err(|e| flaw(e.to_string()))?;
        let batch = match &mut walked {
            None => {
                let session = Session::begin(&record).map_err(|e| flaw(e.to_string()))?;
                if session.started.session.as_str() != name {
                    return Err(flaw(format!("it begins {}", session.started.session)));
                }
                walked = Some(Walk {
                    session,
                    last: row.chain,
                    epoch: row.epoch,
                    at_ms: row.at_ms,
                    open: BTreeMap::new(),
                    claims: BTreeMap::new(),
                    written: Vec::new(),
                });
                None
            }
            Some(walk) => {
                walk.session
                    .apply(&record)
                    .map_err(|e| flaw(e.to_string()))?;
                let implied = codec::implied(&record, &walk.session, row.chain);
                Some(implied.map_err(|e| flaw(e.to_string()))?)
            }
        };
        if let Some(walk) = &mut walked {
            if let Some(batch) = batch {
                check_columns(row, &batch).map_err(flaw)?;
                walk.take(batch);
            }
            walk.last = row.chain;
            walk.epoch = row.epoch;
            walk.at_ms = row.at_ms;
        }
        before = (row.chain, row.seq, row.epoch);
    }
    Ok(walked)
}

fn check_place(row: &Row, before: (Link, u64, u64), has_chain: bool) -> Result<(), String> {
    let (link, seq, epoch) = before;
    if row.seq != seq + 1 {
        return Err(format!("event {} was expected", seq + 1));
    }
    if has_chain && chain::link(&link, row) != row.chain {
        return Err("it, or its link, is not what was written".into());
    }
    if row.epoch < epoch {
        return Err(format!(
            "epoch {} wrote it, behind epoch {epoch}",
            row.epoch
        ));
    }
    Ok(())
}

/// The columns beside the body, which people and indexes read. A name of an unknown tool and a
/// summary are made for reading, and may be made otherwise by another version.
fn check_columns(row: &Row, batch: &Batch) -> Result<(), String> {
    let Some(implied) = batch.rows.first() else {
        return Ok(());
    };
    let columns = |r: &Row| (r.iteration, r.ordinal, r.args_digest.clone(), r.key.clone());
    if columns(row) == columns(implied) {
        return Ok(());
    }
    Err("its columns are not what its body says".into())
}
