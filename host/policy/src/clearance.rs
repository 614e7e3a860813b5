//! The right to run a call, and the rights to its effects.
//!
//! Neither can be cloned or made outside this crate, so there is no way from a call to an effect
//! that does not pass [`judge`](crate::judge()).

use std::collections::BTreeSet;

use stoplog_model::key::{ActKey, effect_key};
use stoplog_model::{ApprovalId, Class, Digest, Position};

/// Longest label of an effect, in bytes: it stands behind the key, which must stay a header.
pub const MAX_LABEL_BYTES: usize = 40;

/// The right to run one call. Only [`judge`](crate::judge()) makes one.
#[derive(Debug)]
pub struct Clearance {
    pub(crate) position: Position,
    pub(crate) class: Class,
    pub(crate) args_digest: Digest,
    pub(crate) header_key: String,
    pub(crate) act_key: Option<ActKey>,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) spent: BTreeSet<String>,
}

/// The right to one effect under one key. Taken by value when its intent is recorded.
#[derive(Debug)]
pub struct Permit {
    position: Position,
    label: String,
    key: String,
    act_key: Option<ActKey>,
    args_digest: Digest,
    approval: Option<ApprovalId>,
}

/// Why there is no permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPermit {
    /// The class has no effects.
    #[error("class {0} has no effects")]
    Class(Class),
    /// Each label is good once.
    #[error("the label `{0}` was used before in this call")]
    Spent(String),
    /// Labels become part of a key.
    #[error("the label `{0}` is not 1 to 40 of a-z, 0-9, `_`, `-`")]
    Malformed(String),
}

impl Clearance {
    /// The call.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The class that it was judged as.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The key that its first effect carries.
    pub fn header_key(&self) -> &str {
        &self.header_key
    }

    /// The act that it claims.
    pub fn act_key(&self) -> Option<&ActKey> {
        self.act_key.as_ref()
    }

    /// Digest of its arguments.
    pub fn args_digest(&self) -> &Digest {
        &self.args_digest
    }

    /// Whether a label can still be taken.
    pub fn check_label(&self, label: &str) -> Result<(), NoPermit> {
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        if !label.is_empty() && (label.len() > MAX_LABEL_BYTES || !label.bytes().all(plain)) {
            return Err(NoPermit::Malformed(label.to_owned()));
        }
        if self.spent.contains(label) {
            return Err(NoPermit::Spent(label.to_owned()));
        }
        Ok(())
    }

    /// The right to the effect under this label. The first permit of a call carries its approval,
    /// so the commit of the first intent consumes it.
    pub fn permit(&mut self, label: &str) -> Result<Permit, NoPermit> {
        if !self.class.writes() {
            return Err(NoPermit::Class(self.class));
        }
        self.check_label(label)?;
        self.spent.insert(label.to_owned());
        Ok(Permit {
            position: self.position,
            label: label.to_owned(),
            key: effect_key(&self.header_key, label),
            act_key: self.act_key.clone(),
            args_digest: self.args_digest.clone(),
            approval: self.approval.take(),
        })
    }
}

/// What a permit holds, taken apart by the journal when it records the intent.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields of a permit, named as in the event")]
pub struct Grant {
    pub position: Position,
    pub label: String,
    pub key: String,
    pub act_key: Option<ActKey>,
    pub args_digest: Digest,
    pub approval: Option<ApprovalId>,
}

impl Permit {
    /// The label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The approval that the intent will consume.
    pub fn approval(&self) -> Option<&ApprovalId> {
        self.approval.as_ref()
    }

    /// Spends the permit.
    pub fn spend(self) -> Grant {
        Grant {
            position: self.position,
            label: self.label,
            key: self.key,
            act_key: self.act_key,
            args_digest: self.args_digest,
            approval: self.approval,
        }
    }
}
