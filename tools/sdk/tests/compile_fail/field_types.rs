//! Types of fields show their own fields in the schema.
use stoplog_sdk::prelude::*;
use std::collections::BTreeMap;

#[input]
struct In {
    #[personal]
    customer: BTreeMap<String, String>,
}

fn main() {}
