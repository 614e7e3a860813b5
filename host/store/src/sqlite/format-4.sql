-- What format 4 has beside format 3: what tools keep between calls, one row a key. A projection of
-- the events, and in no chain: `place` and `seq` say which event wrote it, `digest` is SHA-256 over
-- the value, and a sum over the rows is in `guards`. The value comes last, so that whoever reads
-- keys and sums does not read it.
CREATE TABLE tool_state (
    tenant_id  TEXT    NOT NULL,
    tool       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    bytes      INTEGER NOT NULL,
    digest     BLOB    NOT NULL,
    session_id TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    place      INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    value      BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, tool, key)
) STRICT, WITHOUT ROWID;

INSERT OR REPLACE INTO meta (name, value) VALUES ('format', '4');
