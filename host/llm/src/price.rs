//! What tokens cost.

use stoplog_model::UsdMicros;

/// Prices of a model, in micro-dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// For a million tokens read.
    pub input_per_million: UsdMicros,
    /// For a million tokens written.
    pub output_per_million: UsdMicros,
}

impl Price {
    /// The cost of a turn, rounded up to a whole micro-dollar: a budget is never overrun by
    /// rounding.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> UsdMicros {
        let part = |tokens: u64, price: UsdMicros| u128::from(tokens) * u128::from(price.0);
        let millionths = part(input_tokens, self.input_per_million)
            + part(output_tokens, self.output_per_million);
        UsdMicros(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_costs_what_its_tokens_cost_rounded_up() {
        // 2.50 and 10 dollars for a million.
        let price = Price {
            input_per_million: UsdMicros(2_500_000),
            output_per_million: UsdMicros(10_000_000),
        };
        assert_eq!(price.cost(1_000, 100), UsdMicros(3_500));
        assert_eq!(price.cost(1, 0), UsdMicros(3));
        assert_eq!(price.cost(0, 0), UsdMicros(0));
    }
}
