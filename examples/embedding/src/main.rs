//! `embedding CONFIG TENANT TOOL INPUT`: see the library.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use stoplog::embed::{Caller, Role, Tenant};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [config, tenant, tool, input] = &args[..] else {
        anyhow::bail!("say CONFIG TENANT TOOL INPUT");
    };
    let caller = Caller {
        tenant: Tenant::new(tenant.as_str())?,
        name: "embedding".into(),
        role: Role::Agent,
    };
    let input = serde_json::from_str(input).context("the input is JSON")?;
    let learnt = embedding::once(Path::new(config), &caller, tool, &input, "example").await?;
    writeln!(std::io::stdout(), "{learnt:?}")?;
    Ok(())
}
