//! What tokens cost: a table with a version, embedded, and replaced by the operator's own.
//!
//! Invariants:
//!
//! * A price is found or the model is not built: no turn costs 0 because nobody knew.
//! * All is whole numbers. A turn's cost is rounded once, up to a whole micro-dollar: a budget is
//!   never overrun by rounding.
//! * A turn says by which version of which table it was priced.
//!
//! What may go wrong: the embedded table is as old as its version says. It is a start; the
//! operator's file counts.

use std::collections::BTreeMap;

use serde::Deserialize;
use stoplog_model::UsdMicros;

use crate::ConfigError;

/// The table that comes with the host.
const EMBEDDED: &str = include_str!("../prices.toml");

/// Highest price that is believed, micro-dollars for a million tokens: 10,000 dollars. More is a
/// number in another unit.
const MAX_PER_MILLION: u64 = 10_000_000_000;

/// Longest version, in bytes: it stands in every turn.
const MAX_VERSION_BYTES: usize = 64;

/// Tokens of one answer, as the provider counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read, those of the cache among them.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Of those read, from the provider's prompt cache.
    pub cache_read_tokens: u64,
    /// Of those read, put into it.
    pub cache_write_tokens: u64,
}

/// Prices of a model, in micro-dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// For tokens read that have nothing to do with the cache.
    pub input: UsdMicros,
    /// For tokens written.
    pub output: UsdMicros,
    /// For tokens from the cache.
    pub cache_read: UsdMicros,
    /// For tokens put into the cache.
    pub cache_write: UsdMicros,
}

impl Price {
    /// The cost of an answer, rounded up to a whole micro-dollar.
    pub fn cost(&self, usage: Usage) -> UsdMicros {
        let cached = usage
            .cache_read_tokens
            .saturating_add(usage.cache_write_tokens);
        let plain = usage.input_tokens.saturating_sub(cached);
        let part = |tokens: u64, price: UsdMicros| u128::from(tokens) * u128::from(price.0);
        let millionths = part(plain, self.input)
            + part(usage.cache_read_tokens, self.cache_read)
            + part(usage.cache_write_tokens, self.cache_write)
            + part(usage.output_tokens, self.output);
        UsdMicros(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// A price, and the version of the table that it is from; empty where an operator wrote it beside
/// the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    /// The price.
    pub price: Price,
    /// The version.
    pub version: String,
}

/// A table of prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    version: String,
    by_model: BTreeMap<String, Price>,
    unknown: Option<Price>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(default)]
    price: Vec<Entry>,
    /// For every model that is not listed.
    unknown: Option<Numbers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    models: Vec<String>,
    input: u64,
    output: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    /// Where the numbers are from: for people.
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    input: u64,
    output: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
}

impl PriceTable {
    /// The table that comes with the host.
    ///
    /// # Errors
    /// [`ConfigError::Prices`]; a test sees to it that there is none.
    pub fn embedded() -> Result<PriceTable, ConfigError> {
        PriceTable::parse("the embedded prices.toml", EMBEDDED)
    }

    /// Reads a table; `name` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Prices`] with the line where there is one: also for a key that nobody knows, a
    /// model that is there twice, and a price that can only be in another unit.
    pub fn parse(name: &str, text: &str) -> Result<PriceTable, ConfigError> {
        let refuse = |why: String| ConfigError::Prices {
            file: name.to_owned(),
            why,
        };
        let file: File = toml::from_str(text).map_err(|e| {
            let offset = e.span().map_or(0, |s| s.start).min(text.len());
            let line = text[..offset].matches('\n').count() + 1;
            refuse(format!("line {line}: {}", e.message()))
        })?;
        let plain = |c: char| c.is_ascii_graphic();
        if file.version.is_empty()
            || file.version.len() > MAX_VERSION_BYTES
            || !file.version.chars().all(plain)
        {
            return Err(refuse(format!(
                "`version` must be 1 to {MAX_VERSION_BYTES} printable characters without spaces"
            )));
        }
        let mut by_model = BTreeMap::new();
        for entry in file.price {
            let names = entry.models.join(", ");
            let numbers = Numbers {
                input: entry.input,
                output: entry.output,
                cache_read: entry.cache_read,
                cache_write: entry.cache_write,
            };
            let price = numbers
                .price()
                .map_err(|why| refuse(format!("{names}: {why}")))?;
            for model in entry.models {
                if let Some(model) = by_model.insert(model.clone(), price).map(|_| model) {
                    return Err(refuse(format!("`{model}` has two prices")));
                }
            }
        }
        let unknown = file.unknown.map(|n| n.price()).transpose();
        Ok(PriceTable {
            unknown: unknown.map_err(|why| refuse(format!("[unknown]: {why}")))?,
            version: file.version,
            by_model,
        })
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price of a model: its own, else the one for models that are not listed, if there is one.
    pub fn of(&self, model: &str) -> Option<Priced> {
        let price = self.by_model.get(model).copied().or(self.unknown)?;
        Some(Priced {
            price,
            version: self.version.clone(),
        })
    }
}

impl Numbers {
    /// Cached tokens cost what others do, unless it says less or more.
    fn price(&self) -> Result<Price, String> {
        let checked = |name: &str, number: u64| match number {
            0..=MAX_PER_MILLION => Ok(UsdMicros(number)),
            _ => Err(format!(
                "`{name}` is more than {MAX_PER_MILLION} micro-dollars for a million tokens: \
                 another unit?"
            )),
        };
        Ok(Price {
            input: checked("input", self.input)?,
            output: checked("output", self.output)?,
            cache_read: checked("cache_read", self.cache_read.unwrap_or(self.input))?,
            cache_write: checked("cache_write", self.cache_write.unwrap_or(self.input))?,
        })
    }
}

#[cfg(test)]
mod tests;
