//! Who asks, and what they may do.
//!
//! Invariant: no role may both act and decide. Who asks for a call never says yes to it
//! (requirement 133).

use serde::{Deserialize, Serialize};
use stoplog_model::Tenant;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Calls tools and runs agents.
    Agent,
    /// Looks after parked calls.
    Operator,
    /// Says yes or no to what waits for approval.
    Approver,
    /// Looks.
    Viewer,
    /// Reads the golden signals, which are of all tenants, and nothing else.
    Monitor,
}

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Call a tool, run an agent.
    Act,
    /// Follow a run of the tenant.
    Follow,
    /// See what waits for a person.
    Look,
    /// Decide about an approval.
    Approve,
    /// Decide about a parked call.
    Resolve,
    /// Read the golden signals.
    Measure,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [
        Role::Agent,
        Role::Operator,
        Role::Approver,
        Role::Viewer,
        Role::Monitor,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Viewer => "viewer",
            Role::Monitor => "monitor",
        }
    }

    /// Whether the role has a right.
    pub fn may(self, right: Right) -> bool {
        match right {
            Right::Act => self == Role::Agent,
            Right::Follow => self != Role::Monitor,
            Right::Look => !matches!(self, Role::Agent | Role::Monitor),
            Right::Approve => self == Role::Approver,
            Right::Resolve => self == Role::Operator,
            Right::Measure => self == Role::Monitor,
        }
    }
}

/// Who asks. Made by whoever has looked at the credentials, and by nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Whose data it is about.
    pub tenant: Tenant,
    /// The name of the key, or of whoever started the process: `user` of its sessions, and the
    /// record of its decisions.
    pub name: String,
    /// What it is for.
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_decides_on_what_they_ask_for() {
        for role in Role::ALL {
            let decides = role.may(Right::Approve) || role.may(Right::Resolve);
            assert!(!(role.may(Right::Act) && decides), "{role:?}");
        }
        assert!(Role::Agent.may(Right::Act));
        assert!(!Role::Agent.may(Right::Look));
        assert!(!Role::Viewer.may(Right::Approve));
        assert!(!Role::Operator.may(Right::Approve));
        assert!(!Role::Approver.may(Right::Resolve));
        // What all tenants do is for no tenant's eyes, and who sees that sees nothing else.
        let measure = Role::ALL.map(|role| role.may(Right::Measure));
        assert_eq!(measure, [false, false, false, false, true]);
        let rest = [
            Right::Act,
            Right::Follow,
            Right::Look,
            Right::Approve,
            Right::Resolve,
        ];
        assert!(!rest.iter().any(|right| Role::Monitor.may(*right)));
    }
}
