//! Looks 1,000 times in one call, and keeps every answer.

use far::Act;
use stoplog_sdk::prelude::*;

const LOOKS: usize = 1_000;

#[output]
struct Crawled {
    /// How many answers came.
    #[audit]
    answers: u32,
}

/// Asks too often.
#[tool(class = read, egress = ["http://far.internal"])]
fn crawler(_: Act) -> Result<Crawled, ToolError> {
    let mut kept = Vec::new();
    for i in 0..LOOKS {
        kept.push(http::get(far::by_key(&format!("k{i}"))));
    }
    let answers = kept.iter().filter(|answer| answer.is_ok()).count();
    Ok(Crawled {
        answers: answers as u32,
    })
}
