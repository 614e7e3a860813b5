//! Questions about customers, orders and policies. Nothing here writes.

use rusqlite::{Connection, OptionalExtension as _};
use serde_json::{Value, json};

use super::answer::{Answer, Failure, Refusal};

pub(super) fn customer(db: &Connection, email: &str) -> Result<Answer, Failure> {
    db.query_row(
        "SELECT customer_id, name, email FROM customers WHERE email = ?",
        [email],
        |row| {
            Ok(json!({
                "customer_id": row.get::<_, String>(0)?,
                "name": row.get::<_, String>(1)?,
                "email": row.get::<_, String>(2)?,
            }))
        },
    )
    .optional()?
    .map(|customer| Answer::ok(&customer))
    .ok_or_else(|| {
        let message = format!("no customer has the address {email}");
        Refusal::not_found("customer_not_found", message).into()
    })
}

pub(super) fn orders(db: &Connection, customer_id: &str) -> Result<Answer, Failure> {
    let known = db
        .prepare_cached("SELECT 1 FROM customers WHERE customer_id = ?")?
        .exists([customer_id])?;
    if !known {
        let message = format!("there is no customer {customer_id}");
        return Err(Refusal::not_found("customer_not_found", message).into());
    }
    let orders: Vec<Value> = db
        .prepare_cached(
            "SELECT order_id, item, amount_inr, status, promised_on, delivered_on,
                    CAST(max(0, coalesce(julianday(delivered_on) - julianday(promised_on), 0)) AS INTEGER)
             FROM orders WHERE customer_id = ? ORDER BY order_id",
        )?
        .query_map([customer_id], |row| {
            Ok(json!({
                "order_id": row.get::<_, String>(0)?,
                "customer_id": customer_id,
                "item": row.get::<_, String>(1)?,
                "amount_inr": row.get::<_, i64>(2)?,
                "status": row.get::<_, String>(3)?,
                "promised_on": row.get::<_, String>(4)?,
                "delivered_on": row.get::<_, Option<String>>(5)?,
                "late_days": row.get::<_, i64>(6)?,
            }))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Answer::ok(&json!({ "orders": orders })))
}

pub(super) fn policy(db: &Connection, topic: &str) -> Result<Answer, Failure> {
    db.query_row(
        "SELECT text FROM policies WHERE topic = ?",
        [topic],
        |row| row.get::<_, String>(0),
    )
    .optional()?
    .map(|text| Answer::ok(&json!({ "topic": topic, "text": text })))
    .ok_or_else(|| {
        let message = format!("there is no policy on {topic}; try refunds or mails");
        Refusal::not_found("policy_not_found", message).into()
    })
}
