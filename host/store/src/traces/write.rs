//! Writing to the trace store: each function is one transaction.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use stoplog_telemetry::{Advance, SpanRow};

use super::read;

/// Pages that one step of pruning gives back to the disk at most: 4 MiB.
const VACUUM_PAGES: u32 = 1000;

/// A span that is over: a row of its own, or over the one that shows it open or of an earlier
/// generation. Its place stays if it has one.
const FINISHED: &str = "ON CONFLICT (span_id) DO UPDATE SET
    place = coalesce(spans.place, excluded.place), generation = excluded.generation,
    parent_span_id = excluded.parent_span_id, trace_id = excluded.trace_id,
    session_id = excluded.session_id, tenant_id = excluded.tenant_id, user_id = excluded.user_id,
    feature = excluded.feature, step_index = excluded.step_index, kind = excluded.kind,
    started_ms = excluded.started_ms, latency_ms = excluded.latency_ms, status = excluded.status,
    outcome = excluded.outcome, error_code = excluded.error_code, failure = excluded.failure,
    tool = excluded.tool, tool_version = excluded.tool_version, class = excluded.class,
    disposition = excluded.disposition, idempotency_key = excluded.idempotency_key,
    result_summary = excluded.result_summary,
    model_id = excluded.model_id, model_version = excluded.model_version,
    prompt_version_hash = excluded.prompt_version_hash, finish_reason = excluded.finish_reason,
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
    cache_read_tokens = excluded.cache_read_tokens,
    cache_write_tokens = excluded.cache_write_tokens,
    context_window_tokens = excluded.context_window_tokens,
    price_version = excluded.price_version, cost_usd_micros = excluded.cost_usd_micros,
    decision = excluded.decision, decided_by = excluded.decided_by,
    resumed_from = excluded.resumed_from, run_cost_usd_micros = excluded.run_cost_usd_micros
    RETURNING id";

/// A span that is open never stands for one that is over, as it would in the middle of making the
/// projection anew.
const OPEN: &str = "ON CONFLICT (span_id) DO NOTHING RETURNING id";

const INSERT: &str = "INSERT INTO spans (
    place, generation, span_id, parent_span_id, trace_id, session_id, tenant_id, user_id, feature,
    step_index, kind, started_ms, latency_ms, status, outcome, error_code, failure, tool,
    tool_version, class, disposition, idempotency_key, result_summary, model_id, model_version,
    prompt_version_hash, finish_reason, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, context_window_tokens, price_version, cost_usd_micros, decision,
    decided_by, resumed_from, run_cost_usd_micros)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
            ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37,
            ?38)
    ";

fn immediate(c: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    c.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn set(c: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

/// Takes a step, if the store is where the step begins.
pub(super) fn advance(c: &mut Connection, step: &Advance) -> rusqlite::Result<bool> {
    let t = immediate(c)?;
    if read::progress(&t)? != step.from {
        return Ok(false);
    }
    let generation = step.from.generation;
    let mut place = read::number(&t, "last_place")?;
    for row in &step.finished {
        place += 1;
        put_finished(&t, row, place, generation)?;
    }
    for open in &step.open {
        forget_open(&t, &open.session_id)?;
        for row in &open.rows {
            put(&t, row, None, generation, OPEN)?;
        }
    }
    for broken in &step.broken {
        t.prepare_cached(
            "INSERT OR IGNORE INTO broken (session_id, seq, what) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![broken.session_id, broken.seq, broken.what])?;
    }
    if step.from.is_remaking {
        for session in &step.touched {
            t.prepare_cached("INSERT OR IGNORE INTO remade (session_id) VALUES (?1)")?
                .execute([session])?;
        }
        if step.is_end {
            end_remaking(&t, generation)?;
        }
    }
    set(&t, "last_place", &place.to_string())?;
    set(&t, "cursor", step.to.as_text())?;
    t.commit()?;
    Ok(true)
}

/// Writes a span that is over, under a place.
pub(super) fn put_finished(
    c: &Connection,
    row: &SpanRow,
    place: u64,
    generation: u64,
) -> rusqlite::Result<()> {
    put(c, row, Some(place), generation, FINISHED)
}

fn put(
    c: &Connection,
    row: &SpanRow,
    place: Option<u64>,
    generation: u64,
    conflict: &str,
) -> rusqlite::Result<()> {
    let mut insert = c.prepare_cached(&format!("{INSERT}{conflict}"))?;
    let mut ids = insert.query(params![
        place,
        generation,
        row.span_id,
        row.parent_span_id,
        row.trace_id,
        row.session_id,
        row.tenant_id,
        row.user_id,
        row.feature,
        row.step_index,
        row.kind,
        row.started_ms,
        row.latency_ms,
        row.status,
        row.outcome,
        row.error_code,
        row.failure,
        row.tool,
        row.tool_version,
        row.class,
        row.disposition,
        row.idempotency_key,
        row.result_summary,
        row.model_id,
        row.model_version,
        row.prompt_version_hash,
        row.finish_reason,
        row.input_tokens,
        row.output_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.context_window_tokens,
        row.price_version,
        row.cost_usd_micros,
        row.decision,
        row.decided_by,
        row.resumed_from,
        row.run_cost_usd_micros,
    ])?;
    let Some(id) = ids.next()?.map(|r| r.get::<_, i64>(0)).transpose()? else {
        return Ok(());
    };
    drop(ids);
    c.prepare_cached("INSERT OR REPLACE INTO bodies (id, body) VALUES (?1, ?2)")?
        .execute(params![id, row.body])?;
    Ok(())
}

fn forget_open(c: &Connection, session: &str) -> rusqlite::Result<()> {
    c.prepare_cached(
        "DELETE FROM bodies WHERE id IN
         (SELECT id FROM spans WHERE place IS NULL AND session_id = ?1)",
    )?
    .execute([session])?;
    c.prepare_cached("DELETE FROM spans WHERE place IS NULL AND session_id = ?1")?
        .execute([session])?;
    Ok(())
}

/// Everything has come again that the journal has: what did not, of its sessions, is no span of
/// theirs any more. Sessions that it has no more keep theirs, but not as open ones.
fn end_remaking(c: &Connection, generation: u64) -> rusqlite::Result<()> {
    const GONE: &str = "generation < ?1 AND
        (place IS NULL OR session_id IN (SELECT session_id FROM remade))";
    c.execute(
        &format!("DELETE FROM bodies WHERE id IN (SELECT id FROM spans WHERE {GONE})"),
        [generation],
    )?;
    c.execute(&format!("DELETE FROM spans WHERE {GONE}"), [generation])?;
    c.execute("DELETE FROM remade", [])?;
    set(c, "remaking", "0")
}

/// See `TraceStore::begin_anew`.
pub(super) fn begin_anew(c: &mut Connection) -> rusqlite::Result<()> {
    let t = immediate(c)?;
    let generation = read::number(&t, "generation")? + 1;
    set(&t, "generation", &generation.to_string())?;
    set(&t, "cursor", "")?;
    set(&t, "remaking", "1")?;
    t.execute("DELETE FROM remade", [])?;
    t.execute("DELETE FROM broken", [])?;
    t.commit()
}

pub(super) fn note_sent(c: &mut Connection, sink: &str, place: u64) -> rusqlite::Result<()> {
    c.prepare_cached("INSERT OR REPLACE INTO sinks (name, place) VALUES (?1, ?2)")?
        .execute(params![sink, place])?;
    Ok(())
}

/// Deletes old spans, the oldest first.
pub(super) fn prune(c: &mut Connection, before_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    let t = immediate(c)?;
    const OLD: &str = "SELECT id FROM spans WHERE started_ms < ?1 AND place IS NOT NULL
        ORDER BY started_ms, id LIMIT ?2";
    t.prepare_cached(&format!("DELETE FROM bodies WHERE id IN ({OLD})"))?
        .execute(params![before_ms, limit])?;
    let deleted = t
        .prepare_cached(&format!("DELETE FROM spans WHERE id IN ({OLD})"))?
        .execute(params![before_ms, limit])?;
    t.commit()?;
    if deleted > 0 {
        let mut vacuum = c.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(deleted as u64)
}
