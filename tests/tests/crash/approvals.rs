//! Kills between an approval and its consumption.

use anyhow::{Context, ensure};
use stoplog_tests::{World, bins};

/// Where the host dies with an approval in hand.
const APPROVAL_STAGES: [&str; 5] = [
    "approval_consumed:before:1",
    "approval_consumed:after:1",
    "request_sent:before:1",
    "request_sent:after:1",
    "observation_durable:before:1",
];

/// An approval is consumed by the commit of the intent, and never good twice.
#[test]
fn an_approval_survives_kills_and_is_good_once() -> anyhow::Result<()> {
    for stage in APPROVAL_STAGES {
        let world = World::new(bins!(), &["paid"])?;
        world.script(&[&[("paid", "x")]])?;
        let waits = world.host(&World::run_args())?;
        ensure!(waits.code == Some(3), "{waits:?}");
        let id = waits.json["approval"]
            .as_str()
            .context("an approval")?
            .to_owned();
        ensure!(
            world.far.acts_done()? == 0,
            "nothing is done before the approval"
        );
        let approved = world.host(&["approvals", "approve", &id, "--by", "Meera"])?;
        ensure!(approved.code == Some(0), "{approved:?}");
        world.host_dies(&["resume", "s"], stage)?;
        let again = world.host(&["approvals", "approve", &id, "--by", "Meera"])?;
        ensure!(
            again.stderr.contains("approval_not_pending"),
            "{stage}: {again:?}"
        );
        let resumed = world.host(&["resume", "s"])?;
        ensure!(resumed.code == Some(0), "{stage}: {resumed:?}");
        ensure!(
            world.far.acts_done()? == 1,
            "{stage}: {}",
            world.far.acts_done()?
        );
    }
    Ok(())
}
