//! Tests that spawn the host, kill it, and count.
