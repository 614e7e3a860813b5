//! `[model]` and `[[model.fallback]]`: which provider is asked, what it costs, and what happens when
//! it fails.
//!
//! Invariants: a price is known before a request is made; a key is in no configuration, only where to
//! find it; a fallback that is armed names the evaluation that it passed (requirement 135), so that
//! nobody fails over to a model that nobody looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stoplog_llm::{
    BYTES_PER_TOKEN, Backoff, Budget, DEFAULT_RETRIES, IDLE_DEADLINE, Kind, Patience, Price,
    PriceTable, Priced, TURN_DEADLINE, TokenLimitField, Window,
};
use stoplog_model::UsdMicros;
use stoplog_model::turn::FailureClass;
use toml::Spanned;
use url::Url;

use super::Source;
use super::secrets::SecretSource;
use crate::error::CliError;

/// Tokens that a turn may have if nobody says otherwise: an answer of a few pages.
const DEFAULT_MAX_TOKENS: u32 = 2048;
/// Percent of the context window that a prompt may have (requirement 76).
const DEFAULT_TRIM_AT_PERCENT: u64 = 80;
/// The newest turns that are never made shorter: what the model is at, and what it did last.
const DEFAULT_KEEP_TURNS: u32 = 2;
/// Bytes that stay of an output that is cut: its first lines, and its last.
const DEFAULT_KEEP_OUTPUT_BYTES: u64 = 1024;
/// Longest time that an attempt may be given: a person has left by then.
const MAX_DEADLINE_S: u64 = 3600;
/// Fallbacks at most: each is a model that somebody has to look after.
const MAX_FALLBACKS: usize = 4;
/// Failures that a fallback is for if nobody says otherwise: the provider is away.
const DEFAULT_ON: [FailureClass; 3] = [
    FailureClass::ProviderTransient,
    FailureClass::ProviderOverloaded,
    FailureClass::ProviderQuota,
];
/// Failures that a fallback may be for: those of a model, and of its provider.
const MAY_BE_ON: [FailureClass; 7] = [
    FailureClass::ProviderTransient,
    FailureClass::ProviderOverloaded,
    FailureClass::ProviderQuota,
    FailureClass::TruncatedOutput,
    FailureClass::ContentFiltered,
    FailureClass::Refusal,
    FailureClass::MalformedToolCall,
];

/// `[model]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    kind: Spanned<String>,
    script: Option<PathBuf>,
    base_url: Option<Spanned<String>>,
    model: Option<String>,
    api_key_env: Option<String>,
    api_key_file: Option<PathBuf>,
    temperature: Option<Spanned<f64>>,
    send_temperature: Option<bool>,
    max_tokens: Option<Spanned<u32>>,
    token_limit_field: Option<Spanned<String>>,
    stream: Option<bool>,
    context_window_tokens: Option<u64>,
    deadline_seconds: Option<Spanned<u64>>,
    idle_seconds: Option<Spanned<u64>>,
    input_usd_micros_per_million: Option<u64>,
    output_usd_micros_per_million: Option<u64>,
    cache_read_usd_micros_per_million: Option<u64>,
    cache_write_usd_micros_per_million: Option<u64>,
    // Of the first profile alone.
    prices: Option<Spanned<PathBuf>>,
    #[serde(default)]
    retry: Retry,
    #[serde(default)]
    budget: BudgetSection,
    #[serde(default)]
    context: Context,
    #[serde(default)]
    fallback: Vec<Spanned<FallbackSection>>,
}

/// `[[model.fallback]]`: what a profile has, and when it is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FallbackSection {
    name: Spanned<String>,
    #[serde(default)]
    armed: bool,
    on: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    after_write: bool,
    eval: Option<String>,
    system_prompt: Option<String>,
    kind: Spanned<String>,
    base_url: Option<Spanned<String>>,
    model: Option<String>,
    api_key_env: Option<String>,
    api_key_file: Option<PathBuf>,
    temperature: Option<Spanned<f64>>,
    send_temperature: Option<bool>,
    max_tokens: Option<Spanned<u32>>,
    token_limit_field: Option<Spanned<String>>,
    stream: Option<bool>,
    context_window_tokens: Option<u64>,
    deadline_seconds: Option<Spanned<u64>>,
    idle_seconds: Option<Spanned<u64>>,
    input_usd_micros_per_million: Option<u64>,
    output_usd_micros_per_million: Option<u64>,
    cache_read_usd_micros_per_million: Option<u64>,
    cache_write_usd_micros_per_million: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    first_wait_ms: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetSection {
    retries: Option<u64>,
    requests: Option<Spanned<u64>>,
    tokens: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    trim_at_percent: Option<Spanned<u64>>,
    keep_turns: Option<Spanned<u32>>,
    keep_output_bytes: Option<Spanned<u64>>,
}

/// Which model.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// Replays a file.
    Scripted {
        /// The file, if the configuration names one.
        script: Option<PathBuf>,
    },
    /// A provider and its fallbacks.
    Chain(Box<ChainConfig>),
}

/// A provider, its fallbacks, and what they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainConfig {
    /// The one that is asked first.
    pub first: ProfileConfig,
    /// Those behind it, in order.
    pub fallbacks: Vec<FallbackConfig>,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// What a session may ask for.
    pub budget: Budget,
    /// How prompts are kept within the window; the tokens are each profile's own.
    pub trimming: Window,
}

/// A provider with a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileConfig {
    /// Its protocol.
    pub kind: Kind,
    /// Such as `https://api.openai.com/v1`.
    pub base_url: Url,
    /// The model's name.
    pub model: String,
    /// Where its key is, if it has one.
    pub key: Option<SecretSource>,
    /// In thousandths; none for models that refuse one.
    pub temperature_milli: Option<u32>,
    /// Tokens a turn.
    pub max_tokens: u32,
    /// What that limit is called.
    pub token_limit_field: TokenLimitField,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// Tokens that the model can hold; 0 where nobody has said.
    pub context_window_tokens: u64,
    /// What its tokens cost.
    pub priced: Priced,
    /// How long an attempt may take.
    pub patience: Patience,
}

/// A profile behind the first one.
#[derive(Debug, Clone, PartialEq)]
pub struct FallbackConfig {
    /// Its name.
    pub name: String,
    /// Whether it may be asked.
    pub armed: bool,
    /// For which failures.
    pub on: Vec<FailureClass>,
    /// Whether it may take over behind a write.
    pub after_write: bool,
    /// The evaluation that it passed.
    pub eval: String,
    /// Its own system prompt.
    pub system_prompt: Option<String>,
    /// Its provider.
    pub profile: ProfileConfig,
}

pub(super) fn check(
    source: &Source<'_>,
    base: &Path,
    section: &Spanned<Section>,
) -> Result<ModelConfig, CliError> {
    let s = section.get_ref();
    if s.kind.get_ref() == "scripted" {
        let script = s.script.as_ref().map(|script| base.join(script));
        return Ok(ModelConfig::Scripted { script });
    }
    let prices = prices(source, base, s.prices.as_ref())?;
    let check =
        |section: &Spanned<Profile<'_>>, what: &str| profile(source, base, section, what, &prices);
    let span = section.span();
    let first = check(&Spanned::new(span, s.profile()), "[model]")?;
    if s.script.is_some() {
        let why = "a `script` is for kind \"scripted\" alone";
        return Err(source.at(section, why));
    }
    if s.fallback.len() > MAX_FALLBACKS {
        let why = format!("more than {MAX_FALLBACKS} fallbacks");
        return Err(source.at(section, why));
    }
    let mut fallbacks: Vec<FallbackConfig> = Vec::new();
    for spanned in &s.fallback {
        let section = spanned.get_ref();
        let name = section.name.get_ref();
        let is_taken = fallbacks.iter().any(|f| f.name == *name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || is_taken {
            let why = "a fallback's `name` must be its own, 1 to 64 letters, digits, - _ or .";
            return Err(source.at(&section.name, why));
        }
        let what = format!("[[model.fallback]] `{name}`");
        let own = Spanned::new(spanned.span(), section.profile());
        let eval = section.eval.clone().unwrap_or_default();
        if section.armed && eval.trim().is_empty() {
            let why = format!(
                "{what} is armed and names no `eval`: say which evaluation it passed with its \
                 prompt, or disarm it"
            );
            return Err(source.at(spanned, why));
        }
        fallbacks.push(FallbackConfig {
            name: name.clone(),
            armed: section.armed,
            on: on(source, section.on.as_deref())?,
            after_write: section.after_write,
            eval,
            system_prompt: section.system_prompt.clone(),
            profile: check(&own, &what)?,
        });
    }
    Ok(ModelConfig::Chain(Box::new(ChainConfig {
        first,
        fallbacks,
        backoff: backoff(source, &s.retry)?,
        budget: budget(source, &s.budget)?,
        trimming: trimming(source, &s.context)?,
    })))
}

/// What both kinds of section have.
struct Profile<'a> {
    kind: &'a Spanned<String>,
    base_url: Option<&'a Spanned<String>>,
    model: Option<&'a String>,
    api_key_env: Option<&'a String>,
    api_key_file: Option<&'a PathBuf>,
    temperature: Option<&'a Spanned<f64>>,
    send_temperature: bool,
    max_tokens: Option<&'a Spanned<u32>>,
    token_limit_field: Option<&'a Spanned<String>>,
    stream: bool,
    context_window_tokens: u64,
    deadline_seconds: Option<&'a Spanned<u64>>,
    idle_seconds: Option<&'a Spanned<u64>>,
    /// Input, output, cache read, cache write.
    price: [Option<u64>; 4],
}

macro_rules! profile_of {
    ($section:ty) => {
        impl $section {
            fn profile(&self) -> Profile<'_> {
                Profile {
                    kind: &self.kind,
                    base_url: self.base_url.as_ref(),
                    model: self.model.as_ref(),
                    api_key_env: self.api_key_env.as_ref(),
                    api_key_file: self.api_key_file.as_ref(),
                    temperature: self.temperature.as_ref(),
                    send_temperature: self.send_temperature.unwrap_or(true),
                    max_tokens: self.max_tokens.as_ref(),
                    token_limit_field: self.token_limit_field.as_ref(),
                    stream: self.stream.unwrap_or(true),
                    context_window_tokens: self.context_window_tokens.unwrap_or(0),
                    deadline_seconds: self.deadline_seconds.as_ref(),
                    idle_seconds: self.idle_seconds.as_ref(),
                    price: [
                        self.input_usd_micros_per_million,
                        self.output_usd_micros_per_million,
                        self.cache_read_usd_micros_per_million,
                        self.cache_write_usd_micros_per_million,
                    ],
                }
            }
        }
    };
}

profile_of!(Section);
profile_of!(FallbackSection);

fn profile(
    source: &Source<'_>,
    base: &Path,
    section: &Spanned<Profile<'_>>,
    what: &str,
    prices: &[PriceTable],
) -> Result<ProfileConfig, CliError> {
    let s = section.get_ref();
    let word = s.kind.get_ref();
    let Some((kind, _)) = Kind::ALL.into_iter().find(|(_, w)| w == word) else {
        let kinds: Vec<String> = Kind::ALL.iter().map(|(_, w)| format!("\"{w}\"")).collect();
        let scripted = if what == "[model]" {
            "\"scripted\", "
        } else {
            ""
        };
        let why = format!(
            "there is no model kind \"{word}\"; use {scripted}{}",
            kinds.join(", ")
        );
        return Err(source.at(s.kind, why));
    };
    let missing =
        |key: &str| source.at(section, format!("{what} of kind \"{word}\" needs `{key}`"));
    let base_url = match (s.base_url, kind.base_url()) {
        (Some(url), _) => {
            let parsed = Url::parse(url.get_ref());
            parsed.map_err(|e| source.at(url, format!("base_url is not a URL: {e}")))?
        }
        (None, Some(url)) => Url::parse(url).map_err(|e| source.at(section, e))?,
        (None, None) => return Err(missing("base_url")),
    };
    let model = s.model.cloned().ok_or_else(|| missing("model"))?;
    let key = match (s.api_key_env, s.api_key_file) {
        (Some(variable), None) => Some(SecretSource::Env(variable.clone())),
        (None, Some(file)) => Some(SecretSource::File(base.join(file))),
        (None, None) => None,
        (Some(_), Some(_)) => {
            let why = format!("{what} needs `api_key_env` or `api_key_file`, and not both");
            return Err(source.at(section, why));
        }
    };
    let max_tokens = match s.max_tokens {
        None => DEFAULT_MAX_TOKENS,
        Some(n) if *n.get_ref() > 0 => *n.get_ref(),
        Some(n) => return Err(source.at(n, "max_tokens must be 1 or more")),
    };
    let window = s.context_window_tokens;
    if window > 0 && window <= u64::from(max_tokens) {
        let why = "context_window_tokens must be more than max_tokens: prompt and answer share it";
        return Err(source.at(section, why));
    }
    Ok(ProfileConfig {
        kind,
        base_url,
        key,
        temperature_milli: temperature(source, s)?,
        max_tokens,
        token_limit_field: token_limit_field(source, s.token_limit_field)?,
        stream: s.stream,
        context_window_tokens: window,
        priced: priced(source, section, what, &model, prices)?,
        patience: Patience {
            whole: seconds(
                source,
                "deadline_seconds",
                s.deadline_seconds,
                TURN_DEADLINE,
            )?,
            idle: seconds(source, "idle_seconds", s.idle_seconds, IDLE_DEADLINE)?,
        },
        model,
    })
}

fn temperature(source: &Source<'_>, s: &Profile<'_>) -> Result<Option<u32>, CliError> {
    let temperature = s.temperature.map_or(0.0, |t| *t.get_ref());
    match s.temperature {
        Some(t) if !(0.0..=2.0).contains(&temperature) => {
            Err(source.at(t, "temperature must be 0 to 2"))
        }
        Some(t) if !s.send_temperature => Err(source.at(
            t,
            "a temperature that is not sent has no effect: leave one of both out",
        )),
        _ if !s.send_temperature => Ok(None),
        // 0 to 2000, as was just checked.
        _ => Ok(Some((temperature * 1000.0).round() as u32)),
    }
}

fn token_limit_field(
    source: &Source<'_>,
    word: Option<&Spanned<String>>,
) -> Result<TokenLimitField, CliError> {
    match word.map(|w| w.get_ref().as_str()) {
        None | Some("max_tokens") => Ok(TokenLimitField::MaxTokens),
        Some("max_completion_tokens") => Ok(TokenLimitField::MaxCompletionTokens),
        Some(_) => Err(word.map_or_else(
            || CliError::internal("no word"),
            |w| {
                let why = "token_limit_field is \"max_tokens\" or \"max_completion_tokens\"";
                source.at(w, why)
            },
        )),
    }
}

fn seconds(
    source: &Source<'_>,
    name: &str,
    given: Option<&Spanned<u64>>,
    default: Duration,
) -> Result<Duration, CliError> {
    match given {
        None => Ok(default),
        Some(n) if (1..=MAX_DEADLINE_S).contains(n.get_ref()) => {
            Ok(Duration::from_secs(*n.get_ref()))
        }
        Some(n) => Err(source.at(n, format!("{name} must be 1 to {MAX_DEADLINE_S}"))),
    }
}

/// The operator's table, if there is one, and the embedded one behind it.
fn prices(
    source: &Source<'_>,
    base: &Path,
    file: Option<&Spanned<PathBuf>>,
) -> Result<Vec<PriceTable>, CliError> {
    let mut tables = Vec::new();
    if let Some(spanned) = file {
        let path = base.join(spanned.get_ref());
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|e| source.at(spanned, format!("{name}: {e}")))?;
        let table = PriceTable::parse(&name, &text).map_err(|e| source.at(spanned, e))?;
        tables.push(table);
    }
    let embedded = PriceTable::embedded().map_err(|e| CliError::internal(e.to_string()))?;
    tables.push(embedded);
    Ok(tables)
}

/// The price beside the model, else the operator's, else the embedded one; else an error.
fn priced(
    source: &Source<'_>,
    section: &Spanned<Profile<'_>>,
    what: &str,
    model: &str,
    tables: &[PriceTable],
) -> Result<Priced, CliError> {
    let price = match section.get_ref().price {
        [Some(input), Some(output), read, write] => Some(Price {
            input: UsdMicros(input),
            output: UsdMicros(output),
            cache_read: UsdMicros(read.unwrap_or(input)),
            cache_write: UsdMicros(write.unwrap_or(input)),
        }),
        [None, None, None, None] => None,
        _ => {
            let why = format!(
                "{what} has a part of a price: give input_usd_micros_per_million and \
                 output_usd_micros_per_million both"
            );
            return Err(source.at(section, why));
        }
    };
    let beside = price.map(|price| Priced {
        price,
        version: String::new(),
    });
    let found = beside.or_else(|| tables.iter().find_map(|t| t.of(model)));
    found.ok_or_else(|| {
        let missing = stoplog_llm::ConfigError::PriceMissing {
            model: model.to_owned(),
        };
        source.at(section, missing)
    })
}

fn on(
    source: &Source<'_>,
    words: Option<&[Spanned<String>]>,
) -> Result<Vec<FailureClass>, CliError> {
    let Some(words) = words else {
        return Ok(DEFAULT_ON.to_vec());
    };
    let class = |word: &Spanned<String>| {
        let known = MAY_BE_ON
            .into_iter()
            .find(|c| c.as_str() == *word.get_ref());
        known.ok_or_else(|| {
            let all: Vec<String> = MAY_BE_ON.iter().map(|c| c.as_str()).collect();
            source.at(word, format!("a fallback can be for {}", all.join(", ")))
        })
    };
    words.iter().map(class).collect()
}

fn backoff(source: &Source<'_>, section: &Retry) -> Result<Backoff, CliError> {
    match &section.first_wait_ms {
        None => Ok(Backoff::default()),
        Some(ms) if (1..=30_000).contains(ms.get_ref()) => Ok(Backoff {
            base: Duration::from_millis(*ms.get_ref()),
        }),
        Some(ms) => Err(source.at(ms, "first_wait_ms must be 1 to 30000")),
    }
}

fn budget(source: &Source<'_>, section: &BudgetSection) -> Result<Budget, CliError> {
    for (name, number) in [("requests", &section.requests), ("tokens", &section.tokens)] {
        if let Some(zero) = number.as_ref().filter(|n| *n.get_ref() == 0) {
            return Err(source.at(zero, format!("{name} must be 1 or more, or left out")));
        }
    }
    Ok(Budget {
        retries: section.retries.unwrap_or(DEFAULT_RETRIES),
        requests: section.requests.as_ref().map(|n| *n.get_ref()),
        tokens: section.tokens.as_ref().map(|n| *n.get_ref()),
    })
}

fn trimming(source: &Source<'_>, section: &Context) -> Result<Window, CliError> {
    let mut window = Window {
        tokens: 0,
        trim_at_percent: DEFAULT_TRIM_AT_PERCENT,
        keep_turns: DEFAULT_KEEP_TURNS,
        keep_output_bytes: DEFAULT_KEEP_OUTPUT_BYTES,
    };
    if let Some(percent) = &section.trim_at_percent {
        if !(10..=95).contains(percent.get_ref()) {
            return Err(source.at(percent, "trim_at_percent must be 10 to 95"));
        }
        window.trim_at_percent = *percent.get_ref();
    }
    if let Some(turns) = &section.keep_turns {
        if *turns.get_ref() == 0 {
            return Err(source.at(turns, "keep_turns must be 1 or more"));
        }
        window.keep_turns = *turns.get_ref();
    }
    if let Some(bytes) = &section.keep_output_bytes {
        if *bytes.get_ref() < BYTES_PER_TOKEN {
            return Err(source.at(
                bytes,
                format!("keep_output_bytes must be {BYTES_PER_TOKEN} or more"),
            ));
        }
        window.keep_output_bytes = *bytes.get_ref();
    }
    Ok(window)
}

#[cfg(test)]
mod tests;
