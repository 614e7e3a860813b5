//! Events to spans, redaction at the source, JSONL.
