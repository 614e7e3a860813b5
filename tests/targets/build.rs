//! Makes components that nobody wrote: a fixed number, from fixed seeds, with `wasm-smith`.
//!
//! They are made here and not in the tests, because `wasm-smith` would change the features of crates
//! that wasmtime is built from, and wasmtime be compiled twice.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use arbitrary::Unstructured;
use wasm_smith::{Component, Config};

/// Components that are made.
const COMPONENTS: u64 = 500;
/// Bytes of chance that each is made of.
const SEED_BYTES: usize = 4_096;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let dir = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    let mut out = BufWriter::new(File::create(Path::new(&dir).join("components.bin"))?);
    for number in 0..COMPONENTS {
        let seed = chance(number);
        // A seed that is used up early makes a smaller component, and none is no error.
        let Ok(component) = Component::new(Config::default(), &mut Unstructured::new(&seed)) else {
            continue;
        };
        let bytes = component.to_bytes();
        out.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
        out.write_all(&bytes)?;
    }
    Ok(out.flush()?)
}

/// The same bytes for the same number (xorshift64*).
fn chance(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u8
    };
    std::iter::repeat_with(next).take(SEED_BYTES).collect()
}
