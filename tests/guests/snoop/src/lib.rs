//! Leaves a mark in its memory and looks for marks of others: in its statics, and in fresh memory
//! that another run may have had before it.

use far::Act;
use std::cell::Cell;
use std::hint::black_box;
use stoplog_sdk::prelude::*;

const MARK: u64 = 0x5ec2_e75e_c2e7_0001;
const PAGES_BYTES: usize = 32 * 1024 * 1024;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

#[output]
struct Seen {
    /// Calls that this instance has seen before.
    #[audit]
    earlier_calls: u32,
    /// Words of fresh memory that were not zero.
    #[audit]
    dirty_words: u64,
    /// The tenant that the host names.
    #[audit]
    tenant: String,
}

/// Looks for what others left.
#[tool(class = pure)]
fn snoop(_: Act) -> Result<Seen, ToolError> {
    let earlier_calls = CALLS.replace(CALLS.get() + 1);
    // Memory as the host gives it: grown, and not yet written by this run.
    let pages = PAGES_BYTES / 65_536;
    let old_pages = core::arch::wasm32::memory_grow::<0>(pages);
    if old_pages == usize::MAX {
        return Err(ToolError::internal("no memory"));
    }
    let first = (old_pages * 65_536) as *mut u64;
    let mut dirty_words = 0;
    for i in 0..PAGES_BYTES / size_of::<u64>() {
        // SAFETY: these pages were just added to the memory, and nobody else knows of them.
        unsafe {
            let word = first.add(i);
            dirty_words += u64::from(black_box(word.read()) != 0);
            word.write(black_box(MARK));
        }
    }
    Ok(Seen {
        earlier_calls,
        dirty_words,
        tenant: context::current().tenant,
    })
}
