//! Errors as a person or a script meets them: a reason code, a message, a way on, an exit code.

use std::process::ExitCode;

use stoplog_journal::{JournalError, StoreError};
use stoplog_model::Reason;

/// Exit codes. Documented in `stoplog --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or shut down in order.
    Ok = 0,
    /// The run ended with an error, or the command failed.
    Failed = 1,
    /// The command line is wrong, or the question that it asks.
    Usage = 2,
    /// The run waits for a person: an approval, or a parked call.
    Waiting = 3,
    /// The configuration, the lock file or a tool is wrong.
    Config = 4,
    /// The journal, the data directory or the session cannot be used now.
    Journal = 5,
    /// `tool test` ran, and a check failed.
    Failures = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// The code, and the page in `docs/reasons/`; none for what should not happen.
    pub reason: Option<Reason>,
    /// What happened, to what.
    pub message: String,
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "{}: {}", reason.code(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for CliError {}

impl CliError {
    /// An error with a reason code.
    pub fn new(reason: Reason, message: impl Into<String>) -> CliError {
        CliError {
            reason: Some(reason),
            message: message.into(),
        }
    }

    /// Something that has no page.
    pub fn internal(message: impl Into<String>) -> CliError {
        CliError {
            reason: None,
            message: message.into(),
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        use Reason::*;
        match self.reason {
            Some(
                ConfigNotFound | ConfigInvalid | LockInvalid | ToolNotComponent | ToolClassUnclear
                | ToolImportRefused | ToolContractInvalid | ToolFieldUndecided | ToolUnstable
                | ToolChanged | ToolMissing | ToolClassNotAccepted | ToolDeclined | ToolNotAdded
                | ToolNotBuilt | ProjectNotFound | ProjectExists | ToolNameReserved
                | TemplateMissing | SecretExposed | EncryptionKeyInvalid | CaseInvalid
                | TemplateInvalid | ListenFailed | ClientConfigInvalid | KeyNotFound,
            ) => Exit::Config,
            Some(
                DataDirLocked | SessionLeased | LeaseLost | JournalUnwritable | JournalCorrupt
                | JournalNewer | JournalEncrypted | JournalNotDurable | TracesUnusable
                | TracesNewer | LabelsUnusable | ExportBroken | SessionNotFound | SessionExists
                | SessionEnded | StateNotFound,
            ) => Exit::Journal,
            Some(QuestionInvalid) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> CliError {
        CliError::new(error.reason(), error.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> CliError {
        JournalError::from(error).into()
    }
}

impl From<stoplog_sandbox::LoadError> for CliError {
    fn from(error: stoplog_sandbox::LoadError) -> CliError {
        CliError::new(error.reason, error.message)
    }
}
