//! What a world leaves behind: its history for the oracle, its counts, and its journal in short.

use futures::executor::block_on;
use stoplog_model::event::{CallResult, Event};
use stoplog_model::outcome::{Aftermath, Disposition};
use stoplog_model::port::Clock;
use stoplog_model::session::Status;
use stoplog_model::{CallKey, Outcome, Position, Reason, Record, Session};

use crate::agent::said;
use crate::locked;
use crate::oracle::{Call, End, Ending, History, Shown};
use crate::world::{World, tenant};

/// Longest event in the journal of a failed seed, in characters.
const LINE_CHARS: usize = 400;

impl World {
    /// All that was seen, for the oracle.
    pub(crate) fn history(&mut self) -> History {
        let mut history = History {
            deeds: self.far.deeds(self.time.now_ms()),
            sent: self.far.sent(),
            asked: self.model.asked(),
            approved: self.approved.clone(),
            open_intents: block_on(self.store.open_intents())
                .unwrap_or_default()
                .into_iter()
                .map(|open| open.session)
                .collect(),
            ..History::default()
        };
        for id in self.sessions.clone() {
            let Some((records, session)) = self.load(&id) else {
                continue;
            };
            self.count_records(&records);
            self.count("session", session.status().as_str());
            transcript(&mut history, &session);
            history
                .wrong
                .extend(off_the_record(&id.to_string(), &records));
            history.wrong.extend(left_out(&history, &session));
        }
        history.wrong.extend(locked(&self.wrong).iter().cloned());
        history.wrong.extend(self.far.wrong());
        history
    }

    /// Every event, in short, for who looks into a seed.
    pub(crate) fn journal(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for id in &self.sessions {
            for record in self
                .load(id)
                .map(|(records, _)| records)
                .unwrap_or_default()
            {
                let at = record.event.position();
                let at = at.map_or_else(|| "-".to_owned(), |p| p.to_string());
                let text = match &record.event {
                    Event::SessionStarted(_) => String::new(),
                    event => format!("{event:?}").chars().take(LINE_CHARS).collect(),
                };
                lines.push(format!(
                    "{id} {} epoch {} at {} call {at} {}: {text}",
                    record.seq,
                    record.epoch,
                    record.at_ms,
                    record.event.kind(),
                ));
            }
        }
        lines
    }

    fn count_records(&self, records: &[Record]) {
        let mut coverage = locked(&self.coverage);
        let mut under_way = false;
        for record in records {
            coverage.count("event", record.event.kind());
            match &record.event {
                Event::RunStarted(_) => {
                    if under_way {
                        coverage.count("run", "died");
                    }
                    under_way = true;
                }
                Event::RunEnded(ended) => {
                    under_way = false;
                    let word = format!("{:?}", ended.outcome).to_lowercase();
                    coverage.count("run", word);
                }
                Event::OutcomeRecorded(recorded) => {
                    let word = match &recorded.outcome {
                        Outcome::Answered { .. } => "answered",
                        Outcome::NotSent { .. } => "not_sent",
                        Outcome::Unanswered { .. } => "unanswered",
                    };
                    coverage.count("outcome", word);
                }
                Event::ContextTrimmed(trimmed) => {
                    if !trimmed.cuts.is_empty() {
                        coverage.count("trim", "cut");
                    }
                    if trimmed.dropped_through > 0 {
                        coverage.count("trim", "dropped");
                    }
                }
                Event::Probed(probed) => coverage.count("finding", probed.finding.word()),
                Event::Parked(parked) => coverage.count("parked", parked.reason.code()),
                Event::Observed(observed) => {
                    coverage.count("disposition", observed.disposition.as_str());
                    let refused = observed.disposition == Disposition::Refused;
                    if let (true, CallResult::Err(error)) = (refused, &observed.result)
                        && let Some(reason) = error.reason
                    {
                        coverage.count("refused", reason.code());
                    }
                }
                _ => {}
            }
        }
    }
}

/// Turns that the journal has without the request that they answer.
fn off_the_record(session: &str, records: &[Record]) -> Vec<String> {
    let mut asked = 0;
    let mut wrong = Vec::new();
    for record in records {
        match &record.event {
            Event::ModelAsked(request) => asked = request.iteration,
            Event::TurnTaken(turn) if turn.iteration != asked => {
                wrong.push(format!(
                    "{session}: turn {} was asked for off the record",
                    turn.iteration
                ));
            }
            _ => {}
        }
    }
    wrong
}

/// What the journal of a session that ended says is left out, and what its model was told last.
fn left_out(history: &History, session: &Session) -> Option<String> {
    let name = session.started.session.to_string();
    let last = history.asked.iter().rev().find(|a| a.session == name)?;
    let of_journal = session.trims.last().map_or(0, |t| t.dropped_through);
    let is_over = session.status() == Status::Ended;
    (is_over && last.dropped != of_journal).then(|| {
        let told = last.dropped;
        format!("{name}: turns up to {of_journal} are left out, and the model was told {told}")
    })
}

/// The name by which the far side knows a call.
pub(crate) fn call_id(session: &Session, position: Position, tool: &str) -> String {
    CallKey::new(&tenant(), &session.started.session, position, tool)
        .as_str()
        .to_owned()
}

/// A session as the oracle wants it.
fn transcript(history: &mut History, session: &Session) {
    let name = session.started.session.to_string();
    let mut shown = Vec::new();
    for turn in &session.turns {
        shown.push(Shown::Turn {
            iteration: turn.turn.iteration,
            said: said(&turn.turn.text, &turn.turn.calls),
        });
        for call in &turn.calls {
            let position = Position {
                iteration: turn.turn.iteration,
                ordinal: call.call.ordinal,
            };
            let end = match call.observed.as_ref().map(|o| &o.result) {
                None => End::Open,
                Some(CallResult::Ok(_)) => End::Done,
                Some(CallResult::Err(error)) => End::Failed {
                    changed: changed(error.aftermath).to_owned(),
                },
            };
            if let Some(observed) = &call.observed {
                let (is_error, code, changed) = match &observed.result {
                    CallResult::Ok(_) => (false, String::new(), ""),
                    CallResult::Err(e) => {
                        let code = e.reason.map_or(e.code.as_str(), Reason::code);
                        (true, code.to_owned(), changed(e.aftermath))
                    }
                };
                shown.push(Shown::Result {
                    iteration: position.iteration,
                    ordinal: position.ordinal,
                    is_error,
                    code,
                    changed: changed.to_owned(),
                    text: String::new(),
                });
            }
            let text = |field: &str| call.call.arguments[field].as_str().unwrap_or("").to_owned();
            history.calls.push(Call {
                session: name.clone(),
                iteration: position.iteration,
                ordinal: position.ordinal,
                id: call_id(session, position, &call.call.tool),
                tool: call.call.tool.clone(),
                arguments: call.call.arguments.to_string(),
                name: text("name"),
                how: text("how"),
                end,
            });
        }
    }
    let ended = session.last_run().and_then(|r| r.ended.as_ref());
    history.endings.push(Ending {
        session: name,
        status: session.status().as_str().to_owned(),
        reason: ended
            .and_then(|e| e.reason)
            .map_or("", Reason::code)
            .to_owned(),
        shown,
    });
}

fn changed(aftermath: Aftermath) -> &'static str {
    match aftermath {
        Aftermath::Untouched => "nothing",
        Aftermath::Changed => "something",
        Aftermath::Unknown => "nobody knows",
    }
}
