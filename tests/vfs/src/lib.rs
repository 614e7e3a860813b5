//! A SQLite VFS for tests: it records what is written and synced, fails on demand, and makes the
//! images that a power cut may leave.
