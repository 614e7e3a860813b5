//! `[retention]`: how long sessions and keys of acts are kept.

use serde::Deserialize;
use toml::Spanned;

use super::Source;
use crate::error::CliError;

/// Days that a session is kept behind its last event, if nobody says otherwise.
const DEFAULT_SESSIONS_DAYS: u64 = 30;
/// Days that a key of class 4 is kept with its result, if nobody says otherwise: seven years, as
/// long as books and records of payments have to be kept in many places. Until then the same
/// payment is found to be done.
const DEFAULT_AUDIT_DAYS: u64 = 2555;
/// Days that a span is kept behind its start, if nobody says otherwise: a quarter, so that this
/// month can be compared with the one before. Spans are redacted, so they may outlive the sessions.
const DEFAULT_TRACES_DAYS: u64 = 90;
/// Longest time that may be configured, a hundred years: more is a mistake.
const MAX_DAYS: u64 = 36_500;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    sessions_days: Option<Spanned<u64>>,
    keys_days: Option<Spanned<u64>>,
    audit_days: Option<Spanned<u64>>,
    traces_days: Option<Spanned<u64>>,
}

/// How long what is kept. No key goes before its session may: a key that is gone is an act that
/// may be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Sessions that are over, behind their last event. Milliseconds.
    pub sessions_ms: u64,
    /// Keys of class 0 to 3, behind their settling. Milliseconds.
    pub keys_ms: u64,
    /// Keys of class 4. Milliseconds.
    pub audit_ms: u64,
    /// Spans, behind their start, whether the journal still has their session or not. Milliseconds.
    pub traces_ms: u64,
}

impl Section {
    pub(super) fn check(&self, source: &Source<'_>) -> Result<Kept, CliError> {
        let sessions = within(source, "sessions_days", &self.sessions_days)?;
        let sessions = sessions.unwrap_or(DEFAULT_SESSIONS_DAYS);
        let keys = within(source, "keys_days", &self.keys_days)?.unwrap_or(sessions);
        let audit = within(source, "audit_days", &self.audit_days)?;
        let traces = within(source, "traces_days", &self.traces_days)?;
        let audit = audit.unwrap_or_else(|| DEFAULT_AUDIT_DAYS.max(keys));
        if let Some(days) = self.keys_days.as_ref().filter(|_| keys < sessions) {
            let why = format!("keys_days must not be less than sessions_days, which is {sessions}");
            return Err(source.at(days, why));
        }
        if let Some(days) = self.audit_days.as_ref().filter(|_| audit < keys) {
            let why = format!("audit_days must not be less than keys_days, which is {keys}");
            return Err(source.at(days, why));
        }
        Ok(Kept {
            sessions_ms: sessions * DAY_MS,
            keys_ms: keys * DAY_MS,
            audit_ms: audit * DAY_MS,
            traces_ms: traces.unwrap_or(DEFAULT_TRACES_DAYS) * DAY_MS,
        })
    }
}

fn within(
    source: &Source<'_>,
    name: &str,
    days: &Option<Spanned<u64>>,
) -> Result<Option<u64>, CliError> {
    match days {
        None => Ok(None),
        Some(n) if (1..=MAX_DAYS).contains(n.get_ref()) => Ok(Some(*n.get_ref())),
        Some(n) => Err(source.at(n, format!("{name} must be 1 to {MAX_DAYS}"))),
    }
}

/// Parses an age such as `30d`, `12h`, `90m` or `0s`, to milliseconds.
pub(crate) fn parse_age(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no age: write a number and s, m, h or d, such as 30d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let unit_ms = match unit {
        's' => 1000,
        'm' => 60 * 1000,
        'h' => 60 * 60 * 1000,
        'd' => DAY_MS,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).ok_or_else(wrong)
}
