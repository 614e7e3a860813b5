-- The trace store, version 4: a projection of the journal. It can be deleted and made again.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a span. `place` is the order in which spans ended, and is never given twice; a span
-- without one is not over. `generation` says in which making of the projection it came last.
CREATE TABLE spans (
    id                    INTEGER PRIMARY KEY,
    place                 INTEGER,
    generation            INTEGER NOT NULL,
    span_id               TEXT    NOT NULL UNIQUE,
    parent_span_id        TEXT,
    trace_id              TEXT    NOT NULL,
    session_id            TEXT    NOT NULL,
    tenant_id             TEXT    NOT NULL,
    user_id               TEXT    NOT NULL,
    feature               TEXT    NOT NULL,
    step_index            INTEGER NOT NULL,
    kind                  TEXT    NOT NULL,
    started_ms            INTEGER NOT NULL,
    latency_ms            INTEGER NOT NULL,
    status                TEXT    NOT NULL,
    outcome               TEXT,
    error_code            TEXT,
    failure               TEXT,
    tool                  TEXT,
    tool_version          TEXT,
    class                 INTEGER,
    disposition           TEXT,
    idempotency_key       TEXT,
    result_summary        TEXT,
    model_id              TEXT,
    model_version         TEXT,
    prompt_version_hash   TEXT,
    finish_reason         TEXT,
    input_tokens          INTEGER,
    output_tokens         INTEGER,
    cache_read_tokens     INTEGER,
    cache_write_tokens    INTEGER,
    context_window_tokens INTEGER,
    price_version         TEXT,
    cost_usd_micros       INTEGER NOT NULL,
    decision              TEXT,
    decided_by            TEXT,
    resumed_from          TEXT,
    run_cost_usd_micros   INTEGER
) STRICT;

-- The span as JSON, by `spans.id`: apart, so that a question over columns reads few pages.
CREATE TABLE bodies (
    id   INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- Who sends spans on, and up to which place they have.
CREATE TABLE sinks (
    name  TEXT PRIMARY KEY,
    place INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sessions that cannot be projected any further, and from which event on.
CREATE TABLE broken (
    session_id TEXT PRIMARY KEY,
    seq        INTEGER NOT NULL,
    what       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- While the projection is made anew: the sessions that have come again.
CREATE TABLE remade (
    session_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE INDEX spans_place ON spans (place) WHERE place IS NOT NULL;
CREATE INDEX spans_open ON spans (session_id) WHERE place IS NULL;
CREATE INDEX spans_session ON spans (session_id, started_ms);
CREATE INDEX spans_started ON spans (started_ms);
CREATE INDEX spans_trace ON spans (trace_id) WHERE kind = 'final_response';
CREATE INDEX spans_tenant ON spans (tenant_id, kind, started_ms);
-- The slowest runs of a tenant are found here alone.
CREATE INDEX spans_runs ON spans (tenant_id, started_ms, latency_ms, span_id)
    WHERE kind = 'final_response';
CREATE INDEX spans_tool ON spans (tool, status, started_ms) WHERE kind = 'tool_call';
-- The turn that asked for a call, whichever run took it.
CREATE INDEX spans_turn ON spans (session_id, step_index) WHERE kind = 'llm_call';
-- All that is asked about models and money, in the order of time: such a question reads this alone.
CREATE INDEX spans_model ON spans (started_ms, kind, tenant_id, user_id, feature, model_id,
    model_version, prompt_version_hash, finish_reason, status, latency_ms, cost_usd_micros,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, price_version)
    WHERE model_id IS NOT NULL;

INSERT INTO meta (name, value) VALUES
    ('version', '4'), ('cursor', ''), ('generation', '0'), ('remaking', '0'), ('last_place', '0');
