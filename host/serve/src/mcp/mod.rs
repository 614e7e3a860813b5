//! The Model Context Protocol, over standard input and output and over HTTP.
//!
//! The protocol has no idempotency key, and its newest revision tells clients to send a broken
//! request again under a new id. Here a call may carry one in `_meta` (`stoplog/idempotency-key`);
//! without it the act key of the tool does.
//!
//! Invariants:
//! * `tools/list` is told from memory, in the order of the lock;
//! * a call that a client cancels, or whose connection breaks, is finished and journalled; a repeat
//!   is told what came of it. One that was not begun is not begun;
//! * the protocol's sessions mean nothing here: who asks, and in which conversation, is all.

mod answer;
mod elicit;
mod resources;

use std::sync::Arc;
use std::time::Duration;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, GetPromptRequestParams,
    GetPromptResponse, Implementation, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, Tool as McpTool,
};
use rmcp::service::{RequestContext, RoleServer, ServiceExt};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, transport};
use serde_json::Value;
use stoplog_model::Reason;
use tokio_util::sync::CancellationToken;

use crate::caller::{Caller, Right};
use crate::http::{App, check_conversation};
use crate::seam::{Answer, Ask, Host, Refusal};

pub use elicit::Approver;

/// The revisions that are spoken.
pub const PROTOCOLS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// In `_meta` of a call: the client's own key of it.
const KEY: &str = "stoplog/idempotency-key";
/// In `_meta` of a call: the conversation that it belongs to.
const CONVERSATION: &str = "stoplog/conversation";

/// Pause between two words of progress, for a client that asked for them: long enough not to be
/// noise, short enough that a client which gives up on silence does not.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Who asks over a connection.
#[derive(Clone)]
enum Asks {
    /// One caller: the process was started for it.
    One(Caller),
    /// Whoever the request's key says.
    Each,
}

/// The protocol's server.
#[derive(Clone)]
pub(crate) struct Server {
    app: App,
    asks: Asks,
    approver: Option<Approver>,
}

/// Serves one client over standard input and output, until it goes away or `end`. Calls under way
/// are not waited for here: they are the host's.
pub async fn stdio(
    host: Arc<dyn Host>,
    caller: Caller,
    approver: Option<Approver>,
    end: CancellationToken,
) -> Result<(), Refusal> {
    let failed = |e: String| Refusal::internal(format!("MCP over standard input: {e}"));
    let server = Server {
        app: App::alone(host, end.clone()),
        asks: Asks::One(caller),
        approver,
    };
    let serving = server.serve_with_ct(transport::stdio(), end.clone());
    let Some(running) = end.run_until_cancelled(serving).await else {
        return Ok(());
    };
    let running = match running {
        Ok(running) => running,
        // A client that went away without a word has nothing to be told.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(failed(error.to_string())),
    };
    running.waiting().await.map_err(|e| failed(e.to_string()))?;
    Ok(())
}

/// The service at `/mcp`. Hosts and origins were checked before, and so was the caller.
pub(crate) fn over_http(app: &App) -> StreamableHttpService<Server, LocalSessionManager> {
    let server = Server {
        app: app.clone(),
        asks: Asks::Each,
        approver: None,
    };
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        // A client that is told to come back with a session's id would be lost with this process.
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(app.settings.limits.body_bytes)
        .with_cancellation_token(app.end.clone());
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
}

impl Server {
    /// Who asks.
    fn caller(&self, context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
        let caller = match &self.asks {
            Asks::One(caller) => Some(caller.clone()),
            Asks::Each => {
                let parts = context.extensions.get::<http::request::Parts>();
                parts.and_then(|p| p.extensions.get::<Caller>()).cloned()
            }
        };
        caller
            .filter(|c| c.role.may(Right::Act))
            .ok_or_else(|| ErrorData::invalid_request("nobody knows who asks", None))
    }

    fn ask(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Ask, Refusal> {
        let meta = |name: &str| -> Result<Option<String>, Refusal> {
            match context.meta.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(_) => {
                    let message = format!("_meta: `{name}` is a text");
                    Err(Refusal::new(Reason::RequestInvalid, message))
                }
            }
        };
        let key = meta(KEY)?;
        let is_key = |k: &str| {
            let plain = k.bytes().all(|b| b.is_ascii_graphic());
            plain && (1..=crate::limits::KEY_CHARS).contains(&k.len())
        };
        if key.as_deref().is_some_and(|k| !is_key(k)) {
            let message = format!("_meta: `{KEY}` is a text of 1 to 255 visible characters");
            return Err(Refusal::new(Reason::IdempotencyKeyInvalid, message));
        }
        let conversation = meta(CONVERSATION)?.unwrap_or_default();
        check_conversation(&conversation)?;
        let client = context.client_info();
        let program = client.map_or("mcp".to_owned(), |c| format!("{} {}", c.name, c.version));
        Ok(Ask {
            tool: request.name.into_owned(),
            arguments: Value::Object(request.arguments.unwrap_or_default()),
            key,
            conversation,
            program,
        })
    }

    /// Has it done; tells of progress where that is asked for.
    async fn done(
        &self,
        caller: &Caller,
        ask: Ask,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answer, Refusal> {
        let tool = ask.tool.clone();
        let mut doing = std::pin::pin!(self.app.call(caller.clone(), ask));
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                answer = &mut doing => return answer,
                () = context.ct.cancelled() => {
                    let message = "cancelled by the client; what was begun is finished, and a repeat is told what came of it";
                    return Err(Refusal::new(Reason::KeyInFlight, message));
                }
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    ticks += 1;
                    if let Some(token) = context.meta.get_progress_token() {
                        let told = ProgressNotificationParam::new(token, f64::from(ticks))
                            .with_message(format!("`{tool}` is under way"));
                        // Whoever is gone hears nothing.
                        let _ = context.peer.notify_progress(told).await;
                    }
                }
            }
        }
    }
}

/// A tool as the protocol has it; its definition was made by the model crate.
fn to_tool(definition: &Value) -> Option<McpTool> {
    serde_json::from_value(definition.clone()).ok()
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_prompts()
            .build();
        let told = "Each call is done once: one that is repeated after a broken connection is told what \
                    came of it. Give a call a key of its own in _meta, `stoplog/idempotency-key`, where \
                    two calls with the same arguments are meant to be two.";
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("stoplog", env!("CARGO_PKG_VERSION")))
            .with_instructions(told)
    }

    fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [ProtocolVersion]> {
        let known = ProtocolVersion::KNOWN_VERSIONS.iter();
        let ours = known.filter(|v| PROTOCOLS.contains(&v.as_str())).cloned();
        ours.collect::<Vec<_>>().into()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let all = self.app.host.tools().iter();
        let tools = all.filter_map(|t| to_tool(&t.definition)).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    fn get_tool(&self, name: &str) -> Option<McpTool> {
        let tool = self.app.host.tools().iter().find(|t| t.name == name)?;
        to_tool(&tool.definition)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context)?;
        let result = self.call(&caller, request, &context).await;
        let told: CallToolResult = match result {
            Ok(answer) => answer::told(&answer),
            Err(refusal) if refusal.reason == Some(Reason::UnknownTool) => {
                return Err(ErrorData::invalid_params(refusal.message, None));
            }
            Err(refusal) => answer::refused(&refusal),
        };
        Ok(told.into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::default())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(
            resources::templates(),
        ))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = self.caller(&context)?;
        let host = &*self.app.host;
        let read = resources::read(host, &caller, &request.uri).await?;
        Ok(read.into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(resources::prompts()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Ok(resources::prompt(request)?.into())
    }
}

impl Server {
    /// Has a call done; asks the person at the client where that one may approve, and goes on.
    async fn call(
        &self,
        caller: &Caller,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<Answer, Refusal> {
        let ask = self.ask(request, context)?;
        let answer = self.done(caller, ask.clone(), context).await?;
        let Some(approver) = &self.approver else {
            return Ok(answer);
        };
        let host = &*self.app.host;
        match elicit::decided(host, approver, caller, &answer, context).await? {
            true => self.done(caller, ask, context).await,
            false => Ok(answer),
        }
    }
}
