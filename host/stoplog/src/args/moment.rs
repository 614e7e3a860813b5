//! A point in time as people write it: an age, a day, or a moment. All of it is UTC.

use std::str::FromStr;

use crate::config::parse_age;

/// What a person wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long ago, milliseconds.
    Ago(u64),
    /// Milliseconds since the Unix epoch.
    At(u64),
}

impl Moment {
    /// As milliseconds since the Unix epoch.
    pub(crate) fn ms(self, now_ms: u64) -> u64 {
        match self {
            Moment::Ago(ms) => now_ms.saturating_sub(ms),
            Moment::At(ms) => ms,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(ms) = parse_age(text) {
            return Ok(Moment::Ago(ms));
        }
        let wrong = || {
            format!(
                "`{text}` is no time: write an age such as 90m, 24h or 7d (s, m, h, d), a day such as \
                 2026-03-09, or a moment such as 2026-03-09T14:30:00Z; without a zone it is UTC"
            )
        };
        let at = moment(text).ok_or_else(wrong)?;
        u64::try_from(at.as_millisecond())
            .map(Moment::At)
            .map_err(|_| wrong())
    }
}

/// With a zone or an offset it is that; else it is UTC.
fn moment(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at);
    }
    let civil = text.parse::<jiff::civil::DateTime>();
    let civil = civil.ok().or_else(|| {
        let date = text.parse::<jiff::civil::Date>().ok()?;
        Some(date.to_datetime(jiff::civil::Time::midnight()))
    })?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_days_and_moments_are_understood() {
        const NOON: u64 = 1_773_057_600_000;
        let check = |text: &str, expected: u64| {
            let moment: Moment = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(moment.ms(NOON), expected, "{text}");
        };
        check("0s", NOON);
        check("24h", NOON - 86_400_000);
        check("7d", NOON - 7 * 86_400_000);
        check("90m", NOON - 90 * 60_000);
        check("100000d", 0);
        check("2026-03-09", NOON - 12 * 3_600_000);
        check("2026-03-09T12:00:00Z", NOON);
        check("2026-03-09T12:00", NOON);
        check("2026-03-09 12:00:00.250", NOON + 250);
        check("2026-03-09T17:30:00+05:30", NOON);
    }

    #[test]
    fn what_is_no_time_is_told_what_is_one() {
        for text in [
            "",
            "yesterday",
            "24",
            "24x",
            "-1h",
            "2026-13-01",
            "2026-02-30",
            "1h30m",
            "1969-01-01",
            "9999999999999999999d",
        ] {
            let error = text.parse::<Moment>().expect_err(text);
            assert!(
                error.contains("24h") && error.contains("2026-03-09"),
                "{error}"
            );
        }
    }
}
