//! The only crate that opens an outbound connection.
