//! Trimming by rule.
