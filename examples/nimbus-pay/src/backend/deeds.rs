//! Refunds, mails and acts: doing them under a key, looking them up, undoing acts.
//!
//! Invariant: the row of a deed, the answer kept for its key and the outcome of its request are
//! written in one transaction.

use axum::body::Bytes;
use axum::http::StatusCode;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Failure, Refusal};
use super::ledger::{self, Outcome};

/// Longest key that is taken. Keys are kept for ever, so an endless one would fill the disk.
const KEY_MAX_BYTES: usize = 255;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Money goes back to a customer.
    Refund,
    /// A customer gets a mail.
    Mail,
    /// Anything a test wants to count; it can be undone.
    Act,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Refund, Self::Mail, Self::Act];

    /// The name of the table, and of the list in an answer.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Refund => "refunds",
            Self::Mail => "mails",
            Self::Act => "acts",
        }
    }

    /// Where it is posted to.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Refund => "/refunds",
            Self::Mail => "/mails",
            Self::Act => "/acts",
        }
    }

    fn select(self) -> &'static str {
        match self {
            Self::Refund => "SELECT id, order_id, amount_inr, reason FROM refunds",
            Self::Mail => "SELECT id, recipient, subject, body FROM mails",
            Self::Act => "SELECT id, name FROM acts",
        }
    }

    fn shape(self, row: &Row<'_>) -> rusqlite::Result<Value> {
        let id: i64 = row.get(0)?;
        Ok(match self {
            Self::Refund => json!({
                "refund_id": format!("rf_{id}"),
                "order_id": row.get::<_, String>(1)?,
                "amount_inr": row.get::<_, i64>(2)?,
                "reason": row.get::<_, String>(3)?,
            }),
            Self::Mail => json!({
                "mail_id": format!("ml_{id}"),
                "to": row.get::<_, String>(1)?,
                "subject": row.get::<_, String>(2)?,
                "body": row.get::<_, String>(3)?,
            }),
            Self::Act => json!({
                "act_id": format!("act_{id}"),
                "name": row.get::<_, String>(1)?,
            }),
        })
    }
}

/// A POST that asks for a deed.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) kind: Kind,
    pub(super) key: Option<String>,
    pub(super) body: Bytes,
}

/// How a request stands to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Footing {
    /// There is no key, or a fault says to forget keys.
    Keyless,
    /// No other request with this key is being done.
    Alone,
    /// Another request with this key is being done.
    Behind,
}

/// Does what `post` asks for, or finds out that it was done, or refuses it.
pub(super) fn perform(
    db: &mut Connection,
    seq: i64,
    post: &Post,
    footing: Footing,
) -> Result<Answer, Failure> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (outcome, answer) = match settle(&tx, post, footing) {
        Ok(settled) => settled,
        Err(Failure::Refused(refusal)) => (Outcome::Refused, refusal.into()),
        Err(failure) => return Err(failure),
    };
    ledger::close(&tx, seq, outcome)?;
    tx.commit()?;
    Ok(answer)
}

/// Refusals come before the first write, so that a refused request leaves nothing behind.
fn settle(
    tx: &Transaction<'_>,
    post: &Post,
    footing: Footing,
) -> Result<(Outcome, Answer), Failure> {
    let body: Value = serde_json::from_slice(&post.body).map_err(|error| {
        Refusal::bad_request("body_invalid", format!("the body is not JSON: {error}"))
    })?;
    let key = match (post.key.as_deref(), footing) {
        (None, _) | (_, Footing::Keyless) => {
            return Ok((Outcome::Executed, execute(tx, post, body)?));
        }
        (Some(key), _) => well_formed(key)?,
    };

    let content = content(post.kind, body.clone());
    if let Some(kept) = kept_answer(tx, key)? {
        return if kept.content == content {
            let answer = Answer::replayed(kept.status, kept.body);
            Ok((Outcome::Replayed, answer))
        } else {
            let message = format!("the key {key} was used before, with other content");
            let refusal = Refusal::unprocessable("idempotency_conflict", message);
            Ok((Outcome::Conflict, refusal.into()))
        };
    }
    if footing == Footing::Behind {
        return Ok((Outcome::InFlight, Answer::in_flight(key)));
    }
    let answer = execute(tx, post, body)?;
    tx.execute(
        "INSERT INTO kept_answers (key, content, status, body) VALUES (?, ?, ?, ?)",
        (key, content, answer.status.as_u16(), &answer.body),
    )?;
    Ok((Outcome::Executed, answer))
}

fn well_formed(key: &str) -> Result<&str, Refusal> {
    if key.is_empty() || key.len() > KEY_MAX_BYTES {
        let message = format!("an Idempotency-Key has 1 to {KEY_MAX_BYTES} bytes");
        return Err(Refusal::bad_request("idempotency_key_invalid", message));
    }
    Ok(key)
}

/// Two requests ask for the same exactly if this text is the same. The order of fields and the
/// white space do not matter.
fn content(kind: Kind, mut body: Value) -> String {
    body.sort_all_objects();
    format!("POST {}\n{body}", kind.path())
}

struct Kept {
    content: String,
    status: StatusCode,
    body: String,
}

fn kept_answer(tx: &Transaction<'_>, key: &str) -> rusqlite::Result<Option<Kept>> {
    tx.query_row(
        "SELECT content, status, body FROM kept_answers WHERE key = ?",
        [key],
        |row| {
            let status = StatusCode::from_u16(row.get(1)?)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            Ok(Kept {
                content: row.get(0)?,
                status,
                body: row.get(2)?,
            })
        },
    )
    .optional()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    order_id: String,
    amount_inr: i64,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MailBody {
    to: String,
    subject: String,
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActBody {
    name: String,
}

fn parse<T: for<'a> Deserialize<'a>>(body: Value) -> Result<T, Refusal> {
    serde_json::from_value(body)
        .map_err(|error| Refusal::unprocessable("fields_invalid", error.to_string()))
}

fn execute(tx: &Transaction<'_>, post: &Post, body: Value) -> Result<Answer, Failure> {
    let key = &post.key;
    match post.kind {
        Kind::Refund => {
            let refund: RefundBody = parse(body)?;
            check_amount(tx, &refund)?;
            tx.execute(
                "INSERT INTO refunds (key, order_id, amount_inr, reason) VALUES (?, ?, ?, ?)",
                (key, refund.order_id, refund.amount_inr, refund.reason),
            )?;
        }
        Kind::Mail => {
            let mail: MailBody = parse(body)?;
            if !mail.to.contains('@') {
                let message = format!("{} is no mail address", mail.to);
                return Err(Refusal::unprocessable("address_invalid", message).into());
            }
            tx.execute(
                "INSERT INTO mails (key, recipient, subject, body) VALUES (?, ?, ?, ?)",
                (key, mail.to, mail.subject, mail.body),
            )?;
        }
        Kind::Act => {
            let act: ActBody = parse(body)?;
            tx.execute(
                "INSERT INTO acts (key, name) VALUES (?, ?)",
                (key, act.name),
            )?;
        }
    }
    let sql = format!("{} WHERE id = ?", post.kind.select());
    let done = tx.query_row(&sql, [tx.last_insert_rowid()], |row| post.kind.shape(row))?;
    Ok(Answer::created(&done))
}

/// Each refund is held against the order alone, not against the refunds before it: a second
/// refund of an order must show in the counts, not be caught here.
fn check_amount(tx: &Transaction<'_>, refund: &RefundBody) -> Result<(), Failure> {
    let RefundBody {
        order_id,
        amount_inr,
        ..
    } = refund;
    let order_inr: i64 = tx
        .query_row(
            "SELECT amount_inr FROM orders WHERE order_id = ?",
            [order_id],
            |row| row.get(0),
        )
        .optional()?
        .ok_or_else(|| {
            Refusal::not_found("order_not_found", format!("there is no order {order_id}"))
        })?;
    if *amount_inr <= 0 {
        let message = format!("a refund is at least Rs 1, not {amount_inr}");
        return Err(Refusal::unprocessable("amount_not_positive", message).into());
    }
    if *amount_inr > order_inr {
        let message = format!("Rs {amount_inr} is more than order {order_id}: Rs {order_inr}");
        return Err(Refusal::unprocessable("amount_exceeds_order", message).into());
    }
    Ok(())
}

/// Everything that was done under `key` and is not undone.
pub(super) fn by_key(db: &Connection, kind: Kind, key: &str) -> Result<Answer, Failure> {
    let still_done = if kind == Kind::Act {
        "undone = 0"
    } else {
        "TRUE"
    };
    let sql = format!(
        "{} WHERE key = ? AND {still_done} ORDER BY id",
        kind.select()
    );
    let done: Vec<Value> = db
        .prepare_cached(&sql)?
        .query_map([key], |row| kind.shape(row))?
        .collect::<Result<_, _>>()?;
    Ok(Answer::ok(&json!({ kind.plural(): done })))
}

/// Undoes the acts of `key`, and says how many there were to undo. The kept answer stays: a
/// repeat of the POST is still answered from it, and does nothing.
pub(super) fn undo_acts(db: &mut Connection, seq: i64, key: &str) -> Result<Answer, Failure> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let removed = tx.execute(
        "UPDATE acts SET undone = 1 WHERE key = ? AND undone = 0",
        [key],
    )?;
    ledger::close(&tx, seq, Outcome::Executed)?;
    tx.commit()?;
    Ok(Answer::ok(&json!({ "removed": removed })))
}
