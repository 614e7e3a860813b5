//! No code. Cargo unites the features of what it builds together: `-p stoplog` alone would give
//! wasmtime's dependencies other features than `--workspace`, and compile wasmtime once for each.
//! This crate asks for the union, and the sandbox depends on it, so there is one set.
