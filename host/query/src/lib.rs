//! On-call questions over the journal: traces, sessions, parked calls.
