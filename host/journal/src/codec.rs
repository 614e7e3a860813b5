//! Events to rows and back.

use stoplog_model::event::{CallResult, Event, Observed, Resolution};
use stoplog_model::key::ActKey;
use stoplog_model::outcome::{Aftermath, Disposition};
use stoplog_model::session::{Frozen, Session};
use stoplog_model::state::StateWrite;
use stoplog_model::{Call, Class, Digest, Position, Reason, Record, SessionId, disclosure};

use crate::chain;
use crate::cipher::{Cipher, Place};
use crate::state::StateRow;
use crate::store::{
    ActKeyRow, ActKeyState, Batch, CLEAR_FORMAT, ENCRYPTED_FORMAT, FORMAT, Head, Link,
    OpenIntentRow, Reading, Row, SNAPSHOT_FORMAT, SnapshotRow, StoreError,
};

/// Longest result summary, in characters: it is for a list.
pub const MAX_SUMMARY_CHARS: usize = 240;

/// What stands where a tool's name would, when there is no such tool.
pub const UNKNOWN_TOOL: &str = "[unknown tool]";

/// One record as a row behind another.
fn encode(
    record: &Record,
    session: &Session,
    before: &Link,
    cipher: &Cipher,
) -> Result<Row, StoreError> {
    let body = serde_json::to_string(&record.event)
        .map_err(|e| StoreError::Unwritable(format!("event {}: {e}", record.seq)))?;
    let place = Place::Event(session.started.session.as_str(), record.seq);
    let encrypted = cipher.encrypt(place, &body)?;
    let position = record.event.position();
    let mut row = Row {
        seq: record.seq,
        format: match encrypted {
            Some(_) => ENCRYPTED_FORMAT,
            None => CLEAR_FORMAT,
        },
        epoch: record.epoch,
        at_ms: record.at_ms,
        kind: record.event.kind().to_owned(),
        iteration: position.map(|p| p.iteration),
        ordinal: position.map(|p| p.ordinal),
        tool: None,
        args_digest: None,
        key: None,
        summary: None,
        body,
        encrypted,
        chain: Link::default(),
    };
    if let Event::Observed(observed) = &record.event {
        // A name that no tool has is the model's own text: nobody has decided who may see it.
        let known = session.pin(&observed.tool).is_some();
        row.tool = Some(if known {
            observed.tool.clone()
        } else {
            UNKNOWN_TOOL.to_owned()
        });
        row.args_digest = Some(observed.args_digest.to_string());
        row.key = Some(observed.key.clone());
        row.summary = Some(summary(observed, session));
    }
    row.chain = chain::link(before, &row);
    Ok(row)
}

/// One row as a record.
pub fn decode(row: &Row) -> Result<Record, StoreError> {
    if row.format > FORMAT {
        return Err(StoreError::Newer {
            found: row.format,
            known: FORMAT,
        });
    }
    if row.format == ENCRYPTED_FORMAT && row.encrypted.is_none() {
        let why = format!("event {} ({}) is not what was encrypted", row.seq, row.kind);
        return Err(StoreError::Corrupt(why));
    }
    let event: Event = serde_json::from_str(&row.body)
        .map_err(|e| StoreError::Corrupt(format!("event {} ({}): {e}", row.seq, row.kind)))?;
    if event.kind() != row.kind {
        return Err(StoreError::Corrupt(format!(
            "event {} calls itself {} and {}",
            row.seq,
            row.kind,
            event.kind()
        )));
    }
    Ok(Record {
        seq: row.seq,
        epoch: row.epoch,
        at_ms: row.at_ms,
        event,
    })
}

/// The observation at a place, from [`Part::Event`](crate::Part::Event), its link checked. None if
/// another event, or nothing, is there.
pub fn observed_at(
    id: &SessionId,
    reading: &Reading,
    seq: u64,
) -> Result<Option<Observed>, StoreError> {
    let Some(row) = reading.rows.last().filter(|r| r.seq == seq) else {
        return Ok(None);
    };
    let has_chain = reading.row.as_ref().is_some_and(|r| r.chain.is_some());
    if let ([before, _], true) = (&reading.rows[..], has_chain) {
        chain::check_rows(
            id.as_str(),
            before.chain,
            before.seq,
            std::slice::from_ref(row),
        )?;
    }
    Ok(match decode(row)?.event {
        Event::Observed(observed) => Some(observed),
        _ => None,
    })
}

/// The observation that was kept of a session that is pruned.
pub fn kept_observation(body: &str) -> Result<Observed, StoreError> {
    match serde_json::from_str(body) {
        Ok(Event::Observed(observed)) => Ok(observed),
        Ok(other) => Err(StoreError::Corrupt(format!(
            "the result that was kept of an act is {}",
            other.kind()
        ))),
        Err(e) => Err(StoreError::Corrupt(format!(
            "the result that was kept of an act: {e}"
        ))),
    }
}

/// The snapshot of a session whose last event has this link.
pub fn freeze(session: &Session, chain: Link) -> Result<SnapshotRow, StoreError> {
    let body = serde_json::to_string(&session.freeze())
        .map_err(|e| StoreError::Unwritable(format!("snapshot at {}: {e}", session.last_seq)))?;
    Ok(SnapshotRow {
        seq: session.last_seq,
        format: SNAPSHOT_FORMAT,
        chain,
        seal: chain::seal(&chain, &body),
        body,
    })
}

/// The session of a snapshot and of the session's first row. None for a snapshot that is damaged
/// or written by another version: the events say the same.
pub fn thaw(first: &Row, snapshot: &SnapshotRow) -> Result<Option<Session>, StoreError> {
    if snapshot.format != SNAPSHOT_FORMAT || !chain::is_sealed(snapshot) {
        return Ok(None);
    }
    let Event::SessionStarted(started) = decode(first)?.event else {
        let why = "event 1 does not begin a session".to_owned();
        return Err(StoreError::Corrupt(why));
    };
    let frozen: Option<Frozen> = serde_json::from_str(&snapshot.body).ok();
    Ok(frozen
        .filter(|f| f.last_seq() == snapshot.seq)
        .map(|f| Session::thaw(started, f)))
}

/// The result in short, for people: redacted as the tool's schema says.
pub fn summary(observed: &Observed, session: &Session) -> String {
    let text = match &observed.result {
        CallResult::Ok(output) => match session.pin(&observed.tool) {
            Some(pin) => disclosure::redact(output, &pin.contract.output_schema).to_string(),
            None => "ok".to_owned(),
        },
        CallResult::Err(error) => match error.reason {
            Some(reason) => format!("error {} ({reason})", error.code.as_str()),
            None => format!("error {}", error.code.as_str()),
        },
    };
    text.chars().take(MAX_SUMMARY_CHARS).collect()
}

/// Everything that one commit writes for these records. `after` is the session with all of them
/// applied; `before` is the link of the event before them, and `cipher` the store's.
pub fn batch(
    epoch: u64,
    records: &[Record],
    after: &Session,
    before: Link,
    cipher: &Cipher,
) -> Result<Batch, StoreError> {
    with_head(head(after), epoch, records, after, (before, cipher))
}

/// What the sessions table shows of a session.
pub fn head(session: &Session) -> Head {
    Head {
        tenant: session.started.tenant.to_string(),
        user: session.started.user.clone(),
        feature: session.started.feature.clone(),
        status: session.status().as_str().to_owned(),
        trace_id: session
            .last_run()
            .map(|r| r.started.trace_id.to_string())
            .unwrap_or_default(),
    }
}

/// What a commit of one event writes, with an empty head: for comparing, event by event, what is
/// stored with what the events imply. Its cost does not grow with the session.
pub fn implied(record: &Record, after: &Session, before: Link) -> Result<Batch, StoreError> {
    let records = std::slice::from_ref(record);
    let clear = (before, &Cipher::none());
    with_head(Head::default(), record.epoch, records, after, clear)
}

fn with_head(
    head: Head,
    epoch: u64,
    records: &[Record],
    after: &Session,
    (before, cipher): (Link, &Cipher),
) -> Result<Batch, StoreError> {
    let id = after.started.session.to_string();
    let mut batch = Batch {
        session: id.clone(),
        epoch,
        rows: Vec::with_capacity(records.len()),
        head,
        opened: Vec::new(),
        closed: Vec::new(),
        claims: Vec::new(),
        released: Vec::new(),
        state: Vec::new(),
        snapshot: None,
    };
    let mut last = before;
    for record in records {
        let row = encode(record, after, &last, cipher)?;
        last = row.chain;
        batch.rows.push(row);
        derive(&mut batch, &id, record, after);
    }
    Ok(batch)
}

/// The rows of the small tables that follow from an event.
fn derive(batch: &mut Batch, session: &str, record: &Record, after: &Session) {
    match &record.event {
        Event::TurnTaken(turn) if after.started.client.is_some() => {
            for call in &turn.calls {
                let position = Position {
                    iteration: turn.iteration,
                    ordinal: call.ordinal,
                };
                let digest = Digest::of_json(&call.arguments);
                let state = (ActKeyState::InFlight, 0);
                let claim = client_claim(call, position, &digest, state, record, after);
                batch.claims.extend(claim);
            }
        }
        Event::IntentRecorded(intent) => {
            let position = intent.position;
            batch.opened.push(OpenIntentRow {
                session: session.to_owned(),
                iteration: position.iteration,
                ordinal: position.ordinal,
                label: intent.label.clone(),
                key: intent.key.clone(),
                attempt: intent.attempt,
                at_ms: record.at_ms,
            });
            if let Some(act) = &intent.act_key {
                let tool = after
                    .call(position)
                    .map(|c| c.call.tool.clone())
                    .unwrap_or_default();
                batch.claims.push(ActKeyRow {
                    scope: act.scope.clone(),
                    key: act.key.clone(),
                    session: session.to_owned(),
                    iteration: position.iteration,
                    ordinal: position.ordinal,
                    args_digest: intent.args_digest.to_string(),
                    state: ActKeyState::InFlight,
                    seq: 0,
                    class: class_of(&tool, after),
                    at_ms: record.at_ms,
                    kept: None,
                    tool,
                });
            }
        }
        Event::OutcomeRecorded(outcome) => {
            let position = outcome.position;
            let effect = after.call(position).and_then(|c| c.effect(&outcome.label));
            if !effect.is_some_and(|e| e.in_doubt()) {
                batch.closed.push((
                    position.iteration,
                    position.ordinal,
                    Some(outcome.label.clone()),
                ));
            }
        }
        Event::Observed(observed) => {
            let position = observed.position;
            batch
                .closed
                .push((position.iteration, position.ordinal, None));
            settle_act(batch, session, observed, record, after);
            settle_client_key(batch, observed, record, after);
            keep(batch, &observed.tool, &observed.state, record, after);
        }
        Event::Undone(undone) => {
            if let Some(call) = after.call(undone.position) {
                keep(batch, &call.call.tool, &undone.state, record, after);
            }
        }
        Event::ParkResolved(resolved) => {
            let position = resolved.position;
            if resolved.resolution == Resolution::NotDone
                && let Some(call) = after.call(position)
                && call.observed.is_some()
            {
                release_client_key(batch, &call.call, position, after);
            }
            let observed = after.call(position).and_then(|c| c.observed.as_ref());
            if let (Resolution::NotDone, Some(observed)) = (&resolved.resolution, observed)
                && let Some(act) = &observed.act_key
            {
                batch.released.push((
                    act.scope.clone(),
                    act.key.clone(),
                    position.iteration,
                    position.ordinal,
                ));
            }
        }
        _ => {}
    }
}

/// What an event writes into the state of its tool.
fn keep(batch: &mut Batch, tool: &str, writes: &[StateWrite], record: &Record, after: &Session) {
    let tenant = after.started.tenant.as_str();
    let rows = StateRow::of(tenant, tool, writes, record.seq, record.at_ms);
    batch.state.extend(rows);
}

/// What an observation makes of the act that its call claims: a result that counts stays for
/// ever; an error that changed nothing gives the act free, so that the model may decide anew.
fn settle_act(
    batch: &mut Batch,
    session: &str,
    observed: &Observed,
    record: &Record,
    after: &Session,
) {
    let Some(act) = &observed.act_key else { return };
    let position = observed.position;
    let has_effects = after.call(position).is_some_and(|c| !c.effects.is_empty());
    let own = matches!(
        observed.disposition,
        Disposition::Executed | Disposition::Probed | Disposition::Parked
    );
    if !own || !has_effects {
        return;
    }
    let changed = after.call(position).is_some_and(|c| {
        c.effects
            .iter()
            .any(|e| e.aftermath() != Aftermath::Untouched)
    });
    let untouched = match &observed.result {
        CallResult::Err(error) => error.aftermath == Aftermath::Untouched,
        // The tool is content although the far side refused everything: nothing to remember.
        CallResult::Ok(_) => !changed && observed.disposition == Disposition::Executed,
    };
    if untouched {
        batch.released.push((
            act.scope.clone(),
            act.key.clone(),
            position.iteration,
            position.ordinal,
        ));
    } else {
        batch.claims.push(ActKeyRow {
            scope: act.scope.clone(),
            key: act.key.clone(),
            tool: observed.tool.clone(),
            session: session.to_owned(),
            iteration: position.iteration,
            ordinal: position.ordinal,
            args_digest: observed.args_digest.to_string(),
            state: ActKeyState::Done,
            seq: record.seq,
            class: class_of(&observed.tool, after),
            at_ms: record.at_ms,
            kept: None,
        });
    }
}

/// The claim of a client's own key for one of its calls, if it gave one.
fn client_claim(
    call: &Call,
    position: Position,
    args_digest: &Digest,
    (state, seq): (ActKeyState, u64),
    record: &Record,
    after: &Session,
) -> Option<ActKeyRow> {
    let ActKey { scope, key } = client_key(call, after)?;
    Some(ActKeyRow {
        scope,
        key,
        tool: call.tool.clone(),
        session: after.started.session.to_string(),
        iteration: position.iteration,
        ordinal: position.ordinal,
        args_digest: args_digest.to_string(),
        state,
        seq,
        class: class_of(&call.tool, after),
        at_ms: record.at_ms,
        kept: None,
    })
}

fn client_key(call: &Call, session: &Session) -> Option<ActKey> {
    let started = &session.started;
    started.client.as_ref()?;
    let key = call.provider_id.as_deref()?;
    Some(ActKey::of_client(&started.tenant, &started.user, key))
}

/// What an observation makes of the client's own key of its call. A result stays, and so does a
/// person's no; another error that changed nothing gives the key free, as it does with an act.
fn settle_client_key(batch: &mut Batch, observed: &Observed, record: &Record, after: &Session) {
    let position = observed.position;
    let Some(call) = after.call(position).map(|c| &c.call) else {
        return;
    };
    let is_free = match &observed.result {
        CallResult::Ok(_) => false,
        CallResult::Err(error) => {
            error.aftermath == Aftermath::Untouched
                && error.reason != Some(Reason::ApprovalRejected)
        }
    };
    if is_free {
        release_client_key(batch, call, position, after);
        return;
    }
    let state = (ActKeyState::Done, record.seq);
    let claim = client_claim(call, position, &observed.args_digest, state, record, after);
    batch.claims.extend(claim);
}

fn release_client_key(batch: &mut Batch, call: &Call, position: Position, after: &Session) {
    if let Some(ActKey { scope, key }) = client_key(call, after) {
        let place = (position.iteration, position.ordinal);
        batch.released.push((scope, key, place.0, place.1));
    }
}

/// Class of a tool; 4 for one that is not known.
fn class_of(tool: &str, session: &Session) -> u8 {
    let class = session.pin(tool).map_or(Class::Irreversible, |p| p.class);
    class.number()
}
