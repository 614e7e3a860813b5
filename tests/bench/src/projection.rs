//! What the projection costs, and whether it keeps up.
//!
//! The product is the projector of the host, from a journal in which a round of calls is new; the
//! floor is the host that makes such calls, as fast as it can and without a projector. A ratio of one
//! and more keeps up with it, on a core of its own.

use std::sync::Arc;
use std::time::Instant;

use stoplog_store::{SqliteStore, TraceDb};
use stoplog_telemetry::{Bounds, Projector};

use crate::Bench;
use crate::calls::{calls_each, host};
use crate::report::{Goal, Measure};
use crate::rounds::compare;
use crate::tools::Kind;

/// Sessions at once: those with which the host is fastest.
const SESSIONS: usize = 256;

/// How fast a round of calls is projected.
pub(crate) async fn projection(bench: &Bench) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for kind in [Kind::Read, Kind::Write] {
        let (fast, _) = host(bench, "followed-floor", false)?;
        let (followed, file) = host(bench, "followed", false)?;
        let journal = Arc::new(SqliteStore::open_to_read(&file)?);
        let traces = Arc::new(TraceDb::open(&file.with_extension("traces.db"))?);
        let projector = Projector::new(journal, traces, Bounds::default());
        let projector = tokio::sync::Mutex::new(projector);
        let calls = calls_each(SESSIONS);
        let all = f64::from(calls) * SESSIONS as f64;
        let compared = compare(
            bench.time,
            || async {
                followed.round(kind, SESSIONS, calls).await?;
                let began = Instant::now();
                projector.lock().await.catch_up().await?;
                Ok(all / began.elapsed().as_secs_f64())
            },
            || async { Ok(fast.round(kind, SESSIONS, calls).await?.rate()) },
        )
        .await?;
        let cost_us = 1e6 / compared.product.median;
        let name = format!("{} calls projected a second", kind.word());
        measures.push(
            Measure::beside(name, "/s", compared, Goal::AtLeast(1.0)).noted(format!(
                "{cost_us:.0} us of one thread a call, beginnings and ends of sessions included; the \
                 floor is a host of {SESSIONS} sessions without a projector"
            )),
        );
    }
    Ok(measures)
}
