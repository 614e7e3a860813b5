//! What spans can be asked about, and which kind of span has it.

/// The kind of span that a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A whole run: the root of a trace.
    Run,
    /// One turn of the loop.
    Step,
    /// One turn of the model.
    LlmCall,
    /// One call of a tool.
    ToolCall,
    /// An attempt that had to be repeated.
    Retry,
    /// A question to a person.
    Approval,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::Run,
        Kind::Step,
        Kind::LlmCall,
        Kind::ToolCall,
        Kind::Retry,
        Kind::Approval,
    ];

    /// The word in `span_kind`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Run => "final_response",
            Kind::Step => "agent_step",
            Kind::LlmCall => "llm_call",
            Kind::ToolCall => "tool_call",
            Kind::Retry => "retry",
            Kind::Approval => "hitl_approval",
        }
    }

    pub(super) fn view(self) -> &'static str {
        match self {
            Kind::Run => "runs",
            Kind::Step => "all_spans",
            Kind::LlmCall => "llm_calls",
            Kind::ToolCall => "tool_calls",
            Kind::Retry => "retries",
            Kind::Approval => "approvals",
        }
    }

    /// What picks the kind out of its view, if that has others.
    pub(super) fn within_view(self) -> Option<&'static str> {
        (self == Kind::Step).then_some("span_kind = 'agent_step'")
    }

    /// Whether its spans have what a dimension is about. A tool call has the model of the turn that
    /// asked for it.
    pub fn has(self, dimension: Dimension) -> bool {
        use Dimension::*;
        match dimension {
            Tenant | User | Feature | Session | Trace | Day | Status => true,
            Reason => matches!(
                self,
                Kind::Run | Kind::LlmCall | Kind::ToolCall | Kind::Retry
            ),
            Tool | Class => matches!(self, Kind::ToolCall | Kind::Approval),
            ToolVersion | Disposition => self == Kind::ToolCall,
            ModelId => matches!(self, Kind::LlmCall | Kind::ToolCall | Kind::Retry),
            ModelVersion | PromptVersionHash | FinishReason => {
                matches!(self, Kind::LlmCall | Kind::ToolCall)
            }
            PriceVersion => self == Kind::LlmCall,
            Decision | DecidedBy => self == Kind::Approval,
        }
    }

    /// Whether its spans cost money of their own.
    pub(super) fn costs(self) -> bool {
        matches!(self, Kind::Run | Kind::LlmCall | Kind::Retry)
    }
}

/// What spans can be filtered and grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is the field of a span; its word says which"
)]
pub enum Dimension {
    Tenant,
    User,
    Feature,
    Session,
    Trace,
    Day,
    Status,
    Reason,
    Tool,
    ToolVersion,
    Class,
    Disposition,
    ModelId,
    ModelVersion,
    PromptVersionHash,
    FinishReason,
    PriceVersion,
    Decision,
    DecidedBy,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Dimension; 19] = [
        Dimension::Tenant,
        Dimension::User,
        Dimension::Feature,
        Dimension::Session,
        Dimension::Trace,
        Dimension::Day,
        Dimension::Status,
        Dimension::Reason,
        Dimension::Tool,
        Dimension::ToolVersion,
        Dimension::Class,
        Dimension::Disposition,
        Dimension::ModelId,
        Dimension::ModelVersion,
        Dimension::PromptVersionHash,
        Dimension::FinishReason,
        Dimension::PriceVersion,
        Dimension::Decision,
        Dimension::DecidedBy,
    ];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Dimension::Tenant => "tenant",
            Dimension::User => "user",
            Dimension::Session => "session",
            Dimension::Trace => "trace",
            Dimension::Reason => "reason",
            Dimension::Tool => "tool",
            Dimension::Class => "class",
            other => other.column(),
        }
    }

    /// The column of the views.
    pub fn column(self) -> &'static str {
        match self {
            Dimension::Tenant => "tenant_id",
            Dimension::User => "user_id",
            Dimension::Feature => "feature",
            Dimension::Session => "session_id",
            Dimension::Trace => "trace_id",
            Dimension::Day => "day",
            Dimension::Status => "status",
            Dimension::Reason => "error_code",
            Dimension::Tool => "tool_name",
            Dimension::ToolVersion => "tool_version",
            Dimension::Class => "blast_radius_class",
            Dimension::Disposition => "disposition",
            Dimension::ModelId => "model_id",
            Dimension::ModelVersion => "model_version",
            Dimension::PromptVersionHash => "prompt_version_hash",
            Dimension::FinishReason => "finish_reason",
            Dimension::PriceVersion => "price_version",
            Dimension::Decision => "decision",
            Dimension::DecidedBy => "decided_by",
        }
    }

    /// Whether it is about the model's turn.
    pub(super) fn is_of_model(self) -> bool {
        matches!(
            self,
            Dimension::ModelId
                | Dimension::ModelVersion
                | Dimension::PromptVersionHash
                | Dimension::FinishReason
        )
    }
}
