-- The journal, format 2. Append-only but for the small tables at its side.
-- The order of rows is the order of pages: an append touches the end of the file.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- One row an event. `format` is the version of `body`; a body over 64 KiB lies in `payloads`.
-- `chain` is SHA-256 over the link of the event before and this row.
CREATE TABLE events (
    id          INTEGER PRIMARY KEY,
    session_id  TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    format      INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    iteration   INTEGER,
    ordinal     INTEGER,
    tool        TEXT,
    args_digest TEXT,
    key         TEXT,
    summary     TEXT,
    body        TEXT,
    payload     TEXT REFERENCES payloads (digest),
    chain       BLOB,
    UNIQUE (session_id, seq),
    CHECK ((body IS NULL) <> (payload IS NULL))
) STRICT;

CREATE TABLE payloads (
    digest TEXT PRIMARY KEY,
    body   TEXT NOT NULL
) STRICT;

-- `chain` is the link of the last event.
CREATE TABLE sessions (
    session_id       TEXT PRIMARY KEY,
    tenant_id        TEXT    NOT NULL DEFAULT '',
    user_id          TEXT    NOT NULL DEFAULT '',
    feature          TEXT    NOT NULL DEFAULT '',
    status           TEXT    NOT NULL DEFAULT '',
    trace_id         TEXT    NOT NULL DEFAULT '',
    last_seq         INTEGER NOT NULL DEFAULT 0,
    updated_at_ms    INTEGER NOT NULL DEFAULT 0,
    lease_holder     TEXT,
    lease_epoch      INTEGER NOT NULL DEFAULT 0,
    lease_expires_ms INTEGER NOT NULL DEFAULT 0,
    chain            BLOB
) STRICT;

-- Intents without an outcome: recovery reads these, and not the history.
CREATE TABLE open_intents (
    session_id TEXT    NOT NULL,
    iteration  INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,
    label      TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (session_id, iteration, ordinal, label)
) STRICT, WITHOUT ROWID;

-- For people with sqlite3 (requirement 10).
CREATE VIEW state_transitions AS
SELECT session_id,
       iteration,
       tool        AS tool_name,
       args_digest AS tool_input_hash,
       key         AS idempotency_key,
       summary     AS result_summary,
       at_ms       AS timestamp
FROM events
WHERE kind = 'observed';
