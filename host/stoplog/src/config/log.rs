//! `[log]`: which lines a host writes, how, and where to.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Deserialize;
use stoplog_telemetry::log::Level;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    level: Option<LogLevel>,
    format: Option<LogFormat>,
    file: Option<PathBuf>,
}

/// Which lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// None.
    Off,
    /// Runs that failed, and runs whose host died.
    Error,
    /// Those, and steps that failed.
    Warn,
    /// Every step and every run.
    Info,
}

impl LogLevel {
    /// None: nothing is written.
    pub fn level(self) -> Option<Level> {
        match self {
            LogLevel::Off => None,
            LogLevel::Error => Some(Level::Error),
            LogLevel::Warn => Some(Level::Warn),
            LogLevel::Info => Some(Level::Info),
        }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The log of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Lines that matter less are not written; none: no line is.
    pub level: Option<Level>,
    /// How.
    pub format: LogFormat,
    /// Where to; none: standard error.
    pub file: Option<PathBuf>,
}

impl Section {
    /// Text for who sits before a terminal, JSON for everybody else.
    pub(super) fn check(self, base: &Path) -> LogConfig {
        let file = self.file.map(|file| base.join(file));
        let is_for_people = file.is_none() && std::io::stderr().is_terminal();
        let usual = match is_for_people {
            true => LogFormat::Text,
            false => LogFormat::Json,
        };
        LogConfig {
            level: self.level.unwrap_or(LogLevel::Info).level(),
            format: self.format.unwrap_or(usual),
            file,
        }
    }
}
