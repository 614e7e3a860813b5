-- The journal, format 3: append-only but for the small tables at its side. The order of rows is the
-- order of pages: an append touches the end of the file. Run for a new file, and for an old one
-- once its tables of these names are out of the way.

-- One row an event. `format` is the version of `body`; a body over 64 KiB lies in `payloads`.
-- `chain` is SHA-256 over the link of the event before and this row. `session` is the number of
-- the session: the index over numbers is a fifth of one over names, so that a commit of many
-- sessions touches few of its pages. `session_id` is for people, and for a file that is damaged.
CREATE TABLE events (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL,
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
    UNIQUE (session, seq),
    CHECK ((body IS NULL) <> (payload IS NULL))
) STRICT;

-- `chain` is the link of the last event. A number is never given again, or a claim that outlived
-- its session would pass to another one.
CREATE TABLE sessions (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id       TEXT    NOT NULL UNIQUE,
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

-- Who claims an act. `state` is in_flight or done; done points at the observation, whose body is
-- `kept` here when its session is pruned. Rows lie in the order of their claims, so that settling
-- one touches the end of the table and no index. `hash` is the first 64 bits of SHA-256 over scope
-- and key: an index over it is a tenth of one over the texts. Two acts may share one, so whoever
-- looks compares the texts too, and the writer alone sees to it that no act is claimed twice.
CREATE TABLE act_keys (
    id          INTEGER PRIMARY KEY,
    hash        INTEGER NOT NULL,
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    tool        TEXT    NOT NULL,
    session     INTEGER NOT NULL,
    session_id  TEXT    NOT NULL,
    iteration   INTEGER NOT NULL,
    ordinal     INTEGER NOT NULL,
    args_digest TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    class       INTEGER NOT NULL DEFAULT 4,
    at_ms       INTEGER NOT NULL DEFAULT 0,
    kept        TEXT
) STRICT;

-- The newest fold of a session; `seal` is SHA-256 over `chain` and `body`.
CREATE TABLE IF NOT EXISTS snapshots (
    session_id TEXT    PRIMARY KEY,
    seq        INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    chain      BLOB    NOT NULL,
    seal       BLOB    NOT NULL,
    body       TEXT    NOT NULL
) STRICT;

-- Sums over tables whose rows are in no chain: a row that was changed or lost shows at the start.
CREATE TABLE IF NOT EXISTS guards (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- A session is in here from its first event to its final answer: closed ones cost nothing.
CREATE INDEX sessions_unfinished ON sessions (session_id) WHERE status <> 'ended';
-- Sessions that are over, by age: what may be pruned is found without looking at the others.
CREATE INDEX sessions_over ON sessions (updated_at_ms, session_id)
    WHERE status IN ('ended', 'failed') AND last_seq > 0;
-- Keys whose session is pruned, by age.
CREATE INDEX act_keys_kept ON act_keys (at_ms) WHERE kept IS NOT NULL;
-- Who claims an act, by its hash.
CREATE INDEX act_keys_hash ON act_keys (hash);
-- Keys of a session, for pruning it.
CREATE INDEX act_keys_session ON act_keys (session);
-- Which events use a payload, for pruning it.
CREATE INDEX events_payload ON events (payload) WHERE payload IS NOT NULL;

-- For people with sqlite3 (requirement 10).
CREATE VIEW state_transitions AS
SELECT s.session_id,
       iteration,
       tool        AS tool_name,
       args_digest AS tool_input_hash,
       key         AS idempotency_key,
       summary     AS result_summary,
       at_ms       AS timestamp
FROM sessions s JOIN events e ON e.session = s.id
WHERE kind = 'observed';

INSERT OR REPLACE INTO meta (name, value) VALUES ('format', '3');
