//! The way of one call: clearance, gate, intent, outcome, observation, recovery.
