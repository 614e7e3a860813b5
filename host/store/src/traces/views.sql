-- What people ask: docs/questions.md explains each column. Names and meanings of these views stay;
-- the tables below them may change. Times are milliseconds since 1970 and UTC text. A body is looked up
-- for a row that shows something of it, and for no other: SQLite makes a join for sums, too.

CREATE VIEW all_spans AS SELECT
    s.span_id, s.parent_span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature,
    s.step_index, s.kind AS span_kind, s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.place IS NULL AS is_open, s.error_code, s.failure,
    s.tool AS tool_name, s.tool_version, s.class AS blast_radius_class, s.disposition,
    s.idempotency_key, s.model_id, s.model_version, s.prompt_version_hash, s.finish_reason,
    s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens,
    s.context_window_tokens, s.price_version, s.cost_usd_micros, s.decision, s.decided_by,
    s.resumed_from, (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s;

-- One row a run: the root of a trace. Its cost is that of the whole run.
CREATE VIEW runs AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.place IS NULL AS is_open, s.error_code, s.failure, s.resumed_from,
    coalesce(s.run_cost_usd_micros, 0) AS cost_usd_micros,
    (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s WHERE s.kind = 'final_response';

-- One row a turn of a model, also one that could not be used.
CREATE VIEW llm_calls AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.step_index,
    s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.error_code, s.model_id, s.model_version, s.prompt_version_hash,
    s.finish_reason, s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens,
    s.context_window_tokens, s.price_version, s.cost_usd_micros,
    (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s
WHERE s.kind = 'llm_call' AND s.model_id IS NOT NULL;

-- One row a call of a tool in each trace that shows it: `replayed` ones were done in an earlier run.
CREATE VIEW tool_calls AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.step_index,
    s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.place IS NULL AS is_open, s.error_code, s.tool AS tool_name,
    s.tool_version, s.class AS blast_radius_class, s.disposition, s.idempotency_key,
    s.result_summary,
    (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s WHERE s.kind = 'tool_call';

-- The same with the model's turn that asked for the call, whichever run took it.
CREATE VIEW tool_calls_by_model AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.step_index,
    s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.place IS NULL AS is_open, s.error_code, s.tool AS tool_name,
    s.tool_version, s.class AS blast_radius_class, s.disposition, s.idempotency_key,
    s.result_summary,
    t.model_id, t.model_version, t.prompt_version_hash, t.finish_reason,
    (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s
LEFT JOIN spans t ON t.session_id = s.session_id AND t.step_index = s.step_index
    AND t.kind = 'llm_call' AND t.status = 'success'
WHERE s.kind = 'tool_call';

-- One row an attempt that had to be repeated: at a model, where `model_id` says which, or an effect
-- that was sent again.
CREATE VIEW retries AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.step_index,
    s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.error_code, s.model_id, s.cost_usd_micros,
    (SELECT b.body ->> '$.what' FROM bodies b WHERE b.id = s.id) AS what,
    (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s WHERE s.kind = 'retry';

-- One row a question to a person.
CREATE VIEW approvals AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.step_index,
    s.started_ms AS timestamp_ms,
    strftime('%Y-%m-%dT%H:%M:%S', s.started_ms / 1000, 'unixepoch')
        || printf('.%03dZ', s.started_ms % 1000) AS started,
    strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.latency_ms, s.status, s.place IS NULL AS is_open, s.tool AS tool_name,
    s.class AS blast_radius_class, s.decision, s.decided_by,
    (SELECT b.body ->> '$.approval_id' FROM bodies b WHERE b.id = s.id) AS approval_id,
    (SELECT b.body FROM bodies b WHERE b.id = s.id) AS json
FROM spans s WHERE s.kind = 'hitl_approval';

-- One row a session, as its last run left it.
CREATE VIEW sessions AS SELECT
    session_id, tenant_id, user_id, feature, count(*) AS runs, max(started_ms) AS last_run_ms,
    strftime('%Y-%m-%dT%H:%M:%S', max(started_ms) / 1000, 'unixepoch')
        || printf('.%03dZ', max(started_ms) % 1000) AS last_run,
    status, error_code, trace_id AS last_trace_id,
    sum(coalesce(run_cost_usd_micros, 0)) AS cost_usd_micros
FROM spans WHERE kind = 'final_response' GROUP BY session_id;

-- What was paid, row by row: turns, and attempts that failed and cost all the same.
CREATE VIEW costs AS SELECT
    s.span_id, s.trace_id, s.session_id, s.tenant_id, s.user_id, s.feature, s.kind AS span_kind,
    s.started_ms AS timestamp_ms, strftime('%Y-%m-%d', s.started_ms / 1000, 'unixepoch') AS day,
    s.model_id, s.model_version, s.prompt_version_hash, s.price_version, s.input_tokens,
    s.output_tokens, s.cache_read_tokens, s.cache_write_tokens, s.cost_usd_micros
FROM spans s WHERE s.kind IN ('llm_call', 'retry') AND s.model_id IS NOT NULL;
