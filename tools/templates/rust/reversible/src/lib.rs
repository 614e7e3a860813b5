//! {{name}}: reserves stock for an order. Class `reversible`: what it does can be taken back, and
//! `undo` does that.
//!
//! Change the address, the input and the output. Keep three things true: the key names the act and
//! nothing else, `probe` finds what was done under a key, and `undo` succeeds also when nothing
//! was done.

use stoplog_sdk::prelude::*;

const RESERVATIONS: &str = "https://stock.example.com/v1/reservations";

#[input]
struct Wish {
    /// The order that it is for.
    #[audit]
    #[identifier("order_id")]
    order_id: String,
    /// Article number.
    #[audit]
    #[identifier("sku")]
    sku: String,
    /// How many.
    #[audit]
    quantity: u32,
}

#[output]
struct Reserved {
    /// Id of the reservation.
    #[audit]
    #[identifier("reservation_id")]
    reservation_id: String,
}

/// Reserves articles for an order. Use it before the order is confirmed.
#[tool(
    class = reversible,
    key = "reserve_{order_id}_{sku}", scope = tenant,
    keeps_keys = true, settles_within_ms = 1_000, timeout_ms = 10_000,
    egress = ["https://stock.example.com/v1/reservations"],
    probe = probe,
    undo = undo,
)]
fn {{name}}(input: Wish, permit: Permit) -> Result<Reserved, ToolError> {
    let request = Request::post(RESERVATIONS).json(&input);
    let made: Reservation = permit.perform(request)?.success()?.json()?;
    Ok(Reserved {
        reservation_id: made.id,
    })
}

/// Looks up what was done under a key. It may look and not write.
fn probe(_: Wish, key: &str) -> Result<Finding<Reserved>, ToolError> {
    let listed = http::get_with(RESERVATIONS, &[("idempotency_key", &key)])?;
    let found: Listed = listed.success()?.json()?;
    Ok(match found.data.as_slice() {
        [] => Finding::Absent,
        [one] => Finding::Once(Reserved {
            reservation_id: one.id.clone(),
        }),
        several => Finding::Several(several.len() as u32),
    })
}

/// Takes it back, by its key: nobody may know its id. What is not there counts as taken back.
fn undo(_: Wish, _: Option<Reserved>, permit: Permit) -> Result<String, ToolError> {
    let key = permit.key();
    let url = http::with_query(RESERVATIONS, &[("idempotency_key", &key)]);
    let response = permit.perform(Request::delete(url))?;
    if response.status != 404 {
        response.success()?;
    }
    Ok(format!("released what was reserved under {key}"))
}

#[wire]
struct Listed {
    data: Vec<Reservation>,
}

#[wire]
struct Reservation {
    id: String,
}
