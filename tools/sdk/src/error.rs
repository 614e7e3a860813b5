//! `ToolError`: what a failed call says, to the model and to the host.

pub use crate::bindings::types::{Aftermath, ErrorCode, ToolError};

/// One constructor for each kind. All begin with [`Aftermath::Untouched`], no hint, no wait.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {
        impl ToolError {
            $($(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorCode::$code, message)
            })*
        }
    };
}

constructors! {
    /// The input fits the schema and is wrong all the same.
    invalid_input => InvalidInput;
    /// What the input names does not exist.
    not_found => NotFound;
    /// The far side refuses: not allowed.
    permission => Permission;
    /// The far side refuses: not in this state.
    precondition => Precondition;
    /// The far side refuses: something else happened first.
    conflict => Conflict;
    /// The far side refuses for now: too much.
    rate_limited => RateLimited;
    /// Trying again later may help.
    transient => Transient;
    /// The far side answered something that the tool cannot use.
    upstream => Upstream;
    /// The tool itself failed.
    internal => Internal;
}

impl ToolError {
    /// A failure that changed nothing. `message` says what happened, to what; no secrets.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            retry_after_ms: None,
            aftermath: Aftermath::Untouched,
        }
    }

    /// Says what the model should do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says how many milliseconds to wait before another try makes sense.
    #[must_use]
    pub fn retry_after_ms(mut self, wait_ms: u64) -> Self {
        self.retry_after_ms = Some(wait_ms);
        self
    }

    /// Says whether something changed outside.
    #[must_use]
    pub fn aftermath(mut self, aftermath: Aftermath) -> Self {
        self.aftermath = aftermath;
        self
    }
}
