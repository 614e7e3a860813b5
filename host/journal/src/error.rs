//! Why something could not be journalled, with its reason code.

use stoplog_model::session::IllegalEvent;
use stoplog_model::{Reason, SessionId};

use crate::store::StoreError;

/// Why something could not be journalled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event does not fit the session: a defect, or a damaged journal.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// There is one already.
    #[error("session {0} exists already")]
    Exists(SessionId),
    /// An earlier commit failed: this journal is closed.
    #[error("the journal of this session is closed since a commit failed: {0}")]
    Closed(String),
}

impl JournalError {
    /// The reason code.
    pub fn reason(&self) -> Reason {
        match self {
            JournalError::Store(e) => match e {
                StoreError::Leased(_) => Reason::SessionLeased,
                StoreError::Fenced { .. } | StoreError::SeqTaken { .. } => Reason::LeaseLost,
                StoreError::ActTaken(_) => Reason::KeyInFlight,
                StoreError::Unwritable(_) => Reason::JournalUnwritable,
                StoreError::Corrupt(_) => Reason::JournalCorrupt,
                StoreError::Newer { .. } => Reason::JournalNewer,
                StoreError::Encrypted { .. } => Reason::JournalEncrypted,
                StoreError::NotDurable(_) => Reason::JournalNotDurable,
                StoreError::Locked(_) => Reason::DataDirLocked,
            },
            JournalError::Illegal(_) => Reason::JournalCorrupt,
            JournalError::NotFound(_) => Reason::SessionNotFound,
            JournalError::Exists(_) => Reason::SessionExists,
            JournalError::Closed(_) => Reason::JournalUnwritable,
        }
    }
}
