//! `[metrics]`: who may read the golden signals, where, and what they are measured against.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use super::Source;
use super::serve::{Asked, Service};
use crate::error::CliError;

/// Most dollars that a run may be configured to cost: more is a mistake.
const MAX_RUN_COST_USD: f64 = 10_000.0;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    listen: Option<Spanned<String>>,
    auth: Option<Spanned<String>>,
    tokens_per_day: Option<Spanned<u64>>,
    run_cost_usd: Option<Spanned<f64>>,
}

/// `[metrics]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// A listener of their own; none: they are at that of the service.
    pub listen: Option<SocketAddr>,
    /// How readers are known.
    pub auth: Asked,
    /// Tokens that a tenant may use in a day: an alert says when most of them are used. Nothing is
    /// refused for it.
    pub tokens_per_day: Option<u64>,
    /// Dollars that 95 of 100 runs may cost: an alert says when they cost more.
    pub run_cost_usd: Option<f64>,
}

impl Section {
    pub(super) fn check(self, source: &Source<'_>, service: &Service) -> Result<Metrics, CliError> {
        let listen = self.listen.as_ref().map(|text| {
            text.get_ref().parse::<SocketAddr>().map_err(|_| {
                let why = "listen must be an address and a port, such as 127.0.0.1:9464";
                source.at(text, why)
            })
        });
        let listen = listen.transpose()?;
        let auth = match &self.auth {
            None => service.auth,
            Some(word) => match word.get_ref().as_str() {
                "keys" => Asked::Keys,
                "off" if listen.is_some() || service.listen.ip().is_loopback() => Asked::Nothing,
                "off" => {
                    let why = "auth = \"off\" needs a listen of its own here: whoever reaches the service would see all tenants";
                    return Err(source.at(word, why));
                }
                _ => return Err(source.at(word, "auth must be \"keys\" or \"off\"")),
            },
        };
        if let Some(tokens) = &self.tokens_per_day
            && *tokens.get_ref() == 0
        {
            return Err(source.at(tokens, "tokens_per_day must be 1 or more"));
        }
        if let Some(usd) = &self.run_cost_usd
            && !(*usd.get_ref() > 0.0 && *usd.get_ref() <= MAX_RUN_COST_USD)
        {
            let why = format!("run_cost_usd must be more than 0, and {MAX_RUN_COST_USD} at most");
            return Err(source.at(usd, why));
        }
        Ok(Metrics {
            listen,
            auth,
            tokens_per_day: self.tokens_per_day.map(Spanned::into_inner),
            run_cost_usd: self.run_cost_usd.map(Spanned::into_inner),
        })
    }
}
