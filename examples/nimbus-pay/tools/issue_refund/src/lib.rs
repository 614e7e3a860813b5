//! Pays money back. Class `irreversible`: keyed, previewed, approved above the operator's limit.
//!
//! NimbusPay remembers idempotency keys, so a request that is sent again under its key pays once.
//! The key holds order and reason, and not the amount: deciding on another amount for the same
//! thing is a conflict, not a second refund.

use stoplog_sdk::prelude::*;

const REFUNDS: &str = "http://nimbus.internal/refunds";

#[input]
struct RefundInput {
    /// Six-digit order number, from list_orders.
    #[audit]
    #[identifier("order_id")]
    order_id: String,
    /// Whole rupees, at most what was paid for the order.
    #[audit]
    amount_inr: u64,
    /// Why the money goes back.
    #[audit]
    reason: Reason,
}

/// Why the money goes back.
#[choice]
enum Reason {
    /// It came after the promised day.
    Delay,
    /// It came broken.
    Damaged,
    /// Something else came.
    WrongItem,
    /// It never came.
    Lost,
}

impl Reason {
    const ALL: [Self; 4] = [Self::Delay, Self::Damaged, Self::WrongItem, Self::Lost];
}

#[output]
struct RefundOutput {
    /// Id of the refund, for the mail to the customer.
    #[audit]
    #[identifier("refund_id")]
    refund_id: String,
    /// The order that it is for.
    #[audit]
    #[identifier("order_id")]
    order_id: String,
    /// What was paid back, in whole rupees.
    #[audit]
    amount_inr: u64,
}

/// Pays money back for one order. Use it after list_orders and retrieve_policy have shown that
/// the claim is right. It cannot be taken back. Large amounts wait for a person.
#[tool(
    class = irreversible,
    key = "refund_{order_id}_{reason}", scope = tenant,
    keeps_keys = true, timeout_ms = 30_000,
    egress = ["http://nimbus.internal"],
    claims = ["refunded", "paid back", "refund [^.]*(?:issued|done|made)", "on (?:its|their) way back"],
    preview = preview, probe = probe,
)]
fn issue_refund(input: RefundInput, permit: Permit) -> Result<RefundOutput, ToolError> {
    let response = permit.perform(Request::post(REFUNDS).json(&input))?;
    match response.status {
        // The first request under this key is still being done: whether it pays is not known yet.
        409 => {
            Err(ToolError::transient("this refund is already being done")
                .aftermath(Aftermath::Unknown))
        }
        // Refused, with words that the model can act on.
        404 | 422 => {
            let refusal: Refusal = response.json()?;
            Err(ToolError::precondition(refusal.error.message)
                .hint("check order and amount with list_orders"))
        }
        _ => Ok(response.success()?.json::<Refund>()?.into()),
    }
}

/// What the finance lead reads.
fn preview(input: RefundInput) -> Result<String, ToolError> {
    let RefundInput {
        order_id,
        amount_inr,
        reason,
    } = input;
    let mut before = Vec::new();
    for earlier in Reason::ALL {
        for refund in refunds(&format!("refund_{order_id}_{earlier}"))? {
            let Refund {
                refund_id,
                amount_inr,
                ..
            } = refund;
            before.push(format!("{refund_id} of Rs {amount_inr} ({earlier})"));
        }
    }
    let before = if before.is_empty() {
        "none".to_owned()
    } else {
        format!("{}; the policy is one", before.join(", "))
    };
    Ok(format!(
        "Pay back Rs {amount_inr} for order {order_id}. Reason: {reason}.\n\
         Refunds of this order so far: {before}.\n\
         The money leaves at once and cannot be called back."
    ))
}

fn probe(_: RefundInput, key: &str) -> Result<Finding<RefundOutput>, ToolError> {
    let mut found = refunds(key)?;
    Ok(match (found.pop(), found.len()) {
        (None, _) => Finding::Absent,
        (Some(refund), 0) => Finding::Once(refund.into()),
        (Some(_), others) => Finding::Several(others as u32 + 1),
    })
}

/// What NimbusPay did under a key.
fn refunds(key: &str) -> Result<Vec<Refund>, ToolError> {
    let url = format!("{REFUNDS}/by-key/{}", http::encode(key));
    let found: Found = http::get(url)?.success()?.json()?;
    Ok(found.refunds)
}

#[wire]
struct Found {
    refunds: Vec<Refund>,
}

/// A refund as NimbusPay sends it. Fields that it may add later are ignored.
#[wire]
struct Refund {
    refund_id: String,
    order_id: String,
    amount_inr: u64,
}

impl From<Refund> for RefundOutput {
    fn from(refund: Refund) -> Self {
        Self {
            refund_id: refund.refund_id,
            order_id: refund.order_id,
            amount_inr: refund.amount_inr,
        }
    }
}

/// Why NimbusPay did not do it.
#[wire]
struct Refusal {
    error: Reasons,
}

#[wire]
struct Reasons {
    message: String,
}
