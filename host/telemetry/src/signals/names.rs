//! Names that become labels, each kind with an end: a series costs memory here and at whoever
//! scrapes, for ever, and names come from outside.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// Tenants with series of their own; whoever comes later is counted as [`OTHER`].
pub const TENANTS_MAX: usize = 50;
/// Tools with series of their own. The model's invented names are [`UNKNOWN`], and take none.
pub const TOOLS_MAX: usize = 100;
/// Models with series of their own, by the version that the provider answers with.
pub const MODELS_MAX: usize = 20;

/// All that has no series of its own.
pub const OTHER: &str = "other";
/// A tool that does not exist.
pub const UNKNOWN: &str = "unknown";

/// The names of one kind.
#[derive(Debug)]
pub(crate) struct Names {
    most: usize,
    known: RwLock<HashSet<String>>,
}

impl Names {
    pub(crate) fn new(most: usize) -> Names {
        Names {
            most,
            known: RwLock::default(),
        }
    }

    /// The name as a label. The first so many are themselves, and stay so.
    pub(crate) fn label<'a>(&self, name: &'a str) -> &'a str {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return name;
        }
        let is_full = known.len() >= self.most;
        drop(known);
        if is_full || name.is_empty() {
            return OTHER;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < self.most || known.contains(name) {
            known.insert(name.to_owned());
            return name;
        }
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_too_late_are_other() {
        let names = Names::new(2);
        assert_eq!(
            ["a", "b", "c", "a", "b", ""].map(|n| names.label(n)),
            ["a", "b", OTHER, "a", "b", OTHER]
        );
    }
}
