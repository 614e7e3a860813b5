//! What a component is, and whether it may be what it says: read off its bytes, nothing is run.
//!
//! Invariants:
//! * The class is the export: exactly one tool interface of `stoplog:tool@0.1.0`, and `about`.
//! * Every import is named and classified. One that is neither the contract's, nor inert, nor a
//!   power that the class has, is refused by name.
//!
//! What may go wrong: a component is not what its names say. Names alone grant nothing: the
//! linker of the class has nothing else, so such a component fails to link or to run.

use std::fmt;

use stoplog_model::{Class, Digest, Reason};

use crate::binary::{self, Kind, Preamble};
use crate::limits;

/// The package of the contract that this host speaks.
pub const PACKAGE: &str = "stoplog:tool";
/// Its version.
pub const PACKAGE_VERSION: &str = "0.1.0";

/// What every standard library drags in: linked, and virtual.
pub(crate) const INERT: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The interfaces of `wasi:http` that a tool of class 1 and up may import.
pub(crate) const HTTP: &[&str] = &["wasi:http/outgoing-handler", "wasi:http/types"];

/// The interface of `wasi:keyvalue` that a tool of class 1 and up may import, whole: its version is a
/// draft, and no other draft is the same.
pub(crate) const KEYVALUE: &str = "wasi:keyvalue/store@0.2.0-draft";

/// Why a component is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct LoadError {
    /// Which rule.
    pub reason: Reason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl LoadError {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> LoadError {
        LoadError {
            reason,
            message: message.into(),
        }
    }
}

/// What an import can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImportKind {
    /// Facts of the call, log, types.
    Contract,
    /// WASI that reaches nothing: virtual.
    Inert,
    /// A way out: `wasi:http`, `effects`.
    Power,
    /// Memory between calls: `wasi:keyvalue`.
    State,
}

impl fmt::Display for ImportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ImportKind::Contract => "contract",
            ImportKind::Inert => "inert",
            ImportKind::Power => "power",
            ImportKind::State => "state",
        })
    }
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Import {
    /// Full name, with its version.
    pub name: String,
    /// What it can do.
    pub kind: ImportKind,
}

/// What the bytes of a component say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Of the bytes.
    pub digest: Digest,
    /// Of the export.
    pub class: Class,
    /// The least class that its imports allow: it could be declared as low as this.
    pub floor: Class,
    /// What it imports, in its order.
    pub imports: Vec<Import>,
    /// What it exports besides `about` and its tool interface. Never called.
    pub other_exports: Vec<String>,
    /// Bytes of the component.
    pub size_bytes: usize,
}

impl Inspection {
    /// Whether it keeps state between its calls.
    pub fn keeps_state(&self) -> bool {
        self.imports.iter().any(|i| i.kind == ImportKind::State)
    }
}

/// Reads class and imports off the bytes, and refuses what the class may not have.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    check_file(bytes)?;
    let names = binary::names(bytes).map_err(|e| {
        LoadError::new(
            Reason::ToolNotComponent,
            format!("the component is damaged or cut off: {e}. Build or copy it again"),
        )
    })?;
    let (class, other_exports) = class_of(&names.exports)?;
    let mut imports = Vec::new();
    for (name, kind) in &names.imports {
        if let Some(kind) = import_kind(name, *kind, class)? {
            imports.push(Import {
                name: name.clone(),
                kind,
            });
        }
    }
    let floor = floor_of(&imports);
    let digest = Digest::of(bytes);
    Ok(Inspection {
        digest,
        class,
        floor,
        imports,
        other_exports,
        size_bytes: bytes.len(),
    })
}

fn check_file(bytes: &[u8]) -> Result<(), LoadError> {
    let problem = match binary::preamble(bytes) {
        _ if bytes.is_empty() => "the file is empty. Name the built component".to_owned(),
        _ if bytes.len() > limits::COMPONENT_BYTES => format!(
            "the component is too large: at most {} bytes are taken. Leave out debug information \
             (`strip = true`) and libraries that are not needed",
            limits::COMPONENT_BYTES
        ),
        Preamble::Component => return Ok(()),
        Preamble::CoreModule => "this is a core WebAssembly module, not a component. Build for \
             wasm32-wasip2, or make a component of it with `wasm-tools component new`"
            .to_owned(),
        Preamble::Unknown if looks_like_text(bytes) => "this is a text, not a component: it \
             starts like a WIT, WAT or source file. Name the built .wasm file"
            .to_owned(),
        Preamble::Unknown => {
            "this is no WebAssembly component: its first eight bytes are not those of one. Name \
             the .wasm file that was built for wasm32-wasip2"
                .to_owned()
        }
    };
    Err(LoadError::new(Reason::ToolNotComponent, problem))
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(256)];
    start
        .iter()
        .all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..))
}

/// `stoplog:tool/pure-tool@0.1.0` is the package's interface `pure-tool` in version `0.1.0`.
fn of_package(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "no version")))
}

fn class_of(exports: &[(String, Kind)]) -> Result<(Class, Vec<String>), LoadError> {
    let unclear = |message: String| LoadError::new(Reason::ToolClassUnclear, message);
    let mut found: Vec<Class> = Vec::new();
    let mut about = false;
    let mut others = Vec::new();
    for (name, kind) in exports {
        match of_package(name) {
            Some((_, version)) if version != PACKAGE_VERSION => {
                return Err(unclear(format!(
                    "it exports `{name}`, this host speaks {PACKAGE}@{PACKAGE_VERSION}: build \
                     the tool with version {PACKAGE_VERSION} of the contract instead of {version}"
                )));
            }
            Some((interface, _)) if *kind == Kind::Instance => {
                let class = Class::ALL.into_iter().find(|c| c.interface() == interface);
                match class {
                    Some(class) => found.push(class),
                    None if interface == "about" => about = true,
                    None => others.push(name.clone()),
                }
            }
            _ => others.push(name.clone()),
        }
    }
    let interfaces = Class::ALL.map(Class::interface).join(", ");
    match found.as_slice() {
        [] => Err(unclear(format!(
            "it exports no tool interface: export exactly one of {interfaces}, of \
             {PACKAGE}@{PACKAGE_VERSION}"
        ))),
        [class] if about => Ok((*class, others)),
        [class] => Err(unclear(format!(
            "it exports `{}` and not `about`: export `{PACKAGE}/about@{PACKAGE_VERSION}` too",
            class.interface()
        ))),
        several => Err(unclear(format!(
            "it exports {} tool interfaces ({}): a tool has one class. Export one of them, and \
             build a component for each other",
            several.len(),
            several
                .iter()
                .map(|c| c.interface())
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

/// `None` for imports that need nothing: plain types.
fn import_kind(name: &str, kind: Kind, class: Class) -> Result<Option<ImportKind>, LoadError> {
    let refused = |why: String| {
        Err(LoadError::new(
            Reason::ToolImportRefused,
            format!("it imports `{name}`, {why}"),
        ))
    };
    match kind {
        Kind::Type => return Ok(None),
        Kind::Other => {
            return refused("which is no interface: the host has nothing by that name".to_owned());
        }
        Kind::Instance => {}
    }
    if let Some((interface, version)) = of_package(name) {
        if version != PACKAGE_VERSION {
            return refused(format!(
                "this host speaks {PACKAGE}@{PACKAGE_VERSION}: build the tool with version \
                 {PACKAGE_VERSION} of the contract instead of {version}"
            ));
        }
        return match interface {
            "context" | "types" => Ok(Some(ImportKind::Contract)),
            "effects" if class.writes() => Ok(Some(ImportKind::Power)),
            "effects" => refused(format!(
                "which class {class} may not: it could change the outside world. Remove the \
                 import, or export the interface of a write class"
            )),
            _ => refused("which is no interface that a tool imports".to_owned()),
        };
    }
    if name.starts_with("wasi:keyvalue/") {
        return match name {
            KEYVALUE if class.reaches_out() => Ok(Some(ImportKind::State)),
            KEYVALUE => refused(format!(
                "which class {class} may not: what it keeps would make one call depend on another. \
                 Remove the import, or export `read-tool`"
            )),
            _ => refused(format!(
                "of `wasi:keyvalue` this host has `{KEYVALUE}` alone"
            )),
        };
    }
    let (interface, version) = name.split_once('@').unwrap_or((name, "no version"));
    let known = if INERT.contains(&interface) {
        ImportKind::Inert
    } else if HTTP.contains(&interface) {
        ImportKind::Power
    } else {
        return refused(format!(
            "which this host does not have. A tool of class {class} may import {PACKAGE}/context, \
             the usual WASI 0.2 interfaces{}",
            if class.reaches_out() {
                ", wasi:http and wasi:keyvalue"
            } else {
                ""
            }
        ));
    };
    if !version.starts_with("0.2.") {
        return refused(format!(
            "this host speaks WASI 0.2, not {version}: build for wasm32-wasip2"
        ));
    }
    if known == ImportKind::Power && !class.reaches_out() {
        return refused(format!(
            "which class {class} may not: it could reach out. Remove the import, or export \
             `read-tool`"
        ));
    }
    Ok(Some(known))
}

fn floor_of(imports: &[Import]) -> Class {
    let power = |prefix: &str| {
        imports
            .iter()
            .any(|i| i.kind == ImportKind::Power && i.name.starts_with(prefix))
    };
    if power(PACKAGE) {
        Class::Reversible
    } else if power("wasi:http") || imports.iter().any(|i| i.kind == ImportKind::State) {
        Class::ReadOnly
    } else {
        Class::Pure
    }
}

#[cfg(test)]
mod tests;
