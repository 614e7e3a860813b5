//! An effect in doubt: found out, sent again, taken back, or parked.
//!
//! Every step is journalled before the next is taken, so a crash in the middle of a recovery is
//! met by the same rules as the crash before it.

use stoplog_journal::JournalError;
use stoplog_model::event::{CallResult, Event, ProbePurpose, Probed, Undone};
use stoplog_model::key::UNDO_LABEL;
use stoplog_model::outcome::{Aftermath, Disposition, ErrorCode, Finding, ToolError};
use stoplog_model::port::{Entry, Returned};
use stoplog_model::session::{CallState, EffectState};
use stoplog_model::{Outcome, Reason};
use stoplog_policy::recovery::{Cure, Doubt, cure, pause_before_sending_ms};
use stoplog_policy::{Clearance, Facts, Judgement, aftermath, judge};

use crate::dispatcher::{Dispatched, Dispatcher, Passage, Wait};
use crate::execute::{Executed, Mode};
use crate::gate::Rights;

/// The far side answered the undo with success, and the host died before it wrote that the call is
/// undone. The answer of the call itself counts for nothing then; the undo is run to its end, on
/// its recorded answer.
pub(crate) fn undo_answered(call: &CallState) -> bool {
    call.effect(UNDO_LABEL)
        .is_some_and(|e| e.aftermath() == Aftermath::Changed)
}

fn is_answered(effect: &EffectState) -> bool {
    matches!(effect.outcome, Some(Outcome::Answered { .. }))
}

impl Dispatcher {
    /// Cures a call that ended in doubt. `error` is what the tool said, if it said something.
    pub(crate) async fn recover(
        &self,
        passage: &mut Passage,
        mut error: Option<ToolError>,
        after_crash: bool,
    ) -> Result<Dispatched, JournalError> {
        // With the time at which the far side was asked.
        let mut finding: Option<(Finding, u64)> = None;
        let mut rounds = 1;
        loop {
            passage.journal.flush().await?;
            passage.refresh();
            let doubt = self.doubt(passage, finding.clone(), rounds, after_crash);
            if let Some(dispatched) = self.contradiction(passage, &doubt).await? {
                return Ok(dispatched);
            }
            if let Some(dispatched) = self.undo_in_doubt(passage).await? {
                return Ok(dispatched);
            }
            let step = match undo_answered(&passage.call) {
                true => Cure::Undo,
                false => cure(&doubt),
            };
            tracing::info!(position = %passage.position, ?step, "recovery");
            match step {
                Cure::Probe => {
                    // Without a declared settling time an absence clears up nothing: a request
                    // that nobody answered may still be under way.
                    let settled = doubt.settles_within_ms > 0
                        && doubt.now_ms >= doubt.since_ms + doubt.settles_within_ms;
                    let found = self.probe(passage, ProbePurpose::Recovery, settled).await?;
                    finding = Some((found, doubt.now_ms));
                }
                Cure::WaitUntil(ms) => {
                    let wait_ms = ms.saturating_sub(self.clock.now_ms());
                    if !self.pause(wait_ms).await {
                        return Ok(Dispatched::Waits(Wait::ShuttingDown));
                    }
                    finding = None;
                }
                Cure::Accept(output) => match self.schemas.output(&passage.pin, &output) {
                    Ok(value) => {
                        let result = CallResult::Ok(value);
                        return self
                            .observe_recovered(passage, Disposition::Probed, result)
                            .await;
                    }
                    Err(why) => finding = Some((Finding::Unknown { why }, doubt.now_ms)),
                },
                Cure::SendAgain => {
                    let pause_ms = pause_before_sending_ms(doubt.sent, after_crash && rounds == 1);
                    if !self.pause(pause_ms).await {
                        return Ok(Dispatched::Waits(Wait::ShuttingDown));
                    }
                    match self.run_again(passage).await? {
                        Executed::Over(dispatched) => return Ok(dispatched),
                        Executed::Doubt(e) => error = e.or(error),
                    }
                    finding = None;
                    rounds += 1;
                }
                Cure::Undo => {
                    let pause_ms = match rounds {
                        1 => 0,
                        _ => pause_before_sending_ms(doubt.sent, false),
                    };
                    if !self.pause(pause_ms).await {
                        return Ok(Dispatched::Waits(Wait::ShuttingDown));
                    }
                    if let Some(parked) = self.undo(passage).await? {
                        return Ok(parked);
                    }
                    match self.run_again(passage).await? {
                        Executed::Over(dispatched) => return Ok(dispatched),
                        Executed::Doubt(e) => error = e.or(error),
                    }
                    finding = None;
                    rounds += 1;
                }
                Cure::GiveUp => return self.give_up(passage, error).await,
                Cure::Park(reason, detail) => return self.park(passage, reason, detail).await,
            }
        }
    }

    /// What is known about the doubt, as the rules want it.
    fn doubt(
        &self,
        passage: &Passage,
        finding: Option<(Finding, u64)>,
        rounds: u32,
        after_crash: bool,
    ) -> Doubt {
        let (finding, asked_at_ms) = finding.unzip();
        let contract = &passage.pin.contract;
        let own: Vec<&EffectState> = passage
            .call
            .effects
            .iter()
            .filter(|e| e.intent.label != UNDO_LABEL)
            .collect();
        let unsettled = own.iter().find(|e| aftermath::inconclusive(e));
        let touched_ms = own.iter().map(|e| e.touched_at_ms).max().unwrap_or(0);
        // A host that died may have sent until it died: before the present run began.
        let died_by_ms = if after_crash {
            passage
                .journal
                .read(|s| s.last_run().map_or(0, |r| r.began_at_ms))
        } else {
            0
        };
        Doubt {
            class: passage.pin.class,
            keeps_keys: contract.keeps_keys,
            settles_within_ms: contract.settles_within_ms.into(),
            since_ms: touched_ms.max(died_by_ms),
            now_ms: asked_at_ms.unwrap_or_else(|| self.clock.now_ms()),
            answered: unsettled.is_none() && !own.is_empty() && own.iter().all(|e| is_answered(e)),
            sent: unsettled.map_or(rounds, |e| e.intent.attempt.max(rounds)),
            one_of_several: own.len() > 1 || own.iter().any(|e| e.intent.one_of_several),
            undone: passage
                .call
                .effect(UNDO_LABEL)
                .map_or(0, |e| e.intent.attempt)
                .max(passage.call.undone),
            finding,
        }
    }

    /// The far side answered that it did it, and now says that it did not.
    async fn contradiction(
        &self,
        passage: &Passage,
        doubt: &Doubt,
    ) -> Result<Option<Dispatched>, JournalError> {
        let settled = doubt.now_ms >= doubt.since_ms + doubt.settles_within_ms;
        let effects = &passage.call.effects;
        let changed = aftermath::believed(Aftermath::Untouched, effects) == Aftermath::Changed;
        if !(changed && settled && doubt.finding == Some(Finding::Absent)) {
            return Ok(None);
        }
        let detail = "the far side answered that it did this, and has nothing under its key now";
        Ok(Some(
            self.park(passage, Reason::LedgerMismatch, detail.into())
                .await?,
        ))
    }

    /// Sent often enough, and the far side says that it has nothing. That is believed when the
    /// tool declares a settling time, and it has passed; otherwise a request that nobody answered
    /// may still be under way, and a person must look.
    async fn give_up(
        &self,
        passage: &Passage,
        error: Option<ToolError>,
    ) -> Result<Dispatched, JournalError> {
        let own = || {
            let effects = passage.call.effects.iter();
            effects.filter(|e| e.intent.label != UNDO_LABEL)
        };
        if passage.pin.contract.settles_within_ms == 0 {
            let detail = "sent often enough; the far side shows nothing, and may still be at it";
            return self
                .park(passage, Reason::ResendExhausted, detail.into())
                .await;
        }
        let error = error.unwrap_or_else(|| {
            let message = "the far side did not do this, and was asked often enough";
            ToolError::of_host(ErrorCode::Transient, Reason::ResendExhausted, message)
        });
        // Siblings that the far side did answer are in force all the same.
        let changed = own().any(|e| e.aftermath() == Aftermath::Changed);
        let aftermath = match changed {
            true => Aftermath::Changed,
            false => Aftermath::Untouched,
        };
        let result = CallResult::Err(error.with_aftermath(aftermath));
        self.observe_recovered(passage, Disposition::Executed, result)
            .await
    }

    /// The host died in an undo, and the far side keeps no keys: undoing again might take back
    /// twice, so a person must look.
    async fn undo_in_doubt(&self, passage: &Passage) -> Result<Option<Dispatched>, JournalError> {
        let undo = passage.call.effect(UNDO_LABEL);
        let in_doubt = undo.is_some_and(aftermath::inconclusive);
        if !in_doubt || passage.pin.contract.keeps_keys {
            return Ok(None);
        }
        let detail = "nobody knows whether the undo was done, and the far side keeps no keys";
        Ok(Some(
            self.park(passage, Reason::DoubtUnresolvable, detail.into())
                .await?,
        ))
    }

    /// Asks the far side, with read-only rights, and records what it says.
    pub(crate) async fn probe(
        &self,
        passage: &Passage,
        purpose: ProbePurpose,
        settled: bool,
    ) -> Result<Finding, JournalError> {
        // The effect in doubt; when none is, the call's first.
        let own = || {
            let effects = passage.call.effects.iter();
            effects.filter(|e| e.intent.label != UNDO_LABEL)
        };
        let effect = own()
            .find(|e| aftermath::inconclusive(e))
            .or_else(|| own().next());
        let key = effect.map_or_else(|| passage.header_key.clone(), |e| e.intent.key.clone());
        let label = effect.map(|e| e.intent.label.clone()).unwrap_or_default();
        let input = passage.call.call.arguments.to_string();
        let entry = Entry::Probe {
            input,
            key: key.clone(),
        };
        let place = self.place_again(passage).await;
        let ran = self.run_entry(passage, entry, Rights::Look, place).await.0;
        let finding = match ran.result {
            Ok(Returned::Finding(finding)) => finding,
            Ok(Returned::Error(error)) => Finding::Unknown { why: error.message },
            Ok(Returned::Text(_)) => Finding::Unknown {
                why: "probe gave no finding".into(),
            },
            Err(error) => Finding::Unknown {
                why: error.to_string(),
            },
        };
        let probed = Probed {
            position: passage.position,
            label,
            key,
            purpose,
            finding: finding.clone(),
            settled,
        };
        passage.journal.append(vec![Event::Probed(probed)]).await?;
        Ok(finding)
    }

    async fn run_again(&self, passage: &mut Passage) -> Result<Executed, JournalError> {
        passage.refresh();
        match self.clearance_again(passage) {
            Some(clearance) => {
                let place = self.place_again(passage).await;
                self.execute(passage, clearance, Mode::SendAgain, place)
                    .await
            }
            None => {
                let detail = "the call is not cleared any more";
                let parked = self
                    .park(passage, Reason::PolicyDenied, detail.into())
                    .await?;
                Ok(Executed::Over(parked))
            }
        }
    }

    /// The clearance of a call that was cleared before its first effect left.
    fn clearance_again(&self, passage: &Passage) -> Option<Clearance> {
        let judged = passage.journal.read(|session| {
            judge(Facts {
                session,
                position: passage.position,
                input_problem: None,
                rules: &self.rules,
                now_ms: self.clock.now_ms(),
            })
        });
        match judged {
            Judgement::Clear(clearance) => Some(clearance),
            _ => None,
        }
    }

    /// Takes the call back. `Some`: that failed, and the call is parked.
    async fn undo(&self, passage: &mut Passage) -> Result<Option<Dispatched>, JournalError> {
        let Some(clearance) = self.clearance_again(passage) else {
            let detail = "the call is not cleared any more";
            return Ok(Some(
                self.park(passage, Reason::PolicyDenied, detail.into())
                    .await?,
            ));
        };
        let input = passage.call.call.arguments.to_string();
        let entry = Entry::Undo {
            input,
            output: String::new(),
        };
        let place = self.place_again(passage).await;
        let rights = Rights::Undo { clearance };
        let (ran, gate) = self.run_entry(passage, entry, rights, place).await;
        passage.journal.flush().await?;
        let told = match ran.result {
            Ok(Returned::Text(note)) => Ok(note),
            Ok(Returned::Error(error)) => Err(error.message),
            Ok(Returned::Finding(_)) => Err("undo gave a finding".into()),
            Err(error) => Err(error.to_string()),
        };
        let in_doubt = gate
            .effects()
            .iter()
            .any(|e| e.intent.label == UNDO_LABEL && aftermath::inconclusive(e));
        match told {
            Ok(note) if !in_doubt => {
                let undone = Undone {
                    position: passage.position,
                    note,
                    state: gate.state_writes().await,
                };
                passage.journal.append(vec![Event::Undone(undone)]).await?;
                Ok(None)
            }
            Ok(_) => {
                let detail = "nobody knows whether the undo was done".to_owned();
                Ok(Some(
                    self.park(passage, Reason::DoubtUnresolvable, detail)
                        .await?,
                ))
            }
            Err(why) => {
                let detail = format!("the undo failed: {why}");
                Ok(Some(
                    self.park(passage, Reason::DoubtUnresolvable, detail)
                        .await?,
                ))
            }
        }
    }

    async fn observe_recovered(
        &self,
        passage: &Passage,
        disposition: Disposition,
        result: CallResult,
    ) -> Result<Dispatched, JournalError> {
        let started_at_ms = passage
            .call
            .started_at_ms
            .unwrap_or_else(|| self.clock.now_ms());
        let observed = self.observed(passage, disposition, result, started_at_ms);
        Ok(Dispatched::Observed(
            passage.journal.observe(observed).await?,
        ))
    }
}
