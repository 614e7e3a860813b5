//! The contract in Rust, made from `wit/tool.wit`.
//!
//! A component says in its binary which world it is of, and the linker unites what all its crates
//! say. So no world of tool.wit is bound here whole: the imports are bound once, and each
//! exported interface has a world of its own, whose exports come into being only where
//! `export!` is called: in the author's crate, for `about` and one class.
//!
//! Invariant: a component has only the exports that `#[tool]` asked for. `generate!` for a
//! whole world in this crate would break it for every tool at once.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used
)]

/// What a tool may import. What it does not call is dropped when the component is made.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package stoplog:sdk;
            world imports {
                import stoplog:tool/types@0.1.0;
                import stoplog:tool/context@0.1.0;
                import stoplog:tool/effects@0.1.0;
                import wasi:http/outgoing-handler@0.2.12;
                import wasi:keyvalue/store@0.2.0-draft;
            }
        ",
        world: "imports",
        generate_all,
        generate_unused_types: true,
    });
}

pub use imports::stoplog::tool::{context, effects, types};
pub use imports::wasi::http as wasi_http;
pub use imports::wasi::io as wasi_io;
#[cfg(target_family = "wasm")]
pub use imports::wasi::keyvalue::store as keyvalue;

/// A module for each interface that a tool may export.
macro_rules! exports {
    ($($module:ident: $interface:ident { $($generate:tt)* })*) => {
        $(pub mod $module {
            wit_bindgen::generate!({ path: "../../wit", pub_export_macro: true, $($generate)* });
            pub use exports::stoplog::tool::$interface::Guest;
        })*
    };
}

exports! {
    about: about {
        inline: "
            package stoplog:sdk;
            world about { export stoplog:tool/about@0.1.0; }
        ",
        world: "about",
        with: { "stoplog:tool/types@0.1.0": crate::bindings::types },
    }
    pure: pure_tool {
        inline: "
            package stoplog:sdk;
            world pure { export stoplog:tool/pure-tool@0.1.0; }
        ",
        world: "pure",
        with: { "stoplog:tool/types@0.1.0": crate::bindings::types },
    }
    read: read_tool {
        inline: "
            package stoplog:sdk;
            world read { export stoplog:tool/read-tool@0.1.0; }
        ",
        world: "read",
        with: { "stoplog:tool/types@0.1.0": crate::bindings::types },
    }
    reversible: reversible_tool {
        inline: "
            package stoplog:sdk;
            world reversible { export stoplog:tool/reversible-tool@0.1.0; }
        ",
        world: "reversible",
        with: {
            "stoplog:tool/types@0.1.0": crate::bindings::types,
            "stoplog:tool/effects@0.1.0": crate::bindings::effects,
        },
    }
    external: external_tool {
        inline: "
            package stoplog:sdk;
            world external { export stoplog:tool/external-tool@0.1.0; }
        ",
        world: "external",
        with: {
            "stoplog:tool/types@0.1.0": crate::bindings::types,
            "stoplog:tool/effects@0.1.0": crate::bindings::effects,
        },
    }
    irreversible: irreversible_tool {
        inline: "
            package stoplog:sdk;
            world irreversible { export stoplog:tool/irreversible-tool@0.1.0; }
        ",
        world: "irreversible",
        with: {
            "stoplog:tool/types@0.1.0": crate::bindings::types,
            "stoplog:tool/effects@0.1.0": crate::bindings::effects,
        },
    }
}
