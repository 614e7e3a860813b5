//! Wants more of its state than it may have, or that of somebody else, as `name` says.

use far::Act;
use std::mem;
use stoplog_sdk::prelude::*;
use wasi::keyvalue::store::{Bucket, Error, open};

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package tests:hoarder;
        world imports {
            import wasi:keyvalue/store@0.2.0-draft;
        }
    ",
    world: "imports",
    generate_all,
});

/// A value that may just be kept.
const FULL: usize = 64 * 1024;

#[output]
struct Hoarded {
    /// What it got.
    #[audit]
    got: u32,
    /// The first word of what it was told at last.
    #[audit]
    told: String,
}

fn told(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no-such-store".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Other(why) => why.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// Does it until it is refused.
fn until_refused(mut one: impl FnMut(u32) -> Result<(), Error>) -> Hoarded {
    for got in 0..u32::MAX {
        if let Err(error) = one(got) {
            let told = told(error);
            return Hoarded { got, told };
        }
    }
    unreachable!("it was never refused")
}

/// Hoards.
#[tool(class = read)]
fn state_hoarder(input: Act) -> Result<Hoarded, ToolError> {
    let bucket = || open("").map_err(|e| ToolError::internal(told(e)));
    let key = |n: u32| format!("{} {n}", input.name);
    let way = input.name.split(' ').next().unwrap_or_default();
    Ok(match way {
        "keys" => {
            let bucket = bucket()?;
            until_refused(|n| bucket.set(&key(n), b"v"))
        }
        "bytes" => {
            let bucket = bucket()?;
            until_refused(|n| bucket.set(&key(n), &vec![b'v'; FULL - 256]))
        }
        "value" => {
            let bucket = bucket()?;
            until_refused(|_| bucket.set("k", &vec![b'v'; FULL + 1]))
        }
        "shouts" => {
            let bucket = bucket()?;
            until_refused(|_| bucket.set("k", &vec![b'v'; 64 << 20]))
        }
        "long_key" => {
            let bucket = bucket()?;
            until_refused(|_| bucket.set(&"k".repeat(257), b"v"))
        }
        "no_key" => {
            let bucket = bucket()?;
            until_refused(|_| bucket.get("").map(drop))
        }
        "looks" => {
            let bucket = bucket()?;
            until_refused(|_| bucket.get("not there").map(drop))
        }
        "others" => {
            let names = [
                "acme",
                "globex",
                "keeper",
                "acme/keeper",
                "../keeper",
                "DEFAULT",
            ];
            let opened = names.iter().filter(|name| open(name).is_ok()).count();
            Hoarded {
                got: opened as u32,
                told: open("keeper").map_or_else(told, |_| String::new()),
            }
        }
        "lists" => Hoarded {
            got: all_keys(&bucket()?).map_or(0, |keys| keys.len() as u32),
            told: String::new(),
        },
        "buckets" => loop {
            mem::forget(open(""));
        },
        other => return Err(ToolError::invalid_input(other.to_owned())),
    })
}

fn all_keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
    let mut page = bucket.list_keys(None)?;
    let mut keys = page.keys;
    while let Some(cursor) = page.cursor {
        page = bucket.list_keys(Some(cursor))?;
        keys.append(&mut page.keys);
    }
    Ok(keys)
}
