//! The only crate that knows wasmtime: engine, limits, loader, host functions.
