//! The stoplog command: CLI, config, wiring.
