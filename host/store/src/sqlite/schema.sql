-- The tables of the journal that are in format 3 as they were in format 1. The others are in
-- format-3.sql.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE payloads (
    digest TEXT PRIMARY KEY,
    body   TEXT NOT NULL
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
