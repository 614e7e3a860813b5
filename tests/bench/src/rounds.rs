//! Product and floor in turns, and what their ratio is.
//!
//! The machine is noisy, and its noise is slow: so the two take short turns, and each pair of
//! turns gives one ratio. Which of them goes first changes with each pair.

use std::future::Future;
use std::time::{Duration, Instant};

/// Pairs at least, whatever the time.
const LEAST_ROUNDS: usize = 5;

/// Numbers of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these numbers; zeros for none.
    pub(crate) fn of(numbers: &[f64]) -> Spread {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
        Spread {
            median: at(sorted.len() / 2),
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// What the pairs gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    /// The product's numbers.
    pub(crate) product: Spread,
    /// The floor's.
    pub(crate) floor: Spread,
    /// Product by floor, pair by pair.
    pub(crate) ratio: Spread,
    /// How many pairs.
    pub(crate) rounds: usize,
}

/// Takes turns until the time is over, and five pairs at least. The first pair warms up.
pub(crate) async fn compare<P, F>(
    time: Duration,
    mut product: impl FnMut() -> P,
    mut floor: impl FnMut() -> F,
) -> anyhow::Result<Compared>
where
    P: Future<Output = anyhow::Result<f64>>,
    F: Future<Output = anyhow::Result<f64>>,
{
    product().await?;
    floor().await?;
    let began = Instant::now();
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    while pairs.len() < LEAST_ROUNDS || began.elapsed() < time {
        let pair = if pairs.len().is_multiple_of(2) {
            let first = product().await?;
            (first, floor().await?)
        } else {
            let first = floor().await?;
            (product().await?, first)
        };
        pairs.push(pair);
    }
    let products: Vec<f64> = pairs.iter().map(|p| p.0).collect();
    let floors: Vec<f64> = pairs.iter().map(|p| p.1).collect();
    let ratios: Vec<f64> = pairs.iter().map(|p| p.0 / p.1).collect();
    Ok(Compared {
        product: Spread::of(&products),
        floor: Spread::of(&floors),
        ratio: Spread::of(&ratios),
        rounds: pairs.len(),
    })
}
