//! `serve`: HTTP and MCP on one address.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;
use stoplog_model::Reason;
use stoplog_serve::{Aside, Auth, KeyRing, Measured, Settings};
use tokio::net::TcpListener;

use super::{Context, front};
use crate::args;
use crate::config::{Asked, Config, Metrics};
use crate::error::{CliError, Exit};
use crate::host::Voice;
use crate::output;

pub(super) async fn run(context: &Context, args: args::Serve) -> Result<Exit, CliError> {
    let config = context.config()?;
    let listen = args.listen.unwrap_or(config.serve.listen);
    let settings = settings(&config, listen)?;
    let (listener, address) = bound(listen).await?;
    let (aside, metrics) = match config.metrics.listen {
        None => (None, None),
        Some(listen) => {
            let (listener, address) = bound(listen).await?;
            let aside = aside(&config.metrics, listener, address);
            (Some(aside), Some(address))
        }
    };
    let (end, as_json) = (context.shutdown.clone(), context.json);
    let open: front::Open = Box::new(move |host| {
        tell(as_json, address, metrics);
        tokio::spawn(stoplog_serve::serve(listener, aside, host, settings, end))
    });
    front::run(
        context,
        config,
        Voice::Configured(args.script.as_deref()),
        open,
    )
    .await
}

/// A listener, and where it is.
async fn bound(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let failed = |e: std::io::Error| {
        let message = format!("{listen}: {e}");
        CliError::new(Reason::ListenFailed, message)
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The golden signals at an address of their own. On this machine without a key they answer to its
/// names alone: a page of somebody else could ask otherwise.
fn aside(metrics: &Metrics, listener: TcpListener, at: SocketAddr) -> Aside<TcpListener> {
    let (measured, hosts) = match metrics.auth {
        Asked::Keys => (Measured::Keyed, Vec::new()),
        Asked::Nothing if at.ip().is_loopback() => (Measured::Open, names_of(at.ip())),
        Asked::Nothing => (Measured::Open, Vec::new()),
    };
    Aside {
        listener,
        metrics: measured,
        hosts,
    }
}

/// Names by which an address of this machine is asked.
fn names_of(ip: IpAddr) -> Vec<String> {
    let own = match ip.is_ipv6() {
        true => format!("[{ip}]"),
        false => ip.to_string(),
    };
    let mut names = vec![own];
    if ip.is_loopback() || ip.is_unspecified() {
        names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    }
    names
}

/// The first line that is printed: whoever reads it may ask.
fn tell(as_json: bool, address: SocketAddr, metrics: Option<SocketAddr>) {
    match (as_json, metrics) {
        (true, None) => output::json_line(&json!({"listening": address})),
        (true, Some(at)) => output::json_line(&json!({"listening": address, "metrics": at})),
        (false, _) => {
            output::line(format!("listening  http://{address}"));
            if let Some(at) = metrics {
                output::line(format!("metrics    http://{at}/metrics"));
            }
        }
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
    let metrics = match (config.metrics.listen, config.metrics.auth) {
        (Some(_), _) => Measured::Elsewhere,
        (None, Asked::Keys) => Measured::Keyed,
        (None, Asked::Nothing) if listen.ip().is_loopback() => Measured::Open,
        (None, Asked::Nothing) => {
            let message =
                format!("{listen} is no loopback address, and [metrics] asks for no key there");
            return Err(CliError::new(Reason::ConfigInvalid, message));
        }
    };
    let mut hosts = service.hosts.clone();
    hosts.extend(names_of(listen.ip()));
    Ok(Settings {
        auth,
        hosts,
        origins: service.origins.clone(),
        limits: service.limits.clone(),
        mcp: service.mcp,
        metrics,
    })
}
