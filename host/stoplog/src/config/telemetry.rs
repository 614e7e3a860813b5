//! `[telemetry]`: where spans go beside the trace store.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use stoplog_egress::CollectorProtocol;
use stoplog_telemetry::Rotation;
use toml::Spanned;
use url::Url;

use super::Source;
use super::secrets::{SecretSource, source_of};
use crate::error::CliError;

/// Largest file of spans that may be configured, MiB: what an editor still opens.
const MAX_FILE_MIB: u64 = 4096;
/// Longest age of a file of spans, hours: a year.
const MAX_FILE_HOURS: u64 = 8760;
/// Most files of spans that are kept.
const MAX_FILES: usize = 1000;
/// Seconds that a collector has for an answer if nobody says otherwise: as the SDKs of
/// OpenTelemetry.
const DEFAULT_TIMEOUT_S: u64 = 10;
/// Most seconds that may be configured.
const MAX_TIMEOUT_S: u64 = 300;
/// `service.name` if nobody says otherwise.
const DEFAULT_SERVICE: &str = "stoplog";
/// Where a collector takes traces over HTTP (OTLP specification, "OTLP/HTTP Request").
const HTTP_PATH: &str = "v1/traces";
/// And over gRPC.
const GRPC_PATH: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    spans_file: Option<bool>,
    spans_file_mib: Option<Spanned<u64>>,
    spans_file_hours: Option<Spanned<u64>>,
    spans_files_kept: Option<Spanned<u64>>,
    otlp: Option<Otlp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Otlp {
    endpoint: Spanned<String>,
    protocol: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Header>>,
    service_name: Option<String>,
    environment: Option<String>,
    idempotency_keys: Option<bool>,
    timeout_s: Option<Spanned<u64>>,
}

/// A value, or where it is.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Header {
    Plain(String),
    Secret(super::secrets::Section),
}

/// The value of a header to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// As it stands in the configuration.
    Plain(String),
    /// Somewhere else.
    Secret(SecretSource),
}

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Where, with the path of the method.
    pub url: Url,
    /// How to speak to it.
    pub protocol: CollectorProtocol,
    /// Further headers.
    pub headers: Vec<(String, HeaderValue)>,
    /// `service.name`.
    pub service_name: String,
    /// `deployment.environment.name`.
    pub environment: Option<String>,
    /// Whether idempotency keys are told.
    pub idempotency_keys: bool,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Whether there is a `spans.jsonl`, and when it is put aside.
    pub spans_file: Option<Rotation>,
    /// The collector, if there is one.
    pub collector: Option<CollectorConfig>,
}

impl Section {
    pub(super) fn check(
        self,
        source: &Source<'_>,
        base: &Path,
    ) -> Result<TelemetryConfig, CliError> {
        let mib = within(source, "spans_file_mib", &self.spans_file_mib, MAX_FILE_MIB)?;
        let hours = within(
            source,
            "spans_file_hours",
            &self.spans_file_hours,
            MAX_FILE_HOURS,
        )?;
        let most = MAX_FILES as u64;
        let kept = within(source, "spans_files_kept", &self.spans_files_kept, most)?;
        let usual = Rotation::default();
        let rotation = Rotation {
            bytes: mib.map_or(usual.bytes, |mib| mib * 1024 * 1024),
            age_ms: hours.map_or(usual.age_ms, |hours| hours * 60 * 60 * 1000),
            kept: kept.map_or(usual.kept, |kept| kept as usize),
        };
        Ok(TelemetryConfig {
            spans_file: self.spans_file.unwrap_or(true).then_some(rotation),
            collector: match self.otlp {
                Some(otlp) => Some(collector(source, base, otlp)?),
                None => None,
            },
        })
    }
}

fn collector(source: &Source<'_>, base: &Path, otlp: Otlp) -> Result<CollectorConfig, CliError> {
    let protocol = match &otlp.protocol {
        None => CollectorProtocol::Http,
        Some(word) => match word.get_ref().as_str() {
            "http" => CollectorProtocol::Http,
            "grpc" => CollectorProtocol::Grpc,
            other => {
                let why = format!("protocol is \"{other}\"; it must be \"http\" or \"grpc\"");
                return Err(source.at(word, why));
            }
        },
    };
    let headers = otlp.headers.into_iter().map(|(name, header)| {
        let value = match header.get_ref() {
            Header::Plain(text) => HeaderValue::Plain(text.clone()),
            Header::Secret(section) => {
                HeaderValue::Secret(source_of(base, section).ok_or_else(|| {
                    let why = format!("the header `{name}` needs a text, `env` or `file`");
                    source.at(&header, why)
                })?)
            }
        };
        Ok((name, value))
    });
    let timeout = within(source, "timeout_s", &otlp.timeout_s, MAX_TIMEOUT_S)?;
    Ok(CollectorConfig {
        url: url(source, &otlp.endpoint, protocol)?,
        protocol,
        headers: headers.collect::<Result<_, CliError>>()?,
        service_name: otlp.service_name.unwrap_or_else(|| DEFAULT_SERVICE.into()),
        environment: otlp.environment,
        idempotency_keys: otlp.idempotency_keys.unwrap_or(true),
        timeout: Duration::from_secs(timeout.unwrap_or(DEFAULT_TIMEOUT_S)),
    })
}

/// The method's path is put behind the endpoint, unless it is there already.
fn url(
    source: &Source<'_>,
    endpoint: &Spanned<String>,
    protocol: CollectorProtocol,
) -> Result<Url, CliError> {
    let wrong = |why: String| source.at(endpoint, why);
    let mut url =
        Url::parse(endpoint.get_ref()).map_err(|e| wrong(format!("endpoint is not a URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        let why = "endpoint must be an http or https URL, such as http://127.0.0.1:4318";
        return Err(wrong(why.to_owned()));
    }
    let method = match protocol {
        CollectorProtocol::Http => HTTP_PATH,
        CollectorProtocol::Grpc => GRPC_PATH,
    };
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(method) {
        url.set_path(&format!("{path}/{method}"));
    }
    Ok(url)
}

fn within(
    source: &Source<'_>,
    name: &str,
    given: &Option<Spanned<u64>>,
    most: u64,
) -> Result<Option<u64>, CliError> {
    match given {
        None => Ok(None),
        Some(n) if (1..=most).contains(n.get_ref()) => Ok(Some(*n.get_ref())),
        Some(n) => Err(source.at(n, format!("{name} must be 1 to {most}"))),
    }
}
