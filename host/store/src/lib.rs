//! Stores for the journal: SQLite and memory. Rows in, rows out.
