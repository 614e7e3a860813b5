//! Seeded simulation of host, journal and far side against an oracle.
