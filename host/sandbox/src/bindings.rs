//! The imports of the contract as Rust traits and types, generated from `wit/tool.wit`.
//!
//! Exports are not generated: five worlds would give five copies of each type. They are looked up
//! by name and called with their types in [`crate::runner`].

#![allow(missing_docs, unreachable_pub, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package stoplog:host;
        world imports {
            import stoplog:tool/types@0.1.0;
            import stoplog:tool/context@0.1.0;
            import stoplog:tool/effects@0.1.0;
            import wasi:keyvalue/store@0.2.0-draft;
        }
    ",
    world: "stoplog:host/imports",
    imports: {
        // The functions that wait: they end in the gate.
        "stoplog:tool/effects.perform": async | trappable,
        "wasi:keyvalue/store.[method]bucket.get": async | trappable,
        "wasi:keyvalue/store.[method]bucket.set": async | trappable,
        "wasi:keyvalue/store.[method]bucket.delete": async | trappable,
        "wasi:keyvalue/store.[method]bucket.exists": async | trappable,
        "wasi:keyvalue/store.[method]bucket.list-keys": async | trappable,
        default: trappable,
    },
    with: {
        "stoplog:tool/effects.permit": crate::host::Permit,
        "stoplog:tool/context.span": crate::spans::Open,
        "wasi:keyvalue/store.bucket": crate::keep::Bucket,
    },
    require_store_data_send: true,
});

pub(crate) use stoplog::tool::{context, effects, types};
pub(crate) use wasi::keyvalue::store;
