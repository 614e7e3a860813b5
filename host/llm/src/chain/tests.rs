//! Recorded exchanges.
