//! The example of a program with a host in it, run twice: the second time nothing is done anew.

use anyhow::ensure;
use serde_json::json;
use stoplog::embed::{Caller, Host, Role, Tenant};
use stoplog_tests::{World, bins};

#[test]
fn a_program_has_its_act_done_once() -> anyhow::Result<()> {
    let world = World::new(bins!(), &["keyed", "paid"])?;
    let config = world.path().join("stoplog.toml");
    let caller = Caller {
        tenant: Tenant::new("acme")?,
        name: "checkout".into(),
        role: Role::Agent,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let input = json!({"name": "x"});
    let once = || {
        runtime.block_on(embedding::once(
            &config, &caller, "keyed", &input, "order-1",
        ))
    };
    let first = once()?;
    ensure!(
        !first.before && first.answer == "`keyed` was called",
        "{first:?}"
    );
    let second = once()?;
    ensure!(second.before && second.output == first.output, "{second:?}");
    ensure!(world.far.acts_done()? == 1, "{}", world.far.acts_done()?);
    ensure!(world.host(&["verify"])?.code == Some(0));
    let wal = world.data_dir().join("journal.db-wal");
    ensure!(!wal.exists(), "it was not closed in order");

    // A second host in one data directory is refused, and the first is let go when it is dropped.
    runtime.block_on(async {
        let host = Host::open(&config).await?;
        let Err(refused) = Host::open(&config).await else {
            anyhow::bail!("a second host opened");
        };
        ensure!(
            refused
                .reason
                .is_some_and(|r| r.code() == "data_dir_locked"),
            "{refused:?}"
        );
        host.close().await?;
        Ok(())
    })
}
