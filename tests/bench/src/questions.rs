//! The questions of the people on call at the size of a month: a million spans, 50 tenants, 30 days.
//!
//! The product is a question as the command asks it: compiled, asked through the guarded door, made a
//! text. The floor is SQL written by hand for this one question, over a plain table of one kind of span that
//! has only the columns it needs and an index by tenant or tool and time, or by time. Both open their
//! file for each question, as a command does; the floor guards nothing and bounds nothing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde_json::{Value, json};
use stoplog_query::question::{Dimension, Filter, SortBy, groups, list};
use stoplog_query::table::{Column, Table};
use stoplog_query::{cost, table};
use stoplog_store::TraceDb;
use stoplog_telemetry::{Advance, AnswerBounds, Ask, Cell, Statement, TraceStore};

use crate::report::{Goal, Measure, short};
use crate::rounds::compare;
use crate::traffic::{BEGIN_MS, DAYS, Traffic};
use crate::{Bench, machine, memory};

/// Spans of one step of the projection.
const STEP: usize = 20_000;
const DAY_MS: u64 = 86_400_000;
/// How often the questions are asked for the measure of memory.
const ROUNDS: usize = 3;

/// A question, and the same by hand.
struct Question {
    name: &'static str,
    said: Statement,
    columns: Vec<Column>,
    by_hand: String,
    goal: Goal,
}

/// The errors of a group, and its percentiles, by hand.
fn group_by_hand(column: &str, since_ms: u64) -> String {
    format!(
        "WITH h AS (SELECT {column} AS k, latency_ms AS l, count(*) AS n,
             sum(status IN ('error', 'timeout', 'crashed')) AS bad, sum(status = 'success') AS good,
             sum(cost) AS c
           FROM turns WHERE started_ms >= {since_ms} GROUP BY {column}, latency_ms),
         r AS (SELECT *, sum(n) OVER (PARTITION BY k ORDER BY l) AS upto,
             sum(n) OVER (PARTITION BY k) AS total FROM h)
         SELECT k, sum(n), sum(bad), 1.0 * sum(bad) / (sum(bad) + sum(good)),
             min(CASE WHEN upto * 100 >= total * 50 THEN l END),
             min(CASE WHEN upto * 100 >= total * 95 THEN l END),
             min(CASE WHEN upto * 100 >= total * 99 THEN l END), sum(c)
         FROM r GROUP BY k ORDER BY 2 DESC, 1 LIMIT 51"
    )
}

fn questions() -> anyhow::Result<Vec<Question>> {
    let end_ms = BEGIN_MS + DAYS * DAY_MS;
    let since = |days: u64| Filter {
        since_ms: Some(end_ms - days * DAY_MS),
        ..Filter::default()
    };
    let with = |mut filter: Filter, conditions: &[(Dimension, &str)]| {
        for (dimension, value) in conditions {
            filter.among.push((*dimension, vec![Cell::from(*value)]));
        }
        filter
    };
    let week_ms = end_ms - 7 * DAY_MS;
    let day_ms = end_ms - DAY_MS;
    let slow = with(since(7), &[(Dimension::Tenant, "tenant_04")]);
    let failing = with(
        since(7),
        &[
            (Dimension::Tool, "issue_refund"),
            (Dimension::Status, "error"),
        ],
    );
    let mut all = Vec::new();
    let mut add = |name, (said, columns): (Statement, Vec<Column>), by_hand: String| {
        all.push(Question {
            name,
            said,
            columns,
            by_hand,
            goal: Goal::AtMost(2.0),
        });
    };
    add(
        "slow runs of a tenant, 7 days",
        list(&slow, SortBy::Latency, 50)?,
        format!(
            "SELECT started_ms, latency_ms, status, error_code, run_cost, tenant_id, user_id, feature,
                 session_id, trace_id, resumed_from
             FROM runs WHERE tenant_id = 'tenant_04' AND started_ms >= {week_ms}
             ORDER BY latency_ms DESC, started_ms DESC LIMIT 51"
        ),
    );
    add(
        "failing calls of a tool, 7 days",
        list(&failing, SortBy::Start, 50)?,
        format!(
            "SELECT started_ms, latency_ms, tool, status, error_code, disposition, class,
                 idempotency_key, result, tenant_id, session_id, trace_id, step_index
             FROM calls WHERE tool = 'issue_refund' AND status = 'error' AND started_ms >= {week_ms}
             ORDER BY started_ms DESC LIMIT 51"
        ),
    );
    for (name, days, from_ms) in [
        ("30 days", DAYS, BEGIN_MS),
        ("7 days", 7, week_ms),
        ("1 day", 1, day_ms),
    ] {
        for (dimension, column) in [
            (Dimension::ModelVersion, "model_version"),
            (Dimension::PromptVersionHash, "prompt_version_hash"),
        ] {
            let name: &'static str = Box::leak(format!("by {column}, {name}").into_boxed_str());
            add(
                name,
                groups(&since(days), &[dimension], SortBy::Count, 50)?,
                group_by_hand(column, from_ms),
            );
        }
    }
    Ok(all)
}

/// The store, made once and kept for the next run.
async fn store(bench: &Bench) -> anyhow::Result<(TraceDb, PathBuf)> {
    let path = bench.data.join(format!(
        "questions-{}-v{}.db",
        bench.spans,
        stoplog_store::traces::VERSION
    ));
    let is_there = path.exists();
    if !is_there {
        let beside = path.with_extension("making");
        TraceDb::discard(&beside)?;
        make(&beside, bench.spans).await?;
        std::fs::rename(&beside, &path)?;
    }
    Ok((TraceDb::open(&path)?, path))
}

async fn make(path: &Path, spans: u64) -> anyhow::Result<()> {
    let db = TraceDb::open(path)?;
    let mut traffic = Traffic::new(spans, 7);
    let mut made = 0;
    while made < spans {
        let mut step = Advance {
            from: db.progress().await?,
            ..Advance::default()
        };
        step.to = step.from.cursor.clone();
        while step.finished.len() < STEP && made + (step.finished.len() as u64) < spans {
            step.finished.extend(traffic.session());
        }
        step.finished.truncate((spans - made) as usize);
        made += step.finished.len() as u64;
        anyhow::ensure!(db.advance(step).await?, "nobody else projects here");
    }
    drop(db);
    // The log goes into the file with its last connection; make sure of it.
    Connection::open(path)?.pragma_update(None, "wal_checkpoint", "TRUNCATE")?;
    Ok(())
}

/// The floor's file: for each question a table with its columns, and an index made for it.
fn floor(store: &Path) -> anyhow::Result<PathBuf> {
    let path = store.with_extension("floor");
    let is_there = path.exists();
    if !is_there {
        let c = Connection::open(&path)?;
        c.execute("ATTACH ?1 AS t", [store.display().to_string()])?;
        c.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE runs AS SELECT started_ms, latency_ms, status, error_code,
                 run_cost_usd_micros AS run_cost, tenant_id, user_id, feature, session_id, trace_id,
                 resumed_from FROM t.spans WHERE kind = 'final_response';
             CREATE INDEX runs_tenant ON runs (tenant_id, started_ms);
             CREATE TABLE calls AS SELECT s.started_ms, s.latency_ms, s.tool, s.status, s.error_code,
                 s.disposition, s.class, s.idempotency_key, b.body ->> '$.result_summary' AS result,
                 s.tenant_id, s.session_id, s.trace_id, s.step_index
                 FROM t.spans s JOIN t.bodies b ON b.id = s.id WHERE s.kind = 'tool_call';
             CREATE INDEX calls_tool ON calls (tool, status, started_ms);
             CREATE TABLE turns AS SELECT started_ms, model_version, prompt_version_hash, latency_ms,
                 status, cost_usd_micros AS cost FROM t.spans WHERE kind = 'llm_call';
             CREATE INDEX turns_started ON turns (started_ms, model_version, prompt_version_hash,
                 latency_ms, status, cost);
             ANALYZE main;",
        )?;
        c.execute("DETACH t", [])?;
    }
    Ok(path)
}

/// Every row as texts, as the product gives them.
fn by_hand(floor: &Path, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let c = Connection::open_with_flags(floor, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = c.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |i| {
            Ok(match row.get_ref(i)? {
                ValueRef::Null => String::new(),
                ValueRef::Integer(n) => n.to_string(),
                ValueRef::Real(x) => format!("{x:.4}"),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                ValueRef::Blob(_) => String::new(),
            })
        };
        all.push((0..columns).map(text).collect::<rusqlite::Result<_>>()?);
    }
    Ok(all)
}

async fn asked(db: &TraceDb, said: &Statement, columns: &[Column]) -> anyhow::Result<Table> {
    let answer = db.ask(said.clone(), AnswerBounds::default()).await?;
    Ok(table::Table {
        columns: columns.to_vec(),
        rows: answer.rows,
    })
}

/// How fast each question is answered.
pub(crate) async fn questions_at_size(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let began = Instant::now();
    let (db, path) = store(bench).await?;
    let made = began.elapsed().as_secs_f64();
    let floor = floor(&path)?;
    let mut measures = Vec::new();
    for question in questions()? {
        let found = asked(&db, &question.said, &question.columns).await?;
        let expected = by_hand(&floor, &question.by_hand)?;
        same(question.name, &found, &expected)?;
        let rows = found.rows.len();
        let compared = compare(
            bench.time,
            || async {
                let began = Instant::now();
                let table = asked(&db, &question.said, &question.columns).await?;
                anyhow::ensure!(table.texts().count() == rows);
                Ok(began.elapsed().as_secs_f64() * 1e3)
            },
            || async {
                let began = Instant::now();
                anyhow::ensure!(by_hand(&floor, &question.by_hand)?.len() == rows);
                Ok(began.elapsed().as_secs_f64() * 1e3)
            },
        )
        .await?;
        measures.push(
            Measure::beside(
                format!("question: {}", question.name),
                "ms",
                compared,
                question.goal,
            )
            .noted(format!("{rows} row(s)")),
        );
    }
    measures.push(cost_of_a_week(bench, &db).await?);
    let memory = memory::child(bench, "questions")?;
    let number = |name: &str| memory[name].as_f64().unwrap_or_default();
    let size = std::fs::metadata(&path)?.len() as f64 / (1024.0 * 1024.0);
    measures.push(
        Measure::alone(
            "question: memory of all of them",
            "MiB",
            number("peak_mib") - number("before_mib"),
            Goal::AtMost(64.0),
        )
        .noted(format!(
            "the peak of a process of its own, beyond what it had before the first; the store has {} \
             spans, {} MiB, made in {made:.0} s",
            bench.spans,
            short(size)
        )),
    );
    Ok(measures)
}

/// The numbers that both give must be one.
fn same(name: &str, found: &Table, expected: &[Vec<String>]) -> anyhow::Result<()> {
    anyhow::ensure!(
        found.rows.len() == expected.len(),
        "{name}: {} rows",
        found.rows.len()
    );
    anyhow::ensure!(!expected.is_empty(), "{name}: no rows");
    let latency = |texts: &[String]| texts.get(1).cloned();
    for (one, other) in found.texts().zip(expected) {
        // Groups are compared whole but for money, which the product writes as dollars; lists by latency.
        let is_group = found.columns[1].name == "count";
        let is_same = match is_group {
            true => one[..7] == other[..7],
            false => latency(&one) == latency(other),
        };
        anyhow::ensure!(is_same, "{name}: {one:?} is not {other:?}");
    }
    Ok(())
}

async fn cost_of_a_week(bench: &Bench, db: &TraceDb) -> anyhow::Result<Measure> {
    let filter = Filter {
        since_ms: Some(BEGIN_MS + (DAYS - 7) * DAY_MS),
        ..Filter::default()
    };
    let by = [Dimension::Tenant, Dimension::Feature, Dimension::Day];
    let began = Instant::now();
    let mut rows = 0;
    let mut rounds = 0;
    while rounds < ROUNDS || began.elapsed() < bench.time {
        let answer = db
            .ask(cost::statement(&filter, &by), AnswerBounds::default())
            .await?;
        rows = cost::table(&by, answer).to_csv().lines().count() - 1;
        rounds += 1;
    }
    let ms = began.elapsed().as_secs_f64() * 1e3 / rounds as f64;
    let name = "question: cost by tenant, feature and day, 7 days";
    Ok(Measure::alone(name, "ms", ms, Goal::Stated).noted(format!("{rows} rows of CSV")))
}

/// Asks everything, for the measure of memory.
pub(crate) async fn ask_all(bench: &Bench) -> anyhow::Result<Value> {
    let (db, _) = store(bench).await?;
    let before = machine::own("status", "VmRSS") as f64 / 1024.0;
    for _ in 0..ROUNDS {
        for question in questions()? {
            asked(&db, &question.said, &question.columns).await?;
        }
        let everything = Statement {
            sql: "SELECT session_id, count(*) FROM all_spans GROUP BY session_id ORDER BY 2 DESC LIMIT 10"
                .to_owned(),
            values: Vec::new(),
        };
        let answer = db.ask(everything, AnswerBounds::default()).await;
        answer.context("a question over everything")?;
    }
    Ok(json!({
        "before_mib": before,
        "peak_mib": machine::own("status", "VmHWM") as f64 / 1024.0,
        "samples": [],
    }))
}
