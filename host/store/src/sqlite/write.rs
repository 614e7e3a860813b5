//! The writer thread: one commit for all that waits.

use std::path::PathBuf;
use std::sync::mpsc;

use rusqlite::{Connection, OptionalExtension, params};
use stoplog_journal::store::PAYLOAD_APART_BYTES;
use stoplog_journal::{ActKeyState, Batch, Lease, Row, StoreError};
use stoplog_model::Digest;

use super::connection::{open_for_writing, write_error};
use super::read::{self, DONE, IN_FLIGHT};
use super::{GROUP_COMMIT_MAX, Job, LeaseJob};

/// A job that was done in the open transaction: told only when that is on disk.
type Told = Box<dyn FnOnce(Result<(), StoreError>)>;

/// Runs until the inbox closes.
pub(super) fn run(path: PathBuf, connection: Connection, inbox: mpsc::Receiver<Job>) {
    let mut connection = Some(connection);
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_COMMIT_MAX {
            match inbox.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => open_for_writing(&path),
        };
        match open {
            Ok(open) => connection = commit_group(open, group),
            Err(error) => group.into_iter().for_each(|job| refuse(job, &error)),
        }
    }
}

/// One transaction for the group; each job in a savepoint, so that a refused one goes alone.
/// Gives the connection back if it is still to be trusted.
fn commit_group(connection: Connection, group: Vec<Job>) -> Option<Connection> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let error = write_error(error);
        group.into_iter().for_each(|job| refuse(job, &error));
        return None;
    }
    let mut told: Vec<Told> = Vec::with_capacity(group.len());
    let mut broken = None;
    for job in group {
        match &broken {
            None => match perform(&connection, job) {
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
        None => connection.execute_batch("COMMIT").map_err(write_error),
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

fn refuse(job: Job, error: &StoreError) {
    match job {
        Job::Append(_, reply) => drop(reply.send(Err(error.clone()))),
        Job::Lease(_, reply) => drop(reply.send(Err(error.clone()))),
        Job::Renew(_, _, reply) | Job::Release(_, reply) => drop(reply.send(Err(error.clone()))),
    }
}

/// Does a job inside the transaction. `Ok(None)`: refused, rolled back alone, and told. `Err`:
/// the transaction itself is broken.
fn perform(c: &Connection, job: Job) -> Result<Option<Told>, (StoreError, Told)> {
    match job {
        Job::Append(batch, reply) => finish(c, reply, |c| append(c, &batch)),
        Job::Lease(job, reply) => finish(c, reply, |c| lease(c, &job)),
        Job::Renew(lease, until_ms, reply) => finish(c, reply, |c| renew(c, &lease, until_ms)),
        Job::Release(lease, reply) => finish(c, reply, |c| release(c, &lease)),
    }
}

fn finish<T: 'static>(
    c: &Connection,
    reply: tokio::sync::oneshot::Sender<Result<T, StoreError>>,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<Option<Told>, (StoreError, Told)> {
    let savepoint = c.execute_batch("SAVEPOINT job").map_err(write_error);
    match savepoint.and_then(|()| work(c)) {
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

fn check_epoch(c: &Connection, session: &str, had: u64) -> Result<u64, StoreError> {
    let found: Option<(u64, u64)> = c
        .prepare_cached("SELECT lease_epoch, last_seq FROM sessions WHERE session_id = ?1")
        .and_then(|mut s| {
            s.query_row([session], |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()
        })
        .map_err(write_error)?;
    match found {
        Some((now, last_seq)) if now == had => Ok(last_seq),
        other => Err(StoreError::Fenced {
            had,
            now: other.map_or(0, |(now, _)| now),
        }),
    }
}

fn append(c: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let mut last = check_epoch(c, &batch.session, batch.epoch)?;
    for row in &batch.rows {
        if row.seq != last + 1 {
            return Err(StoreError::SeqTaken { last, got: row.seq });
        }
        last = row.seq;
        insert_row(c, &batch.session, row).map_err(write_error)?;
    }
    for claim in &batch.claims {
        let taken = read::act_key(c, &claim.scope, &claim.key).map_err(write_error)?;
        if let Some(taken) = taken.filter(|t| !t.same_call(claim)) {
            return Err(StoreError::ActTaken(taken));
        }
    }
    small_tables(c, batch, last).map_err(write_error)
}

fn insert_row(c: &Connection, session: &str, row: &Row) -> rusqlite::Result<()> {
    let payload = if row.body.len() > PAYLOAD_APART_BYTES {
        let digest = Digest::of(row.body.as_bytes()).to_string();
        c.prepare_cached("INSERT OR IGNORE INTO payloads (digest, body) VALUES (?1, ?2)")?
            .execute(params![digest, row.body])?;
        Some(digest)
    } else {
        None
    };
    let body = payload.is_none().then_some(&row.body);
    c.prepare_cached(
        "INSERT INTO events (session_id, seq, format, epoch, at_ms, kind, iteration, ordinal,
                             tool, args_digest, key, summary, body, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        session,
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
        payload
    ])?;
    Ok(())
}

fn small_tables(c: &Connection, batch: &Batch, last: u64) -> rusqlite::Result<()> {
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
    for claim in &batch.claims {
        let state = match claim.state {
            ActKeyState::Done => DONE,
            ActKeyState::InFlight => IN_FLIGHT,
        };
        c.prepare_cached(
            "INSERT OR REPLACE INTO act_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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
            claim.seq
        ])?;
    }
    for (scope, key, iteration, ordinal) in &batch.released {
        c.prepare_cached(
            "DELETE FROM act_keys WHERE scope = ?1 AND key = ?2 AND session_id = ?3
             AND iteration = ?4 AND ordinal = ?5",
        )?
        .execute(params![scope, key, batch.session, iteration, ordinal])?;
    }
    let updated_at_ms = batch.rows.last().map(|r| r.at_ms);
    c.prepare_cached(
        "UPDATE sessions SET tenant_id = ?2, user_id = ?3, feature = ?4, status = ?5,
                trace_id = ?6, last_seq = ?7, updated_at_ms = coalesce(?8, updated_at_ms)
         WHERE session_id = ?1",
    )?
    .execute(params![
        batch.session,
        batch.head.tenant,
        batch.head.user,
        batch.head.feature,
        batch.head.status,
        batch.head.trace_id,
        last,
        updated_at_ms
    ])?;
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
