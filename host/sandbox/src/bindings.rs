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
        }
    ",
    world: "stoplog:host/imports",
    imports: {
        // The only function that waits: it ends in the gate.
        "stoplog:tool/effects.perform": async | trappable,
        default: trappable,
    },
    with: {
        "stoplog:tool/effects.permit": crate::host::Permit,
        "stoplog:tool/context.span": crate::spans::Open,
    },
    require_store_data_send: true,
});

pub(crate) use stoplog::tool::{context, effects, types};
