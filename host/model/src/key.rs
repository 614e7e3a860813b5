//! The two keys of a call, and what is derived from them.
//!
//! * The **call key** comes from the call's position: it makes a crash replay safe. Never an
//!   attempt number, never a clock, never the arguments.
//! * The **act key** comes from the tool's key rule and the input: it makes the model deciding
//!   on the same thing twice safe.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::call::Position;
use crate::digest::Digest;
use crate::event::SessionStarted;
use crate::id::{SessionId, Tenant};

/// The host's name of a call: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallKey(Digest);

impl CallKey {
    /// `sha256("stoplog/k1" 0 tenant 0 session 0 iteration 0 ordinal 0 tool)`, in hex. No id may
    /// contain a zero byte, so the parts cannot run into each other.
    pub fn new(tenant: &Tenant, session: &SessionId, position: Position, tool: &str) -> CallKey {
        CallKey(Digest::of_parts(
            "stoplog/k1",
            &[
                tenant.as_str(),
                session.as_str(),
                &position.iteration.to_string(),
                &position.ordinal.to_string(),
                tool,
            ],
        ))
    }

    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The seed of the call's random numbers: a function of the key, so that running the call
    /// again draws the same numbers.
    pub fn seed(&self) -> [u8; 32] {
        Digest::of_parts("stoplog/seed1", &[self.as_str()]).bytes()
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far an act key reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyScope {
    /// One within the session.
    Session,
    /// One within the tenant.
    Tenant,
}

/// The tool-declared name of what a call does, within its scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActKey {
    /// `tenant/<tenant>`, `session/<tenant>/<session>`, `conversation/<tenant>/<user>/<name>`, or
    /// `client/<tenant>/<user>`.
    pub scope: String,
    /// The filled template, such as `refund_448100_delay`.
    pub key: String,
}

impl ActKey {
    /// The key in its scope.
    pub fn new(scope: KeyScope, tenant: &Tenant, session: &SessionId, key: String) -> ActKey {
        let scope = match scope {
            KeyScope::Tenant => format!("tenant/{tenant}"),
            KeyScope::Session => format!("session/{tenant}/{session}"),
        };
        ActKey { scope, key }
    }

    /// The key of an act in a session: for a client's session, session scope is its conversation.
    pub fn in_session(scope: KeyScope, started: &SessionStarted, key: String) -> ActKey {
        match (scope, &started.client) {
            (KeyScope::Session, Some(client)) => {
                // A slash in a name of people would let one scope run into another.
                let plain = |text: &str| text.replace('%', "%25").replace('/', "%2F");
                let (user, name) = (plain(&started.user), plain(&client.conversation));
                let scope = format!("conversation/{}/{user}/{name}", started.tenant);
                ActKey { scope, key }
            }
            _ => ActKey::new(scope, &started.tenant, &started.session, key),
        }
    }

    /// A client's own key: it is that of one tenant and user, and names a call, not an act.
    pub fn of_client(tenant: &Tenant, user: &str, key: &str) -> ActKey {
        ActKey {
            scope: format!("client/{tenant}/{user}"),
            key: key.to_owned(),
        }
    }

    /// The text for the `Idempotency-Key` header. A tenant-wide key goes as it is, so that the
    /// far side and its operators know it by the name that people read. A session-wide key gets
    /// twelve digits of its scope's digest behind it: the far side knows no sessions, and two
    /// sessions must not share one key there.
    pub fn header(&self) -> String {
        if self.scope.starts_with("tenant/") {
            self.key.clone()
        } else {
            let digest = Digest::of_parts("stoplog/scope1", &[&self.scope]);
            format!("{}~{}", self.key, digest.short())
        }
    }
}

/// The label of a call's first explicit effect: nothing stands behind the key.
pub const MAIN_LABEL: &str = "";

/// The label of the effect that takes a call back. Guests cannot take it.
pub const UNDO_LABEL: &str = "undo";

/// The key of one effect of a call: the call's header key, with `.label` behind it for every
/// effect but the first.
pub fn effect_key(header_key: &str, label: &str) -> String {
    if label == MAIN_LABEL {
        header_key.to_owned()
    } else {
        format!("{header_key}.{label}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(session: &str, iteration: u32, ordinal: u32, tool: &str) -> CallKey {
        let tenant = Tenant::new("acme").expect("tenant");
        let session = SessionId::new(session).expect("session");
        CallKey::new(&tenant, &session, Position { iteration, ordinal }, tool)
    }

    #[test]
    fn the_call_key_is_the_position_and_nothing_else() {
        assert_eq!(
            key("s", 4, 0, "issue_refund"),
            key("s", 4, 0, "issue_refund")
        );
        assert_ne!(
            key("s", 4, 0, "issue_refund"),
            key("s", 4, 1, "issue_refund")
        );
        assert_ne!(key("s", 1, 11, "t"), key("s", 11, 1, "t"));
    }

    /// A golden value: the far side has seen these keys, so the formula can never change.
    #[test]
    fn the_formula_is_frozen() {
        assert_eq!(
            key("sess_88", 3, 0, "issue_refund").as_str(),
            "54cd5726e11de16fd1b8e6f83eb8f3448e6eaab1b46cd9b3ded634be939e86ff"
        );
    }

    #[test]
    fn effects_of_one_call_have_keys_of_their_own() {
        assert_eq!(effect_key("k", MAIN_LABEL), "k");
        assert_eq!(effect_key("k", "fee"), "k.fee");
        assert_ne!(effect_key("k", "fee"), effect_key("k", "tip"));
        assert_eq!(effect_key("k", UNDO_LABEL), "k.undo");
    }

    #[test]
    fn session_keys_of_two_sessions_differ_at_the_far_side() {
        let tenant = Tenant::new("acme").expect("tenant");
        let one = SessionId::new("one").expect("session");
        let two = SessionId::new("two").expect("session");
        let header = |scope, session| ActKey::new(scope, &tenant, session, "k".into()).header();
        assert_ne!(
            header(KeyScope::Session, &one),
            header(KeyScope::Session, &two)
        );
        assert_eq!(header(KeyScope::Tenant, &one), "k");
    }

    #[test]
    fn acts_of_a_conversation_reach_over_its_sessions() {
        let started = |session: &str, user: &str, conversation: Option<&str>| SessionStarted {
            session: SessionId::new(session).expect("session"),
            tenant: Tenant::new("acme").expect("tenant"),
            user: user.into(),
            feature: "f".into(),
            task: String::new(),
            system_prompt: String::new(),
            max_iterations: 1,
            tools: vec![],
            client: conversation.map(|name| crate::event::Client {
                conversation: name.into(),
            }),
        };
        let act = |scope, started: &SessionStarted| ActKey::in_session(scope, started, "k".into());
        let own = |session, user, conversation| {
            act(KeyScope::Session, &started(session, user, conversation))
        };
        assert_eq!(own("s1", "bot", Some("c")), own("s2", "bot", Some("c")));
        assert_ne!(own("s1", "bot", Some("c")), own("s1", "bot", Some("d")));
        assert_ne!(own("s1", "bot", Some("c")), own("s1", "other", Some("c")));
        // A session with a model keeps the scope that it always had.
        let tenant = Tenant::new("acme").expect("tenant");
        let id = SessionId::new("s1").expect("session");
        let as_ever = ActKey::new(KeyScope::Session, &tenant, &id, "k".into());
        assert_eq!(own("s1", "bot", None), as_ever);
        let of_tenant = act(KeyScope::Tenant, &started("s1", "bot", Some("c")));
        assert_eq!(of_tenant.scope, "tenant/acme");
        // No user's name makes another's scope.
        assert_ne!(own("s1", "a/b", Some("c")), own("s1", "a", Some("b/c")));
    }
}
