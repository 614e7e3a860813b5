//! {{name}}: shares a bill among people. Class `pure`: it computes, and reaches nothing.
//!
//! Change the input, the output and the sum. What is here needs no network and no key: the same
//! input gives the same output, so the host may run it as often as it likes.

use stoplog_sdk::prelude::*;

#[input]
struct Bill {
    /// What is to be paid, in cents.
    #[audit]
    amount_cents: u64,
    /// Among how many people.
    #[audit]
    people: u32,
    /// Tip on top, in percent; none if it is left out.
    #[audit]
    tip_percent: Option<u8>,
}

#[output]
struct Shares {
    /// What each person pays, in cents. They differ by one cent at most.
    #[audit]
    shares_cents: Vec<u64>,
    /// The sum of all shares.
    #[audit]
    total_cents: u64,
}

/// Shares a bill among people, to the cent. Use it instead of dividing by hand.
#[tool(class = pure)]
fn {{name}}(input: Bill) -> Result<Shares, ToolError> {
    let people = u64::from(input.people);
    if people == 0 || people > 1_000 {
        return Err(ToolError::invalid_input("people must be 1 to 1,000")
            .hint("ask how many people share the bill"));
    }
    let percent = 100 + u64::from(input.tip_percent.unwrap_or(0));
    let total_cents = input
        .amount_cents
        .checked_mul(percent)
        .ok_or_else(|| ToolError::invalid_input("amount_cents is too large"))?
        .div_ceil(100);
    let (each, left) = (total_cents / people, total_cents % people);
    let shares_cents = (0..people).map(|i| each + u64::from(i < left)).collect();
    Ok(Shares {
        shares_cents,
        total_cents,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cent_is_lost() {
        let bill = Bill {
            amount_cents: 1000,
            people: 3,
            tip_percent: Some(10),
        };
        let shares = {{name}}(bill).expect("shares");
        assert_eq!(shares.shares_cents, [367, 367, 366]);
        assert_eq!(shares.total_cents, 1100);
    }
}
