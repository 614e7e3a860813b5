//! Inputs are structs with named fields, choices are plain words, serde's attributes are not for
//! either.
use stoplog_sdk::prelude::*;

#[input]
struct Pair(String, String);

#[choice]
enum Reason {
    Delay,
    Other(String),
}

#[output]
struct Out {
    #[audit]
    #[serde(skip)]
    id: String,
    #[audit]
    #[identifier("Order Id")]
    order_id: String,
}

fn main() {}
