//! What one tenant's crowd costs another tenant.
//!
//! The quiet tenant has one session, which makes write calls one after another. It is measured
//! alone, and beside a loud tenant with a thousand sessions, each of which has its next call in
//! line at any time: calls that wait for a slow far side, calls that compute until their time is
//! over, and calls that take all that this machine can do. The goal is about the first two: there
//! the machine has room, and whether the quiet tenant gets it is a matter of the line. Where it has
//! none left, everybody waits for the cores, whatever the order.
//!
//! In the ratio is also what no line can help: a commit of another that is on its way to the disk when
//! the quiet call has something to write, twice a call. A loaded machine makes both sides worse.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::Bench;
use crate::calls::host;
use crate::host::Host;
use crate::paced::{Pace, Round};
use crate::report::{Goal, Measure, short};
use crate::rounds::Spread;
use crate::tools::Kind;

/// Sessions of the loud tenant, each with a call in line.
const CROWD: usize = 1_000;

/// Sessions that are begun at once.
const BEGUN_AT_ONCE: usize = 50;

/// Calls of a round of the quiet tenant: its p99 is the third worst.
const QUIET_CALLS: u32 = 200;

/// Rounds, alone and beside.
const ROUNDS: usize = 5;

/// How long the crowd may take until each of its sessions has a call at work or in line.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The p99 of the quiet tenant beside a crowd, by that of the quiet tenant alone.
pub(crate) async fn neighbours(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for (kind, goal) in [
        (Kind::Waits, Goal::AtMost(2.0)),
        (Kind::Computes, Goal::AtMost(2.0)),
        (Kind::Write, Goal::Stated),
    ] {
        let (host, _) = host(bench, "neighbours", false)?;
        quiet(&host).await?;
        let alone = rounds(&host).await?;
        let crowd = crowd(&host, kind).await?;
        stands_in_line(&host).await?;
        let load = host.load();
        let beside = rounds(&host).await?;
        drop(crowd);
        let ratio = beside.p99.median / alone.p99.median;
        let name = format!(
            "p99 beside {CROWD} {} calls in line, by p99 alone",
            kind.word()
        );
        let ms = |us: f64| short(us / 1000.0);
        measures.push(Measure::alone(name, "x", ratio, goal).noted(format!(
            "p99 alone {} ms ({}..{}), beside {} ms ({}..{}); p50 {} and {} ms; {} calls at once \
             and {} in line",
            ms(alone.p99.median),
            ms(alone.p99.min),
            ms(alone.p99.max),
            ms(beside.p99.median),
            ms(beside.p99.min),
            ms(beside.p99.max),
            ms(alone.p50.median),
            ms(beside.p50.median),
            load.held,
            load.waiting,
        )));
    }
    Ok(measures)
}

struct Rounds {
    p50: Spread,
    p99: Spread,
}

async fn rounds(host: &Arc<Host>) -> anyhow::Result<Rounds> {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let round = quiet(host).await?;
        p50.push(round.p50_us());
        p99.push(round.percentile_us(99));
    }
    Ok(Rounds {
        p50: Spread::of(&p50),
        p99: Spread::of(&p99),
    })
}

/// One round of the quiet tenant.
async fn quiet(host: &Arc<Host>) -> anyhow::Result<Round> {
    let name = host.fresh("quiet");
    let gate = Arc::new(Barrier::new(1));
    let pace = Arc::new(Pace::new(Kind::Write, name.clone(), QUIET_CALLS, gate));
    let journal = host.begin_of("quiet", &name, &[Kind::Write]).await?;
    host.run(&journal, pace.clone()).await?;
    journal.close().await?;
    Ok(Round::of(&[pace]))
}

/// Waits until nearly all of the crowd has a call at work or in line: some are between two calls at
/// any time.
async fn stands_in_line(host: &Host) -> anyhow::Result<()> {
    let came = async {
        loop {
            let load = host.load();
            if (load.held + load.waiting) as usize >= CROWD * 9 / 10 {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let came = tokio::time::timeout(COMES_WITHIN, came).await;
    came.with_context(|| format!("the crowd did not come: {:?}", host.load()))
}

/// A thousand sessions that call and call. They end when this is dropped.
async fn crowd(host: &Arc<Host>, kind: Kind) -> anyhow::Result<JoinSet<()>> {
    let mut journals = Vec::new();
    while journals.len() < CROWD {
        let names: Vec<String> = (0..BEGUN_AT_ONCE).map(|_| host.fresh("loud")).collect();
        let kinds = [kind];
        let begun = names.iter().map(|name| host.begin_of("loud", name, &kinds));
        journals.extend(names.iter().cloned().zip(try_join_all(begun).await?));
    }
    let mut tasks = JoinSet::new();
    for (name, journal) in journals {
        let host = host.clone();
        let pace = Pace::new(kind, name, u32::MAX, Arc::new(Barrier::new(1)));
        tasks.spawn(async move {
            // It ends with its crowd.
            let _ = host.run(&journal, Arc::new(pace)).await;
        });
    }
    Ok(tasks)
}
