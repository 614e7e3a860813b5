//! {{name}}: charges a customer. Class `irreversible`: what it does cannot be changed back from
//! here, so a person reads `preview` and approves, unless an operator's rule clears the call.
//!
//! Change the address, the input and the output. Keep three things true: the key names the payment
//! and nothing else, `probe` finds what was charged under a key, and `preview` says all that the
//! person who approves must know.

use stoplog_sdk::prelude::*;

const CHARGES: &str = "https://payments.example.com/v1/charges";

#[input]
struct Payment {
    /// The invoice that is paid.
    #[audit]
    #[identifier("invoice_id")]
    invoice_id: String,
    /// The customer who pays.
    #[audit]
    #[identifier("customer_id")]
    customer_id: String,
    /// How much, in cents.
    #[audit]
    amount_cents: u64,
    /// Three letters, such as EUR.
    #[audit]
    currency: String,
}

#[output]
struct Charged {
    /// Id of the charge.
    #[audit]
    #[identifier("charge_id")]
    charge_id: String,
}

/// Charges a customer for an invoice. Use it once, when the amount is settled.
#[tool(
    class = irreversible,
    key = "charge_{invoice_id}", scope = tenant,
    keeps_keys = true, settles_within_ms = 2_000, timeout_ms = 20_000,
    egress = ["https://payments.example.com/v1/charges"],
    secrets = ["PAYMENTS_KEY"],
    preview = preview,
    probe = probe,
)]
fn {{name}}(input: Payment, permit: Permit) -> Result<Charged, ToolError> {
    check(&input)?;
    let request = Request::post(CHARGES)
        .header("authorization", bearer())
        .json(&input);
    // No answer, 408 and 5xx become an error that says `unknown`: the host then probes.
    let made: Charge = permit.perform(request)?.success()?.json()?;
    Ok(Charged { charge_id: made.id })
}

/// What the person reads who approves.
fn preview(input: Payment) -> Result<String, ToolError> {
    check(&input)?;
    let (whole, cents) = (input.amount_cents / 100, input.amount_cents % 100);
    Ok(format!(
        "Charge customer {} {whole}.{cents:02} {} for invoice {}.",
        input.customer_id, input.currency, input.invoice_id
    ))
}

/// Looks up what was charged under a key. It may look and not write.
fn probe(_: Payment, key: &str) -> Result<Finding<Charged>, ToolError> {
    let request = Request::get(CHARGES)
        .query(&[("idempotency_key", &key)])
        .header("authorization", bearer());
    let found: Listed = http::send(request)?.success()?.json()?;
    Ok(match found.data.as_slice() {
        [] => Finding::Absent,
        [one] => Finding::Once(Charged {
            charge_id: one.id.clone(),
        }),
        several => Finding::Several(several.len() as u32),
    })
}

fn check(input: &Payment) -> Result<(), ToolError> {
    if input.amount_cents == 0 {
        return Err(ToolError::invalid_input("amount_cents must be more than 0"));
    }
    if input.currency.len() != 3 || !input.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(ToolError::invalid_input(
            "currency must be three capital letters",
        ));
    }
    Ok(())
}

/// The host puts the value in on the way out: the tool never sees it.
fn bearer() -> String {
    format!("Bearer {}", http::secret("PAYMENTS_KEY"))
}

#[wire]
struct Listed {
    data: Vec<Charge>,
}

#[wire]
struct Charge {
    id: String,
}
