//! Pure next(session) -> step, and the driver that performs it.
