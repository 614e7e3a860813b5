//! What can be wrong with what the operator hands in. What can be wrong with a request of a
//! guest is [`EffectError`](stoplog_model::EffectError).

/// The operator's settings cannot be used. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// A grant is wrong.
    #[error("the grant `{given}` cannot be used: {why}")]
    Grant {
        /// The text, as given.
        given: String,
        /// The rule that it breaks, and what to write instead.
        why: String,
    },
    /// A secret is wrong. Its value is not shown.
    #[error("the secret `{name}` cannot be bound: {why}")]
    Secret {
        /// Its name.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
}
