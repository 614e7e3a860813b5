//! The tools under measure: real components, loaded as the host loads them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use stoplog_dispatch::Access;
use stoplog_egress::Grant;
use stoplog_model::Contract;
use stoplog_model::event::Pin;
use stoplog_sandbox::{Sandbox, Settings};

/// One kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Class 0: computes, and reaches nothing.
    Pure,
    /// Class 1: one GET.
    Read,
    /// Class 3: one POST, keyed.
    Write,
    /// Class 1: one GET that the far side thinks about for a while.
    Waits,
    /// Class 0: computes until its time is over.
    Computes,
}

impl Kind {
    /// The guest.
    pub(crate) fn tool(self) -> &'static str {
        match self {
            Kind::Pure => "pure_add",
            Kind::Read | Kind::Waits => "lookup",
            Kind::Write => "keyed",
            Kind::Computes => "spinner",
        }
    }

    /// The word in the names of measures.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Pure => "pure",
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Waits => "waiting",
            Kind::Computes => "computing",
        }
    }

    /// The arguments of the call of this name.
    pub(crate) fn arguments(self, name: &str) -> Value {
        match self {
            Kind::Pure => json!({"a": 20, "b": 22}),
            Kind::Read | Kind::Write | Kind::Computes => json!({ "name": name }),
            Kind::Waits => json!({ "name": format!("{SLOW}{name}") }),
        }
    }

    /// Durable commits that a call costs at least: a read's result; a write's intent and its
    /// outcome. The turn joins the first of them.
    pub(crate) fn least_commits(self) -> u32 {
        match self {
            Kind::Pure | Kind::Read | Kind::Waits | Kind::Computes => 1,
            Kind::Write => 2,
        }
    }
}

/// Start of the names that the far side thinks about.
pub(crate) const SLOW: &str = "slow-";

/// Milliseconds after which a tool that computes for ever is stopped.
pub(crate) const COMPUTES_MS: u32 = 5000;

/// The file of a guest.
pub(crate) fn component(name: &str) -> PathBuf {
    Path::new(env!("STOPLOG_GUESTS_DIR")).join(format!("{name}.wasm"))
}

/// A sandbox with all tools loaded, and their pins.
pub(crate) async fn load() -> anyhow::Result<(Sandbox, Vec<Pin>)> {
    let sandbox = Sandbox::new(Settings::default())?;
    let mut pins = Vec::new();
    for kind in [Kind::Pure, Kind::Read, Kind::Write, Kind::Computes] {
        let bytes = std::fs::read(component(kind.tool()))?;
        let (inspection, described) = sandbox.describe(&bytes).await?;
        let mut contract = Contract::check(described, inspection.class)?;
        if kind == Kind::Computes {
            contract.timeout_ms = COMPUTES_MS;
        }
        pins.push(Pin {
            contract,
            component: inspection.digest,
            class: inspection.class,
        });
    }
    Ok((sandbox, pins))
}

/// What the operator grants: the far side, for every tool.
pub(crate) fn access(far: SocketAddr) -> anyhow::Result<BTreeMap<String, Access>> {
    let grant = Grant::parse("http://far.internal/")?.with_connect(far)?;
    let grants: Arc<[Grant]> = vec![grant].into();
    Ok([Kind::Read, Kind::Write]
        .into_iter()
        .map(|kind| {
            let grants = grants.clone();
            (
                kind.tool().to_owned(),
                Access {
                    grants,
                    state: false,
                },
            )
        })
        .collect())
}
