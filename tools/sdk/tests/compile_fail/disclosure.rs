//! Every field says what may be shown of it, once.
use stoplog_sdk::prelude::*;

#[input]
struct FindInput {
    email: String,
    #[audit]
    #[personal]
    city: String,
}


fn main() {}
