//! Divides by how many there are, also when there are none: its output is then off its schema.

use far::Act;
use stoplog_sdk::prelude::*;

#[output]
struct Mean {
    /// Letters a word.
    #[audit]
    letters: f64,
}

/// Says how long the words are on average.
#[tool(class = pure)]
fn nan(input: Act) -> Result<Mean, ToolError> {
    let words: Vec<&str> = input.name.split_whitespace().collect();
    let letters: usize = words.iter().map(|w| w.chars().count()).sum();
    Ok(Mean {
        letters: letters as f64 / words.len() as f64,
    })
}
