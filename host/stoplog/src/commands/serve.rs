//! `serve`: HTTP and MCP on one address.

use std::net::SocketAddr;

use serde_json::json;
use stoplog_model::Reason;
use stoplog_serve::{Auth, KeyRing, Settings};
use tokio::net::TcpListener;

use super::{Context, front};
use crate::args;
use crate::config::{Asked, Config};
use crate::error::{CliError, Exit};
use crate::host::Voice;
use crate::output;

pub(super) async fn run(context: &Context, args: args::Serve) -> Result<Exit, CliError> {
    let config = context.config()?;
    let listen = args.listen.unwrap_or(config.serve.listen);
    let settings = settings(&config, listen)?;
    let listener = TcpListener::bind(listen).await.map_err(|e| {
        let message = format!("{listen}: {e}");
        CliError::new(Reason::ListenFailed, message)
    })?;
    let address = listener.local_addr();
    let address = address.map_err(|e| CliError::internal(e.to_string()))?;
    let (end, as_json) = (context.shutdown.clone(), context.json);
    let open: front::Open = Box::new(move |host| {
        tell(as_json, address);
        tokio::spawn(stoplog_serve::serve(listener, host, settings, end))
    });
    front::run(
        context,
        config,
        Voice::Configured(args.script.as_deref()),
        open,
    )
    .await
}

/// The first line that is printed: whoever reads it may ask.
fn tell(as_json: bool, address: SocketAddr) {
    match as_json {
        true => output::json_line(&json!({"listening": address})),
        false => output::line(format!("listening  http://{address}")),
    }
}

fn settings(config: &Config, listen: SocketAddr) -> Result<Settings, CliError> {
    let service = &config.serve;
    let auth = match service.auth {
        Asked::Keys => {
            let path = service.keys.clone();
            Auth::Keys(KeyRing::new(
                path.unwrap_or_else(|| super::key::file(&config.data_dir)),
            ))
        }
        Asked::Nothing if listen.ip().is_loopback() => Auth::Off,
        Asked::Nothing => {
            let message = format!("{listen} is no loopback address, and keys are off");
            return Err(CliError::new(Reason::ConfigInvalid, message));
        }
    };
    let mut hosts = service.hosts.clone();
    let ip = listen.ip();
    hosts.push(match ip.is_ipv6() {
        true => format!("[{ip}]"),
        false => ip.to_string(),
    });
    if ip.is_loopback() {
        hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    }
    Ok(Settings {
        auth,
        hosts,
        origins: service.origins.clone(),
        limits: service.limits.clone(),
        mcp: service.mcp,
    })
}
