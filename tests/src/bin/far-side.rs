//! The far side as a process of its own: `far-side DB PORT_FILE`.

use std::path::Path;

use anyhow::Context;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let db = args.next().context("far-side DB PORT_FILE")?;
    let port_file = args.next().context("far-side DB PORT_FILE")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let beside = format!("{port_file}.tmp");
    std::fs::write(&beside, listener.local_addr()?.to_string())?;
    std::fs::rename(&beside, &port_file)?;
    nimbus_pay::backend::serve(listener, Path::new(&db)).await
}
