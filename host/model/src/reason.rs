//! Reason codes: every error that a user can meet has one, and a page in `docs/reasons/`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $code:literal $hint:literal;)*) => {
        /// Why the host refused, stopped or parked. Its code is the name of its page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The code: stable, lower case, in messages, events and file names.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// What to do, in one line.
            pub fn hint(self) -> &'static str {
                match self { $(Reason::$name => $hint,)* }
            }
        }
    };
}

reasons! {
    /// There is no configuration file.
    ConfigNotFound "config_not_found" "create stoplog.toml, or name one with --config";
    /// The configuration file is wrong.
    ConfigInvalid "config_invalid" "correct the line that the message names";
    /// The lock file is wrong.
    LockInvalid "lock_invalid" "restore stoplog.lock, or add the tools anew with `stoplog tool add`";

    /// The file is not a component.
    ToolNotComponent "tool_not_component" "build the tool for wasm32-wasip2 with stoplog-sdk";
    /// The component exports no tool interface, or more than one.
    ToolClassUnclear "tool_class_unclear" "export `about` and exactly one tool interface of stoplog:tool@0.1.0";
    /// The component imports what its class may not.
    ToolImportRefused "tool_import_refused" "remove the import, or export the interface of a higher class";
    /// What `describe` says breaks the contract.
    ToolContractInvalid "tool_contract_invalid" "correct the contract that the tool describes";
    /// A schema leaves a field without `x-disclosure`.
    ToolFieldUndecided "tool_field_undecided" "give the field x-disclosure: audit, personal or secret";
    /// `describe` said two different things.
    ToolUnstable "tool_unstable" "make `describe` a constant";
    /// The component is not the one in the lock.
    ToolChanged "tool_changed" "look at the change, then accept it with `stoplog tool add`";
    /// The component file is missing.
    ToolMissing "tool_missing" "add the tool again with `stoplog tool add FILE`";
    /// A tool of class 3 or 4 needs its class accepted.
    ToolClassNotAccepted "tool_class_not_accepted" "add --accept-class CLASS if that is what you want";
    /// A person was asked whether to add the tool, and said no.
    ToolDeclined "tool_declined" "add it again when it may be what it is";
    /// The tool is not in the lock file.
    ToolNotAdded "tool_not_added" "build it and accept it: `stoplog tool build`, then `stoplog tool add`";

    /// There is no tool project here.
    ProjectNotFound "project_not_found" "go into the folder of a tool, name one, or make one with `stoplog tool new`";
    /// The folder of a new project has something in it.
    ProjectExists "project_exists" "take another name, or an empty folder";
    /// A tool cannot have this name in this language.
    ToolNameReserved "tool_name_reserved" "take another name, such as one of two words";
    /// There is no template for this language and class.
    TemplateMissing "template_missing" "take a language and a class that the message lists";
    /// A command of the project's build failed.
    BuildFailed "build_failed" "correct what is said above, or install what the message names";
    /// The project has not been built.
    ToolNotBuilt "tool_not_built" "build it: `stoplog tool build`";
    /// A case of `tool test` cannot be read.
    CaseInvalid "case_invalid" "correct the case that the message names";
    /// A template of a tool without code makes no tool.
    TemplateInvalid "template_invalid" "correct the part of the template that the message names";

    /// The model called a tool that does not exist.
    UnknownTool "unknown_tool" "call one of the tools that are listed";
    /// The arguments break the input schema.
    InputSchema "input_schema" "correct the arguments to fit the tool's input schema";
    /// The output breaks the output schema.
    OutputSchema "output_schema" "the tool is at fault: its author must correct it";
    /// The key template cannot be filled from the arguments.
    KeyUnfillable "key_unfillable" "give every field that the tool's key names, shorter";
    /// The same act with other arguments exists.
    KeyConflict "key_conflict" "this act was decided on before with other arguments: look at what was done before deciding again";
    /// The same act is under way.
    KeyInFlight "key_in_flight" "wait for the other call, then ask again";
    /// There is no room for one more, not even in line.
    HostBusy "host_busy" "try again after the time that is told; `[limits]` in stoplog.toml says how much is let in";
    /// An operator's policy forbids the call.
    PolicyDenied "policy_denied" "do without this call, or ask the operator";

    /// A person has to agree first.
    ApprovalRequired "approval_required" "see `stoplog approvals list`";
    /// A person said no.
    ApprovalRejected "approval_rejected" "read the reviewer's reason and plan again";
    /// Nobody decided in time.
    ApprovalExpired "approval_expired" "ask again if it is still wanted: a new call asks anew";
    /// There is no such approval.
    ApprovalNotFound "approval_not_found" "see `stoplog approvals list`";
    /// The approval is decided already.
    ApprovalNotPending "approval_not_pending" "nothing to do: it was decided before";

    /// The class may not use this method.
    MethodRefused "method_refused" "a read tool uses GET, HEAD and OPTIONS only; a write tool performs with its permit";
    /// The operator has not granted this origin.
    OriginNotGranted "origin_not_granted" "the operator can grant it: `stoplog tool add FILE --grant ORIGIN`, or a [[grant]] in stoplog.toml";
    /// The address is private and not granted.
    AddressPrivate "address_private" "the operator can grant it in stoplog.toml: allow_private = true in the [[grant]]";
    /// The URL cannot be used.
    UrlInvalid "url_invalid" "use an absolute http or https URL without user info";
    /// The header belongs to the host.
    HeaderReserved "header_reserved" "leave host, idempotency-key, content-length and hop-by-hop headers to the host";
    /// A secret is not declared or not bound.
    SecretMissing "secret_missing" "declare the secret in the contract and bind it in stoplog.toml";
    /// Others than its owner can read a secret's file.
    SecretExposed "secret_exposed" "chmod 600 the file, and think about a new secret";
    /// What should be a key of the journal is none.
    EncryptionKeyInvalid "encryption_key_invalid" "put 64 hexadecimal digits there, as `openssl rand -hex 32` makes them";
    /// An input names a secret.
    SecretNamed "secret_named" "leave {{secret:...}} out of the input: the tool puts its secrets in by itself";
    /// A permit was used twice, or a label was.
    PermitSpent "permit_spent" "use `split` with a new label for each further effect";
    /// The request or response is too large, or there are too many.
    RequestLimit "request_limit" "make fewer or smaller requests in one call";

    /// The tool may not keep state, or not here.
    StateDenied "state_denied" "only `call` and `undo` write state, and only of a tool whose line in stoplog.lock says `state = true`";
    /// The state is full, or what it is to keep is too large.
    StateLimit "state_limit" "keep less: delete keys, or see `stoplog state list`";
    /// A tool keeps nothing under this key.
    StateNotFound "state_not_found" "see `stoplog state list`";

    /// The guest trapped.
    SandboxTrap "sandbox_trap" "the tool is at fault: its author must correct it";
    /// The guest met a limit.
    SandboxLimit "sandbox_limit" "the tool needs more than one call may have: see the message";
    /// The guest took too long.
    SandboxTimeout "sandbox_timeout" "raise timeout_ms in the tool's contract, or do less in one call";
    /// Running the call again went another way.
    Nondeterministic "nondeterministic" "look at what was done, then `stoplog parked resolve`";
    /// Sent again often enough.
    ResendExhausted "resend_exhausted" "look at the far side, then `stoplog parked resolve`";
    /// The journal says done, the far side says absent.
    LedgerMismatch "ledger_mismatch" "compare journal and far side, then `stoplog parked resolve`";
    /// The far side has it several times.
    FoundSeveral "found_several" "correct it at the far side, then `stoplog parked resolve`";
    /// The far side can neither be asked nor told again.
    DoubtUnresolvable "doubt_unresolvable" "look at the far side, then `stoplog parked resolve`";

    /// Another host works in this data directory.
    DataDirLocked "data_dir_locked" "stop the other host, or use its own data directory for each";
    /// Another host has the session.
    SessionLeased "session_leased" "wait until the other host is done with the session";
    /// This host lost the session to another.
    LeaseLost "lease_lost" "nothing to do: the other host goes on with the session";
    /// The journal cannot be written.
    JournalUnwritable "journal_unwritable" "make space or repair the disk, then start again";
    /// The journal cannot be read.
    JournalCorrupt "journal_corrupt" "restore the data directory from a backup";
    /// The journal is from a newer version.
    JournalNewer "journal_newer" "use the version of stoplog that wrote it, or a later one";
    /// The journal is encrypted, and a key is missing.
    JournalEncrypted "journal_encrypted" "name the key in `[journal]` of the configuration: `encryption_key`, or `old_encryption_keys`";
    /// The journal's durability settings did not take.
    JournalNotDurable "journal_not_durable" "use a file system that supports SQLite's WAL";

    /// A file that the command was to write cannot be written.
    FileUnwritable "file_unwritable" "name another place, or make room and rights in this one";
    /// The trace store cannot be read or written now, or is damaged.
    TracesUnusable "traces_unusable" "free the disk, or delete traces.db* with no host running: the journal brings it back";
    /// A newer version of stoplog made the trace store.
    TracesNewer "traces_newer" "use the version of stoplog that made it, or delete traces.db* with no host running";
    /// What people said of sessions cannot be read or written now.
    LabelsUnusable "labels_unusable" "free the disk or correct the rights; labels.db is in no backup but yours";
    /// The question cannot be asked.
    QuestionInvalid "question_invalid" "correct what the message names; docs/questions.md has what can be asked";
    /// The question takes too long, or its answer is too large.
    QuestionTooLarge "question_too_large" "ask for a shorter time with --since, for fewer rows or groups, or raise --timeout";

    /// An exported file is not as it was exported.
    ExportBroken "export_broken" "get the file again from where it was made, or export the session anew";

    /// There is no such session.
    SessionNotFound "session_not_found" "see `stoplog sessions list`";
    /// The session exists already.
    SessionExists "session_exists" "use `stoplog resume`, or another --session";
    /// The session has ended.
    SessionEnded "session_ended" "nothing to do; start another session with `stoplog run`";
    /// There is no such parked call.
    ParkNotFound "park_not_found" "see `stoplog parked list`";

    /// The loop took too many turns.
    IterationLimit "iteration_limit" "raise max_iterations for new sessions, or give a smaller task";
    /// The model could not be asked.
    ModelUnavailable "model_unavailable" "check the model section of stoplog.toml, and the provider";
    /// The session has used up what it may ask of its model.
    ModelBudgetExhausted "model_budget_exhausted" "see what it did, then raise [model.budget] in stoplog.toml and resume it, or let it be";
    /// The host was told to stop.
    ShuttingDown "shutting_down" "resume the session: `stoplog resume SESSION`, or `stoplog resume --all`";
    /// A request to the service has no key that is known.
    Unauthenticated "unauthenticated" "send `Authorization: Bearer KEY`; an operator makes keys with `stoplog key create`";
    /// The key is for something else.
    Forbidden "forbidden" "use the key of somebody who may: who asks for a call never decides about it";
    /// The request was addressed to another host, or sent by the page of another origin.
    HostRefused "host_refused" "use a name of the service, or add it to hosts or origins under [serve]";
    /// The request cannot be read.
    RequestInvalid "request_invalid" "correct what the message names; /openapi.json has the shapes";
    /// The body is too large.
    RequestTooLarge "request_too_large" "send less, or raise body_bytes under [serve]";
    /// The body did not come in time.
    RequestTimeout "request_timeout" "send the request again, at once";
    /// There is no such route.
    RouteNotFound "route_not_found" "see /openapi.json";
    /// The route takes another method.
    MethodNotAllowed "method_not_allowed" "see /openapi.json";
    /// The idempotency key is malformed.
    IdempotencyKeyInvalid "idempotency_key_invalid" "give one text of 1 to 255 visible characters";
    /// A handler panicked.
    HandlerPanicked "handler_panicked" "send the request again under the same key, and report the defect";
    /// There is no such key.
    KeyNotFound "key_not_found" "see `stoplog key list`";
    /// The address of the service cannot be used.
    ListenFailed "listen_failed" "take another address with --listen, or end what has this one";
    /// A service does not answer, or takes no work.
    ServiceUnhealthy "service_unhealthy" "is it running, and where? The message says what was found";
    /// The configuration of a client cannot be changed.
    ClientConfigInvalid "client_config_invalid" "correct the client's file, or write the entry by hand: the message has it";
    /// The answer says that something was done, and no call did it.
    UnsupportedClaim "unsupported_claim" "look at what was done; then begin another session, or correct the rule of the claim";
    /// The model's answer cannot be used.
    ModelAnswerUnusable "model_answer_unusable" "look at the finish reason in the trace";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_stored_form_are_one() {
        for reason in Reason::ALL {
            let stored = serde_json::to_string(reason).expect("json");
            assert_eq!(stored, format!("\"{}\"", reason.code()));
        }
    }
}
