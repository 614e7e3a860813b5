//! `mcp`: one client over standard input and output. `mcp install`: tells a client to start that.

mod install;

use stoplog_model::Reason;
use stoplog_serve::{Approver, Caller, Role};

use super::{Context, front};
use crate::args::{Mcp, McpCommand};
use crate::error::{CliError, Exit};
use crate::host::Voice;
use crate::output;

pub(super) async fn run(context: &Context, args: Mcp) -> Result<Exit, CliError> {
    if let Some(McpCommand::Install(install)) = args.command {
        return install::run(context, install);
    }
    let tenant = args.tenant.ok_or_else(|| {
        let message = "--tenant is missing: whose data and budget is it?";
        CliError::new(Reason::ConfigInvalid, message)
    })?;
    let caller = Caller {
        tenant,
        name: args.user,
        role: Role::Agent,
    };
    let approver = args.approver.map(|name| Approver { name });
    let config = context.config()?;
    let end = context.shutdown.clone();
    let open: front::Open = Box::new(move |host| {
        tokio::spawn(async move {
            if let Err(refusal) = stoplog_serve::stdio(host, caller, approver, end.clone()).await {
                output::note(refusal.message);
            }
            // The client is gone, and this process was for it alone.
            end.cancel();
        })
    });
    front::run(context, config, Voice::Configured(None), open).await
}
