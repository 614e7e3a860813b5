//! The people of a world: they approve, reject or never answer, and they look at the far side
//! before they say what became of a parked call.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use stoplog_journal::{JournalError, SessionJournal};
use stoplog_model::event::{ApprovalDecided, Event, ParkResolved, Resolution, Verdict};
use stoplog_model::port::Clock;
use stoplog_model::session::CallState;
use stoplog_model::{Position, Reason, Session, SessionId};

use crate::life::{Life, Plan};
use crate::locked;
use crate::oracle::Approved;
use crate::tools::writer;
use crate::transcript::call_id;
use crate::world::World;

/// A person who never decides lets this pass: more than the 15 minutes that there are.
const NEVER_MS: u64 = 16 * 60 * 1000;

impl World {
    /// Everything that waits for a person, in every session. The sessions that a host should take
    /// up.
    pub(crate) fn people(&mut self) -> Vec<SessionId> {
        let mut unfinished = Vec::new();
        for id in self.sessions.clone() {
            let Some((_, session)) = self.load(&id) else {
                unfinished.push(id);
                continue;
            };
            if self.is_final(&session) {
                continue;
            }
            unfinished.push(id.clone());
            let calls: Vec<(Position, CallState)> =
                session.calls().map(|(p, c)| (p, c.clone())).collect();
            for (position, call) in calls {
                let events = self.decided(&session, position, &call);
                if !events.is_empty()
                    && let Err(e) = self.write(&id, events)
                {
                    locked(&self.wrong).push(format!("a person cannot write: {e}"));
                }
            }
        }
        unfinished
    }

    /// What a person says of a call, if it waits for one.
    fn decided(&mut self, session: &Session, position: Position, call: &CallState) -> Vec<Event> {
        if let Some(parked) = &call.parked {
            // Now and then nobody has time.
            if self.dice.percent(10) {
                return Vec::new();
            }
            let resolution = self.resolution(session, position, call, parked.reason);
            let by = "Meera".to_owned();
            let note = String::new();
            return vec![Event::ParkResolved(ParkResolved {
                position,
                resolution,
                by,
                note,
            })];
        }
        let now_ms = self.time.now_ms();
        let Some(state) = call.approval.as_ref().filter(|a| a.is_pending(now_ms)) else {
            return Vec::new();
        };
        let verdict = match self.dice.below(10) {
            0..=6 => Verdict::Approved,
            7 => Verdict::Rejected,
            8 => {
                self.count("person", "never");
                self.schedule.push("a person never decides".to_owned());
                self.time.pass(NEVER_MS);
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        if verdict == Verdict::Approved {
            self.count("person", "approve");
            self.approved.push(Approved {
                call: call_id(session, position, &call.call.tool),
                arguments: state.approval.arguments.to_string(),
                at_ms: now_ms,
            });
        } else {
            self.count("person", "reject");
        }
        self.schedule.push(format!(
            "a person says {verdict:?} to {}/{position}",
            session.started.session
        ));
        vec![Event::ApprovalDecided(ApprovalDecided {
            id: state.approval.id.clone(),
            position,
            verdict,
            by: "Meera".to_owned(),
            note: String::new(),
        })]
    }

    /// The truth, once everything under way has come to its end.
    fn resolution(
        &mut self,
        session: &Session,
        position: Position,
        call: &CallState,
        reason: Reason,
    ) -> Resolution {
        self.settle();
        let id = call_id(session, position, &call.call.tool);
        if reason == Reason::FoundSeveral {
            self.far.correct(&id);
        }
        let deeds = self.far.deeds(self.time.now_ms());
        let own: Vec<_> = deeds
            .iter()
            .filter(|d| d.call == id && d.in_force())
            .collect();
        let parts: BTreeSet<&str> = own.iter().map(|d| d.part.as_str()).collect();
        let wanted = writer(&call.call.tool).map_or(1, |k| k.parts.len());
        let is_observed = call.observed.is_some();
        let gives_up = self.dice.percent(15);
        let knows_output = self.dice.percent(50);
        let (word, resolution) = match own.first() {
            None if gives_up => ("abandon", Resolution::Abandon),
            None => ("not_done", Resolution::NotDone),
            Some(_) if parts.len() < wanted && gives_up => ("abandon", Resolution::Abandon),
            Some(deed) if parts.len() == wanted && knows_output && !is_observed => {
                let output = json!({ "act_id": deed.id });
                ("done_output", Resolution::Done(Some(output)))
            }
            Some(_) => ("done", Resolution::Done(None)),
        };
        self.count("person", word);
        self.schedule.push(format!(
            "a person says {word} of {}/{position}, parked for {}",
            session.started.session,
            reason.code()
        ));
        resolution
    }

    /// Writes under the session's lease, as the command of a person does.
    fn write(&self, id: &SessionId, events: Vec<Event>) -> Result<(), JournalError> {
        let life = Life::new(Plan::Live, None, self.far.clone(), self.time.clone());
        let opening = self.opening(&life, "Meera", true);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap_or_else(|e| panic!("no runtime: {e}"));
        runtime.block_on(async {
            let journal = Arc::new(SessionJournal::open(opening, id).await?);
            journal.append(events).await?;
            journal.close().await
        })
    }
}
