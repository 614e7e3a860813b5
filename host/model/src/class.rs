//! Blast-radius classes: how bad it is if a call goes wrong, and what each class obliges.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The blast-radius class of a tool. Read off the interface that its component exports.
///
/// Ordered: policy may raise a class at run time, never lower it. A class that is not known
/// counts as [`Class::Irreversible`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// 0: computes, reaches nothing.
    Pure,
    /// 1: looks, changes nothing.
    ReadOnly,
    /// 2: changes what can be changed back.
    Reversible,
    /// 3: changes something at someone else's.
    External,
    /// 4: changes what cannot be changed back.
    Irreversible,
}

impl Class {
    /// Every class, in order.
    pub const ALL: [Class; 5] = [
        Class::Pure,
        Class::ReadOnly,
        Class::Reversible,
        Class::External,
        Class::Irreversible,
    ];

    /// 0 to 4, the value of `blast_radius_class` in spans.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The class of a number from outside; what is not known is irreversible.
    pub fn from_number(number: u64) -> Class {
        match number {
            0 => Class::Pure,
            1 => Class::ReadOnly,
            2 => Class::Reversible,
            3 => Class::External,
            _ => Class::Irreversible,
        }
    }

    /// Whether a call of this class may change the outside world.
    pub fn writes(self) -> bool {
        self >= Class::Reversible
    }

    /// Whether a call of this class may let a request out at all.
    pub fn reaches_out(self) -> bool {
        self >= Class::ReadOnly
    }

    /// Whether a person is asked before the call, unless a rule clears it.
    pub fn held_by_default(self) -> bool {
        self == Class::Irreversible
    }

    /// The name of the interface whose export makes a component this class.
    pub fn interface(self) -> &'static str {
        match self {
            Class::Pure => "pure-tool",
            Class::ReadOnly => "read-tool",
            Class::Reversible => "reversible-tool",
            Class::External => "external-tool",
            Class::Irreversible => "irreversible-tool",
        }
    }

    /// What the class owes, in words, for `tool check`.
    pub fn obligations(self) -> &'static [&'static str] {
        match self {
            Class::Pure | Class::ReadOnly => &["call"],
            Class::Reversible => &["call", "undo", "probe", "key rule"],
            Class::External => &["call", "probe", "key rule"],
            Class::Irreversible => &["call", "preview", "probe", "key rule", "approval"],
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Pure => "pure",
            Class::ReadOnly => "read-only",
            Class::Reversible => "reversible",
            Class::External => "external",
            Class::Irreversible => "irreversible",
        })
    }
}

/// Whether an HTTP method is safe (RFC 9110, section 9.2.1) and may be used by class 1.
/// TRACE is safe by the letter and echoes headers back, so it is left out.
pub fn is_safe_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_class_counts_as_irreversible() {
        assert_eq!(Class::from_number(5), Class::Irreversible);
        for class in Class::ALL {
            assert_eq!(Class::from_number(class.number().into()), class);
        }
    }
}
