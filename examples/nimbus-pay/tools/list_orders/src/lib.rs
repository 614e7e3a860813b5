//! What did they order, and was it late? Class `read`: one GET, nothing changes.

use stoplog_sdk::prelude::*;

#[input]
struct OrdersQuery {
    /// Id of the customer, from find_customer_by_email.
    #[audit]
    #[identifier("customer_id")]
    customer_id: String,
}

#[output]
struct Orders {
    /// All orders of the customer, by order id.
    #[audit]
    orders: Vec<Order>,
}

/// One order.
#[part]
struct Order {
    /// Six-digit order number.
    #[audit]
    #[identifier("order_id")]
    order_id: String,
    /// What was bought: it says something about the buyer, so it stays out of the traces.
    #[personal]
    item: String,
    /// What was paid, in whole rupees.
    #[audit]
    amount_inr: u64,
    /// `delivered` or `in_transit`.
    #[audit]
    status: String,
    /// Day that was promised, YYYY-MM-DD.
    #[audit]
    promised_on: String,
    /// Day of delivery, if there was one.
    #[audit]
    delivered_on: Option<String>,
    /// Days between the two; 0 if it came in time or is not there yet.
    #[audit]
    late_days: u32,
}

/// Lists the orders of a customer, with what was paid and how many days late each one came.
#[tool(class = read, egress = ["http://nimbus.internal"])]
fn list_orders(input: OrdersQuery) -> Result<Orders, ToolError> {
    let customer_id = http::encode(&input.customer_id);
    let url = format!("http://nimbus.internal/customers/{customer_id}/orders");
    let response = http::get(url)?;
    if response.status == 404 {
        let message = format!("there is no customer {}", input.customer_id);
        return Err(ToolError::not_found(message)
            .hint("take the id from find_customer_by_email, as it stands"));
    }
    let found: Found = response.success()?.json()?;
    Ok(Orders {
        orders: found.orders.into_iter().map(Order::from).collect(),
    })
}

/// The orders as NimbusPay sends them. Fields that it may add later are ignored.
#[wire]
struct Found {
    orders: Vec<FoundOrder>,
}

#[wire]
struct FoundOrder {
    order_id: String,
    item: String,
    amount_inr: u64,
    status: String,
    promised_on: String,
    delivered_on: Option<String>,
    late_days: u32,
}

impl From<FoundOrder> for Order {
    fn from(found: FoundOrder) -> Self {
        Self {
            order_id: found.order_id,
            item: found.item,
            amount_inr: found.amount_inr,
            status: found.status,
            promised_on: found.promised_on,
            delivered_on: found.delivered_on,
            late_days: found.late_days,
        }
    }
}
