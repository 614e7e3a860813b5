//! Model providers, and a stop reason that nobody can ignore.
