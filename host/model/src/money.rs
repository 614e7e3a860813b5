//! Money as integers of micro-dollars, until it is printed.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar. Sums are exact; only [`fmt::Display`] makes a decimal of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UsdMicros(pub u64);

impl UsdMicros {
    /// Whether it is nothing at all.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Add for UsdMicros {
    type Output = UsdMicros;
    fn add(self, other: UsdMicros) -> UsdMicros {
        UsdMicros(self.0.saturating_add(other.0))
    }
}

impl AddAssign for UsdMicros {
    fn add_assign(&mut self, other: UsdMicros) {
        *self = *self + other;
    }
}

impl Sum for UsdMicros {
    fn sum<I: Iterator<Item = UsdMicros>>(iter: I) -> UsdMicros {
        iter.fold(UsdMicros(0), Add::add)
    }
}

impl fmt::Display for UsdMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priyas_sum_is_exact() {
        let total: UsdMicros = [4_000, 5_000, 6_000, 3_000]
            .map(UsdMicros)
            .into_iter()
            .sum();
        assert_eq!(total.to_string(), "0.018000");
    }
}
