//! `[limits]`: how much a host lets in at once, in all and of each tenant.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use stoplog_admission::{Bounds, Share};
use stoplog_dispatch::default_bounds;
use stoplog_model::Tenant;
use stoplog_sandbox::limits::CONCURRENT_RUNS;
use toml::Spanned;

use super::Source;
use crate::error::CliError;

/// Longest line that may be configured: each in it costs memory, and waits for longer than anybody
/// would.
const MAX_WAITING: u32 = 100_000;
/// Longest wait in line that may be configured, ten minutes: a model that waits for longer has
/// lost its provider's patience, too.
const MAX_WAIT_S: u64 = 600;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    calls_at_once: Option<Spanned<u32>>,
    calls_at_once_per_tenant: Option<Spanned<u32>>,
    calls_waiting: Option<Spanned<u32>>,
    calls_waiting_per_tenant: Option<Spanned<u32>>,
    call_wait_seconds: Option<Spanned<u64>>,
    #[serde(default)]
    tenants: BTreeMap<Spanned<String>, OfTenant>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTenant {
    calls_at_once: Option<Spanned<u32>>,
    calls_waiting: Option<Spanned<u32>>,
}

impl Section {
    /// The bounds of calls. What is not said follows from what is: a tenant never has more than all.
    pub(super) fn check(&self, source: &Source<'_>) -> Result<Bounds, CliError> {
        let default = default_bounds();
        let places = some(
            source,
            "calls_at_once",
            &self.calls_at_once,
            CONCURRENT_RUNS,
        )?;
        let places = places.unwrap_or(default.places);
        let waiting = upto(source, "calls_waiting", &self.calls_waiting, MAX_WAITING)?;
        let waiting = waiting.unwrap_or(default.waiting);
        let (name, value) = ("calls_at_once_per_tenant", &self.calls_at_once_per_tenant);
        let each_places = some(source, name, value, places.get())?;
        let (name, value) = ("calls_waiting_per_tenant", &self.calls_waiting_per_tenant);
        let each_waiting = upto(source, name, value, waiting)?;
        let each = Share {
            places: each_places.unwrap_or(default.each.places.min(places)),
            waiting: each_waiting.unwrap_or(default.each.waiting.min(waiting)),
        };
        let wait = match &self.call_wait_seconds {
            None => default.wait,
            Some(s) if (1..=MAX_WAIT_S).contains(s.get_ref()) => Duration::from_secs(*s.get_ref()),
            Some(s) => {
                return Err(source.at(s, format!("call_wait_seconds must be 1 to {MAX_WAIT_S}")));
            }
        };
        let mut tenants = BTreeMap::new();
        for (name, own) in &self.tenants {
            let tenant = Tenant::new(name.get_ref()).map_err(|e| source.at(name, e))?;
            let own_places = some(source, "calls_at_once", &own.calls_at_once, places.get())?;
            let own_waiting = upto(source, "calls_waiting", &own.calls_waiting, waiting)?;
            let share = Share {
                places: own_places.unwrap_or(each.places),
                waiting: own_waiting.unwrap_or(each.waiting),
            };
            tenants.insert(tenant, share);
        }
        Ok(Bounds {
            places,
            waiting,
            wait,
            each,
            tenants,
        })
    }
}

fn some(
    source: &Source<'_>,
    name: &str,
    value: &Option<Spanned<u32>>,
    most: u32,
) -> Result<Option<NonZeroU32>, CliError> {
    let Some(n) = value else { return Ok(None) };
    match NonZeroU32::new(*n.get_ref()).filter(|n| n.get() <= most) {
        Some(some) => Ok(Some(some)),
        None => Err(source.at(n, format!("{name} must be 1 to {most}"))),
    }
}

fn upto(
    source: &Source<'_>,
    name: &str,
    value: &Option<Spanned<u32>>,
    most: u32,
) -> Result<Option<u32>, CliError> {
    match value {
        Some(n) if *n.get_ref() > most => Err(source.at(n, format!("{name} must be 0 to {most}"))),
        Some(n) => Ok(Some(*n.get_ref())),
        None => Ok(None),
    }
}
