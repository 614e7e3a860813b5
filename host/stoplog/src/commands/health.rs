//! `health`: does the service answer? For supervisors that can only run a command, in images where
//! nothing else could ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use stoplog_egress::{Egress, Patience, Settings};
use stoplog_model::Reason;

use super::Context;
use crate::args;
use crate::error::{CliError, Exit};
use crate::output;

/// How long an answer may take: less than what supervisors wait for a check.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(context: &Context, args: args::Health) -> Result<Exit, CliError> {
    let address = match args.address {
        Some(address) => address,
        None => context.config()?.serve.listen,
    };
    let at = reachable(address);
    let path = if args.ready { "ready" } else { "health" };
    let (status, body) = ask(at, path).await?;
    let told: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    if status != 200 {
        let conditions = told["conditions"].as_array().into_iter().flatten();
        let broken = conditions.filter(|c| c["holds"] == false);
        let said: Vec<String> = broken
            .map(|c| {
                format!(
                    "{}: {}",
                    c["name"].as_str().unwrap_or("?"),
                    c["said"].as_str().unwrap_or("?")
                )
            })
            .collect();
        let message = format!("http://{at}/{path} says {status} {}", said.join("; "));
        return Err(unhealthy(message.trim_end()));
    }
    match context.json {
        true => output::json(&json!({"address": at, "answer": told})),
        false => output::line(format!(
            "{}  http://{at}",
            if args.ready { "ready" } else { "live" }
        )),
    }
    Ok(Exit::Ok)
}

async fn ask(at: SocketAddr, path: &str) -> Result<(u16, String), CliError> {
    let failed = |e: &dyn std::fmt::Display| unhealthy(&format!("http://{at}/{path}: {e}"));
    let egress = Egress::new(Settings::default()).map_err(|e| failed(&e))?;
    let url = url::Url::parse(&format!("http://{at}/")).map_err(|e| failed(&e))?;
    let patience = Patience {
        whole: PATIENCE,
        idle: PATIENCE,
    };
    let service = egress.provider(url);
    let answer = service.get(path, patience).await.map_err(|e| failed(&e))?;
    let status = answer.status;
    Ok((status, answer.text().await.map_err(|e| failed(&e))?))
}

fn unhealthy(message: &str) -> CliError {
    CliError::new(Reason::ServiceUnhealthy, message)
}

/// Who listens at every address listens at this machine's own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_at_every_address_is_asked_at_this_machine_s() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }
}
