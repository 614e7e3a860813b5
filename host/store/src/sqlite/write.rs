//! The writer thread: one commit for all that waits.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use rusqlite::{Connection, OptionalExtension, params};
use stoplog_journal::store::PAYLOAD_APART_BYTES;
use stoplog_journal::{ActKeyRow, ActKeyState, Batch, Cipher, Lease, Row, SnapshotRow, StoreError};
use stoplog_model::Digest;
use stoplog_model::port::{Moment, Stage, Watch};

use super::connection::{FORMAT, open_again, write_error};
use super::guard::{self, Sum};
use super::read::{self, DONE, IN_FLIGHT};
use super::{BUSY_GROUP, GATHER, GROUP_COMMIT_MAX, Job, LeaseJob, feed, keys, prune};

/// The open transaction, and what it changes in the guarded tables.
pub(super) struct Transaction<'c> {
    pub(super) c: &'c Connection,
    pub(super) cipher: &'c Cipher,
    change: Cell<Sum>,
    /// What it changes in the state of tools.
    pub(super) state: Cell<Sum>,
    /// The highest number of an event; none until somebody has asked.
    last_event: Cell<Option<i64>>,
}

impl Transaction<'_> {
    /// The number of the next event. One that is not used after all is a gap, and no harm.
    fn next_event(&self) -> rusqlite::Result<i64> {
        let last = match self.last_event.get() {
            Some(last) => last,
            None => feed::highest(self.c)?,
        };
        self.last_event.set(Some(last + 1));
        Ok(last + 1)
    }

    /// Writes a claim, or what became of it. Whose claim it is never changes.
    pub(super) fn put_act_key(&self, claim: &ActKeyRow, session: i64) -> rusqlite::Result<()> {
        let is_there = self.forget_act_key(&claim.scope, &claim.key)?;
        let state = match claim.state {
            ActKeyState::Done => DONE,
            ActKeyState::InFlight => IN_FLIGHT,
        };
        if is_there {
            // Only what changes: an index over the rest is not touched.
            self.c
                .prepare_cached(
                    "UPDATE act_keys SET tool = ?3, args_digest = ?4, state = ?5, seq = ?6,
                         class = ?7, at_ms = ?8, kept = ?9
                     WHERE hash = ?10 AND scope = ?1 AND key = ?2",
                )?
                .execute(params![
                    claim.scope,
                    claim.key,
                    claim.tool,
                    claim.args_digest,
                    state,
                    claim.seq,
                    claim.class,
                    claim.at_ms,
                    claim.kept,
                    read::act_hash(&claim.scope, &claim.key)
                ])?;
        } else {
            self.c
                .prepare_cached(
                    "INSERT INTO act_keys (scope, key, tool, session_id, iteration, ordinal,
                         args_digest, state, seq, class, at_ms, kept, session, hash)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                )?
                .execute(params![
                    claim.scope,
                    claim.key,
                    claim.tool,
                    claim.session,
                    claim.iteration,
                    claim.ordinal,
                    claim.args_digest,
                    state,
                    claim.seq,
                    claim.class,
                    claim.at_ms,
                    claim.kept,
                    session,
                    read::act_hash(&claim.scope, &claim.key)
                ])?;
        }
        self.change.set(self.change.get().with(claim));
        Ok(())
    }

    /// Deletes a claim.
    pub(super) fn delete_act_key(&self, scope: &str, key: &str) -> rusqlite::Result<()> {
        self.forget_act_key(scope, key)?;
        self.c
            .prepare_cached("DELETE FROM act_keys WHERE hash = ?3 AND scope = ?1 AND key = ?2")?
            .execute(params![scope, key, read::act_hash(scope, key)])?;
        Ok(())
    }

    /// Takes a claim out of the sum; whether there was one.
    fn forget_act_key(&self, scope: &str, key: &str) -> rusqlite::Result<bool> {
        let row = read::act_key(self.c, FORMAT, scope, key)?;
        if let Some(row) = &row {
            self.change.set(self.change.get().without(row));
        }
        Ok(row.is_some())
    }
}

/// A job that was done in the open transaction: told only when that is on disk.
type Told = Box<dyn FnOnce(Result<(), StoreError>)>;

/// Runs until the inbox closes.
pub(super) fn run(
    path: PathBuf,
    connection: Connection,
    inbox: mpsc::Receiver<Job>,
    watch: Arc<dyn Watch>,
    cipher: &Cipher,
) {
    let mut connection = Some(connection);
    let mut is_busy = false;
    while let Ok(first) = inbox.recv() {
        if is_busy {
            std::thread::sleep(GATHER);
        }
        let mut group = vec![first];
        while group.len() < GROUP_COMMIT_MAX {
            match inbox.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        is_busy = group.len() >= BUSY_GROUP;
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => open_again(&path).and_then(|open| {
                keys::wipe_what_is_deleted(&open, cipher)?;
                Ok(open)
            }),
        };
        match open {
            Ok(open) => connection = commit_group(open, group, &*watch, cipher),
            Err(error) => group.into_iter().for_each(|job| refuse(job, &error)),
        }
    }
}

/// One transaction for the group; each job in a savepoint, so that a refused one goes alone.
/// Gives the connection back if it is still to be trusted.
fn commit_group(
    connection: Connection,
    group: Vec<Job>,
    watch: &dyn Watch,
    cipher: &Cipher,
) -> Option<Connection> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let error = write_error(error);
        group.into_iter().for_each(|job| refuse(job, &error));
        return None;
    }
    let transaction = Transaction {
        c: &connection,
        cipher,
        change: Cell::default(),
        state: Cell::default(),
        last_event: Cell::default(),
    };
    let mut told: Vec<Told> = Vec::with_capacity(group.len());
    let mut broken = None;
    for job in group {
        match &broken {
            None => match perform(&transaction, job) {
                Ok(Some(reply)) => told.push(reply),
                Ok(None) => {}
                Err((error, reply)) => {
                    told.push(reply);
                    broken = Some(error);
                }
            },
            Some(error) => refuse(job, error),
        }
    }
    let result = match broken {
        None => guard::add(&connection, guard::ACT_KEYS, transaction.change.get())
            .and_then(|()| guard::add(&connection, guard::STATE, transaction.state.get()))
            .and_then(|()| commit(&connection, watch))
            .map_err(write_error),
        Some(error) => Err(error),
    };
    match result {
        Ok(()) => {
            told.into_iter().for_each(|reply| reply(Ok(())));
            Some(connection)
        }
        Err(error) => {
            // Nothing is known about this connection any more. Its transaction is rolled back
            // when it closes; a new one reads what is true.
            drop(connection);
            told.into_iter().for_each(|reply| reply(Err(error.clone())));
            None
        }
    }
}

fn commit(connection: &Connection, watch: &dyn Watch) -> rusqlite::Result<()> {
    watch.reached(Stage::TransactionCommitted, Moment::Before, None);
    connection.execute_batch("COMMIT")?;
    watch.reached(Stage::TransactionCommitted, Moment::After, None);
    Ok(())
}

fn refuse(job: Job, error: &StoreError) {
    match job {
        Job::Append(_, reply) => drop(reply.send(Err(error.clone()))),
        Job::Lease(_, reply) => drop(reply.send(Err(error.clone()))),
        Job::Renew(_, _, reply) | Job::Release(_, reply) => drop(reply.send(Err(error.clone()))),
        Job::Prune(_, reply) => drop(reply.send(Err(error.clone()))),
        Job::Forget(_, reply) => drop(reply.send(Err(error.clone()))),
    }
}

/// Does a job inside the transaction. `Ok(None)`: refused, rolled back alone, and told. `Err`:
/// the transaction itself is broken.
fn perform(t: &Transaction<'_>, job: Job) -> Result<Option<Told>, (StoreError, Told)> {
    match job {
        Job::Append(batch, reply) => finish(t, reply, |t| append(t, &batch)),
        Job::Lease(job, reply) => finish(t, reply, |t| lease(t.c, &job)),
        Job::Renew(lease, until_ms, reply) => finish(t, reply, |t| renew(t.c, &lease, until_ms)),
        Job::Release(lease, reply) => finish(t, reply, |t| release(t.c, &lease)),
        Job::Forget(forget, reply) => finish(t, reply, |t| {
            let (tenant, tool, key) = &*forget;
            t.forget_state(tenant, tool, key.as_deref())
                .map_err(write_error)
        }),
        Job::Prune(retention, reply) => finish(t, reply, |t| {
            prune::step(t, &retention).map_err(write_error)
        }),
    }
}

fn finish<T: 'static>(
    t: &Transaction<'_>,
    reply: tokio::sync::oneshot::Sender<Result<T, StoreError>>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<Option<Told>, (StoreError, Told)> {
    let c = t.c;
    let (change, state) = (t.change.get(), t.state.get());
    let savepoint = c.execute_batch("SAVEPOINT job").map_err(write_error);
    match savepoint.and_then(|()| work(t)) {
        Ok(value) => match c.execute_batch("RELEASE job").map_err(write_error) {
            Ok(()) => Ok(Some(Box::new(move |committed| {
                let _ = reply.send(committed.map(|()| value));
            }))),
            Err(error) => Err((error, tell_failure(reply))),
        },
        Err(error @ (StoreError::Unwritable(_) | StoreError::Corrupt(_))) => {
            Err((error, tell_failure(reply)))
        }
        Err(refused) => match c
            .execute_batch("ROLLBACK TO job; RELEASE job")
            .map_err(write_error)
        {
            Ok(()) => {
                t.change.set(change);
                t.state.set(state);
                let _ = reply.send(Err(refused));
                Ok(None)
            }
            Err(error) => Err((error, tell_failure(reply))),
        },
    }
}

fn tell_failure<T: 'static>(reply: tokio::sync::oneshot::Sender<Result<T, StoreError>>) -> Told {
    Box::new(move |result| {
        if let Err(error) = result {
            let _ = reply.send(Err(error));
        }
    })
}

/// A session's number and the `seq` of its last event, if it is still leased under this epoch.
fn check_epoch(c: &Connection, session: &str, had: u64) -> Result<(i64, u64), StoreError> {
    let found: Option<(u64, i64, u64)> = c
        .prepare_cached("SELECT lease_epoch, id, last_seq FROM sessions WHERE session_id = ?1")
        .and_then(|mut s| {
            s.query_row([session], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .optional()
        })
        .map_err(write_error)?;
    match found {
        Some((now, id, last_seq)) if now == had => Ok((id, last_seq)),
        other => Err(StoreError::Fenced {
            had,
            now: other.map_or(0, |(now, _, _)| now),
        }),
    }
}

fn append(t: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    let c = t.c;
    let (session, mut last) = check_epoch(c, &batch.session, batch.epoch)?;
    keys::still_noted(c, t.cipher)?;
    let mut places = Vec::with_capacity(batch.rows.len());
    for row in &batch.rows {
        if row.seq != last + 1 {
            return Err(StoreError::SeqTaken { last, got: row.seq });
        }
        last = row.seq;
        let place = insert_row(t, session, &batch.session, row).map_err(write_error)?;
        places.push((row.seq, place));
    }
    for claim in &batch.claims {
        let taken = read::act_key(c, FORMAT, &claim.scope, &claim.key).map_err(write_error)?;
        if let Some(taken) = taken.filter(|t| !t.same_call(claim)) {
            return Err(StoreError::ActTaken(taken));
        }
    }
    let kept = keys::state_rows(t.cipher, &batch.session, &batch.state)?;
    let frozen = match &batch.snapshot {
        Some(row) => Some(keys::encrypted_snapshot(t.cipher, &batch.session, row)?),
        None => None,
    };
    let work = || {
        intents(c, batch)?;
        acts(t, session, batch)?;
        for kept in &kept {
            let place = places.iter().find(|(seq, _)| *seq == kept.row.seq);
            t.put_state(kept, &batch.session, place.map_or(0, |(_, place)| *place))?;
        }
        if let Some(row) = &frozen {
            snapshot(c, &batch.session, row)?;
        }
        head(c, batch, last)
    };
    work().map_err(write_error)
}

/// Gives the number of the event.
fn insert_row(t: &Transaction<'_>, session: i64, name: &str, row: &Row) -> rusqlite::Result<i64> {
    let c = t.c;
    let place = t.next_event()?;
    let stored = row.stored();
    let payload = if stored.len() > PAYLOAD_APART_BYTES {
        let digest = Digest::of(stored.as_bytes()).to_string();
        c.prepare_cached("INSERT OR IGNORE INTO payloads (digest, body) VALUES (?1, ?2)")?
            .execute(params![digest, stored])?;
        Some(digest)
    } else {
        None
    };
    let body = payload.is_none().then_some(stored);
    c.prepare_cached(
        "INSERT INTO events (session_id, seq, format, epoch, at_ms, kind, iteration, ordinal,
                             tool, args_digest, key, summary, body, payload, chain, session, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        name,
        row.seq,
        row.format,
        row.epoch,
        row.at_ms,
        row.kind,
        row.iteration,
        row.ordinal,
        row.tool,
        row.args_digest,
        row.key,
        row.summary,
        body,
        payload,
        row.chain,
        session,
        place
    ])?;
    Ok(place)
}

fn snapshot(c: &Connection, session: &str, row: &SnapshotRow) -> rusqlite::Result<()> {
    c.prepare_cached(
        "INSERT OR REPLACE INTO snapshots (session_id, seq, format, chain, seal, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        session, row.seq, row.format, row.chain, row.seal, row.body
    ])?;
    Ok(())
}

fn intents(c: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    for open in &batch.opened {
        c.prepare_cached(
            "INSERT OR REPLACE INTO open_intents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            open.session,
            open.iteration,
            open.ordinal,
            open.label,
            open.key,
            open.attempt,
            open.at_ms
        ])?;
    }
    for (iteration, ordinal, label) in &batch.closed {
        c.prepare_cached(
            "DELETE FROM open_intents WHERE session_id = ?1 AND iteration = ?2 AND ordinal = ?3
             AND (?4 IS NULL OR label = ?4)",
        )?
        .execute(params![batch.session, iteration, ordinal, label])?;
    }
    Ok(())
}

fn acts(t: &Transaction<'_>, session: i64, batch: &Batch) -> rusqlite::Result<()> {
    for claim in &batch.claims {
        t.put_act_key(claim, session)?;
    }
    for (scope, key, iteration, ordinal) in &batch.released {
        let claim = read::act_key(t.c, FORMAT, scope, key)?;
        let is_own = claim.is_some_and(|r| {
            r.kept.is_none()
                && (&r.session, r.iteration, r.ordinal) == (&batch.session, *iteration, *ordinal)
        });
        if is_own {
            t.delete_act_key(scope, key)?;
        }
    }
    Ok(())
}

fn head(c: &Connection, batch: &Batch, last: u64) -> rusqlite::Result<()> {
    let updated_at_ms = batch.rows.last().map(|r| r.at_ms);
    c.prepare_cached(
        "UPDATE sessions SET tenant_id = ?2, user_id = ?3, feature = ?4,
                trace_id = ?5, last_seq = ?6, updated_at_ms = coalesce(?7, updated_at_ms),
                chain = coalesce(?8, chain)
         WHERE session_id = ?1",
    )?
    .execute(params![
        batch.session,
        batch.head.tenant,
        batch.head.user,
        batch.head.feature,
        batch.head.trace_id,
        last,
        updated_at_ms,
        batch.rows.last().map(|r| r.chain)
    ])?;
    // Apart, because naming the column writes to the index over it, changed or not.
    c.prepare_cached("UPDATE sessions SET status = ?2 WHERE session_id = ?1 AND status <> ?2")?
        .execute(params![batch.session, batch.head.status])?;
    Ok(())
}

fn lease(c: &Connection, job: &LeaseJob) -> Result<Lease, StoreError> {
    c.prepare_cached("INSERT OR IGNORE INTO sessions (session_id) VALUES (?1)")
        .and_then(|mut s| s.execute([&job.session]))
        .map_err(write_error)?;
    let (holder, epoch, expires_at_ms): (Option<String>, u64, u64) = c
        .prepare_cached(
            "SELECT lease_holder, lease_epoch, lease_expires_ms FROM sessions
             WHERE session_id = ?1",
        )
        .and_then(|mut s| s.query_row([&job.session], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))))
        .map_err(write_error)?;
    if let Some(holder) = holder.filter(|_| expires_at_ms > job.now_ms && !job.holder_is_dead) {
        let session = job.session.clone();
        return Err(StoreError::Leased(Lease {
            session,
            holder,
            epoch,
            expires_at_ms,
        }));
    }
    let lease = Lease {
        session: job.session.clone(),
        holder: job.holder.clone(),
        epoch: epoch + 1,
        expires_at_ms: job.now_ms + job.ttl_ms,
    };
    c.prepare_cached(
        "UPDATE sessions SET lease_holder = ?2, lease_epoch = ?3, lease_expires_ms = ?4
         WHERE session_id = ?1",
    )
    .and_then(|mut s| {
        s.execute(params![
            lease.session,
            lease.holder,
            lease.epoch,
            lease.expires_at_ms
        ])
    })
    .map_err(write_error)?;
    Ok(lease)
}

fn renew(c: &Connection, lease: &Lease, until_ms: u64) -> Result<(), StoreError> {
    check_epoch(c, &lease.session, lease.epoch)?;
    c.prepare_cached(
        "UPDATE sessions SET lease_holder = ?2, lease_expires_ms = ?3 WHERE session_id = ?1",
    )
    .and_then(|mut s| s.execute(params![lease.session, lease.holder, until_ms]))
    .map_err(write_error)?;
    Ok(())
}

fn release(c: &Connection, lease: &Lease) -> Result<(), StoreError> {
    c.prepare_cached(
        "UPDATE sessions SET lease_holder = NULL, lease_expires_ms = 0
         WHERE session_id = ?1 AND lease_epoch = ?2",
    )
    .and_then(|mut s| s.execute(params![lease.session, lease.epoch]))
    .map_err(write_error)?;
    Ok(())
}
