-- What format 2 has beside, or in the place of, the tables of format 1. Run for a new file and
-- for an old one.

-- Who claims an act. `state` is in_flight or done; done points at the observation, whose body is
-- `kept` here when its session is pruned. Rows lie in the order of their claims, so that settling
-- one touches the end of the table and no index.
CREATE TABLE act_keys (
    id          INTEGER PRIMARY KEY,
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    tool        TEXT    NOT NULL,
    session_id  TEXT    NOT NULL,
    iteration   INTEGER NOT NULL,
    ordinal     INTEGER NOT NULL,
    args_digest TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    class       INTEGER NOT NULL DEFAULT 4,
    at_ms       INTEGER NOT NULL DEFAULT 0,
    kept        TEXT,
    UNIQUE (scope, key)
) STRICT;

-- The newest fold of a session; `seal` is SHA-256 over `chain` and `body`.
CREATE TABLE snapshots (
    session_id TEXT    PRIMARY KEY,
    seq        INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    chain      BLOB    NOT NULL,
    seal       BLOB    NOT NULL,
    body       TEXT    NOT NULL
) STRICT;

-- Sums over tables whose rows are in no chain: a row that was changed or lost shows at the start.
CREATE TABLE guards (
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
-- Keys of a session, for pruning it.
CREATE INDEX act_keys_session ON act_keys (session_id);
-- Which events use a payload, for pruning it.
CREATE INDEX events_payload ON events (payload) WHERE payload IS NOT NULL;

INSERT OR REPLACE INTO meta (name, value) VALUES ('format', '2');
