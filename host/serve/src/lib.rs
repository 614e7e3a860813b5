//! Front doors.
